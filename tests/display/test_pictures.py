"""Grids as they come into the page."""

import io
import os
from pathlib import Path

import numpy as np
from PIL import Image

from progan_jax.display.pictures import (
    Grid,
    Picture,
    fit,
    read_grid,
    read_pictures,
    thin,
)


def pixels(picture):
    return np.asarray(Image.open(io.BytesIO(picture.webp)).convert("RGB"))


def test_an_early_stages_picture_has_its_own_pixels_exactly(run):
    first = read_pictures(run / "grids", 16).fakes[0]
    with Image.open(first.grid.path) as grid:
        enlarged = np.asarray(grid)
    assert pixels(first).shape == (2 * 4, 4 * 4, 3)
    blown_up = np.kron(pixels(first), np.ones((4, 4, 1), np.uint8))
    np.testing.assert_array_equal(blown_up, enlarged)
    assert first[1:3] == (64, 32)
    assert first.grid[:2] == (0, 4)


def test_a_large_grid_is_cut_between_images_and_made_smaller(tmp_path):
    grey = Image.fromarray(np.full((2 * 1024, 3 * 1024), 7, np.uint8))
    grey.save(tmp_path / "fakes_015000_r1024.png")
    (picture,) = read_pictures(tmp_path, 1024).fakes
    assert picture[1:4] == (3072, 2048, 2)
    assert pixels(picture).shape == (512, 768, 3)
    small = Image.fromarray(np.zeros((20 * 8, 20 * 8), np.uint8))
    small.save(tmp_path / "fakes_000001_r008.png")
    (picture,) = read_pictures(tmp_path, 8).fakes[:1]
    assert pixels(picture).shape == (8 * 8, 12 * 8, 3)


def test_broken_grids_are_left_out_by_name(run):
    broken = run / "grids" / "fakes_000004_r004.png"
    broken.write_bytes(broken.read_bytes()[:40])
    (run / "grids" / "fakes_000005_r004.png").write_bytes(b"")
    (run / "grids" / "fakes_best.png").write_bytes(b"")
    # It can be decoded, with other pixels: one bit of its checksums is another.
    changed = run / "grids" / "fakes_000008_r008.png"
    data = bytearray(changed.read_bytes())
    data[-13] ^= 1
    changed.write_bytes(data)
    with Image.open(changed) as image:
        image.load()
    pictures = read_pictures(run / "grids", 16)
    assert pictures.unreadable == [
        "fakes_000004_r004.png",
        "fakes_000005_r004.png",
        "fakes_000008_r008.png",
    ]
    assert [p.grid.kimg for p in pictures.fakes] == [0, 12]
    assert pictures.num_fakes == 5


def test_a_grid_that_is_drawn_again_is_read_again(run):
    path = run / "grids" / "fakes_000012_r008.png"
    before = read_pictures(run / "grids", 16).fakes[-1]
    Image.fromarray(np.zeros((32, 64, 3), np.uint8)).save(path)
    os.utime(path, ns=(1, 1))
    assert not pixels(read_pictures(run / "grids", 16).fakes[-1]).any()
    assert pixels(before).any()


def test_few_pictures_are_all_shown_and_of_many_the_first_and_the_last():
    assert thin(range(60), 60) == list(range(60))
    for count in (61, 100, 1000):
        chosen = thin(range(count), 60)
        assert len(chosen) <= 61
        assert chosen[0] == 0
        assert chosen[-1] == count - 1
        assert len(set(np.diff(chosen)[:-1])) == 1


def test_a_run_that_continues_shows_no_older_picture_that_it_did_not_show():
    shown = set(range(1000))
    for count in range(1, 1000):
        chosen = set(thin(range(count), 60))
        assert chosen <= shown | {count - 1}
        shown = chosen | set(range(count, 1000))


def test_pictures_are_thinned_out_until_they_fit():
    grids = [Grid(n, 4, Path(str(n))) for n in range(50)]
    pictures = [Picture(grid, 1, 1, 1, bytes(10)) for grid in grids]
    assert len(fit(pictures, 500)) == 50
    kept = fit(pictures, 120)
    assert sum(len(p.webp) for p in kept) <= 120
    assert (kept[0].grid.kimg, kept[-1].grid.kimg) == (0, 49)
    assert len(fit(pictures, 1)) == 2


def test_pictures_are_made_again_only_for_grids_that_changed(run, monkeypatch):
    grids = run / "grids"
    before = read_pictures(grids, 16)
    Image.new("RGB", (64, 32)).save(grids / "fakes_000012_r008.png")
    os.utime(grids / "fakes_000012_r008.png", ns=(1, 1))
    read = []
    monkeypatch.setattr(
        "progan_jax.display.pictures.read_grid",
        lambda path: read.append(path.name) or read_grid(path),
    )
    again = read_pictures(grids, 16)
    assert read == ["fakes_000012_r008.png"]
    assert again.fakes[:-1] == before.fakes[:-1]
    assert again.reals == before.reals
