"""The pictures of films."""

import jax
import numpy as np
import pytest
from PIL import Image

from progan_jax.display.frames import (
    caption,
    growth_picture,
    interpolation_frames,
    timelapse_frames,
    travel,
)
from progan_jax.display.pictures import list_grids
from progan_jax.errors import UserError
from progan_jax.inference.generator import TrainedGenerator, to_uint8
from progan_jax.inference.sampling import generator_from_snapshot
from progan_jax.inference.snapshot import write_snapshot
from progan_jax.models.common import init_generator
from tests.untrained import untrained


def make(config, resolution, nimg=1000):
    info = {
        "stage": {"resolution": resolution, "alpha": 1.0, "nimg": nimg},
        "options": config.model.to_dict(),
    }
    return untrained(init_generator, generator_from_snapshot(info)), info


def test_frames_follow_the_path_image_by_image(tiny_config):
    generator = TrainedGenerator(*make(tiny_config, 8), "a")
    path = travel([3, 4], 4, 8)
    side_by_side = np.concatenate([path, path[::-1]], axis=1)
    frames = list(interpolation_frames(generator, side_by_side, None, 2))
    assert len(frames) == 4
    # Two images of 8x8, enlarged by 512 / 16; grey becomes RGB.
    assert frames[0].shape == (256, 512, 3)
    small = [frame[::32, ::32] for frame in frames]
    np.testing.assert_array_equal(
        np.kron(small[1][..., 0], np.ones((32, 32))), frames[1][..., 0]
    )
    np.testing.assert_array_equal(small[0][:, :8], small[3][:, 8:])
    first = to_uint8(generator.sample(1, seed=3))[0]
    np.testing.assert_allclose(small[0][:, :8, :1].astype(int), first, atol=1)


def test_images_that_are_not_finite_are_refused(tiny_config):
    params, info = make(tiny_config, 8)
    broken = jax.tree.map(lambda a: a * np.nan, params)
    generator = TrainedGenerator(broken, info, "000001_r008")
    with pytest.raises(UserError, match="snapshot 000001_r008: its images are not"):
        list(interpolation_frames(generator, travel([3, 4], 2, 8), None, 1))


def test_a_timelapse_shows_each_grid_so_often_and_leaves_out_broken_ones(
    tmp_path, capsys
):
    for kimg, grey in ((0, 10), (5, 50), (20, 90)):
        picture = Image.new("L", (64, 32), grey)
        picture.save(tmp_path / f"fakes_{kimg:06d}_r016.png")
    (tmp_path / "fakes_000010_r016.png").write_bytes(b"broken")
    Image.new("L", (32, 32)).save(tmp_path / "fakes_000015_r016.png")
    frames = list(timelapse_frames(list_grids(tmp_path), hold=3))
    assert [int(frame[0, 0, 0]) for frame in frames] == [10] * 3 + [50] * 3 + [90] * 3
    assert {frame.shape for frame in frames} == {(72, 64, 3)}
    warned = capsys.readouterr().err.splitlines()
    assert [line.split("/")[-1][:21] for line in warned] == [
        "fakes_000010_r016.png",
        "fakes_000015_r016.png",
    ]


def test_a_caption_is_written_below_and_leaves_the_picture_as_it_is():
    picture = np.random.default_rng(0).integers(0, 256, (32, 200, 3), np.uint8)
    one, other = caption(picture, "5 kimg   8x8"), caption(picture, "6 kimg   8x8")
    np.testing.assert_array_equal(one[:32], picture)
    assert one.shape == (72, 200, 3)
    assert (one[32:] != other[32:]).any()
    assert one[32:].max() > 200


def test_growth_shows_one_seed_by_the_last_snapshot_of_each_stage(
    tiny_config, tmp_path
):
    for name, resolution in (("000001_r004", 4), ("000002_r008", 8)):
        params, info = make(tiny_config, resolution)
        write_snapshot(tmp_path / "snapshots" / name, params, info)
    earlier = jax.tree.map(np.zeros_like, params)
    write_snapshot(tmp_path / "snapshots" / "000001_r008", earlier, info)
    picture, stages = growth_picture(tmp_path, 4, seed=7, label=None)
    assert stages == 2
    # Rows of four images at 8x8, enlarged by 512 / 32, each above its line of text.
    assert picture.shape == (2 * (128 + 40), 512, 3)
    last = picture[168 : 168 + 128 : 16, ::16, :1]
    drawn = to_uint8(TrainedGenerator(params, info, "a").sample(4, seed=7))
    np.testing.assert_array_equal(last, np.concatenate(list(drawn), axis=1))
