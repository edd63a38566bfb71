"""The tool, as its user types it, on a snapshot of random weights."""

import os
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from absl.testing import flagsaver
from PIL import Image

import progan_jax
from progan_jax.inference.sampling import generator_from_snapshot, seeded_latents
from progan_jax.inference.snapshot import write_snapshot
from progan_jax.models.common import init_generator
from tests.in_process import run_tool
from tests.styled import write_styled
from tests.untrained import untrained

ROOT = Path(__file__).parents[2]


def make_run(folder, config, num_classes=0, class_names=()):
    config.model.num_classes = num_classes
    info = {"stage": {"resolution": 8, "alpha": 0.5}, "options": config.model.to_dict()}
    params = untrained(init_generator, generator_from_snapshot(info))
    info["dataset"] = {"class_names": list(class_names)}
    write_snapshot(folder / "snapshots" / "000001_r008", jax.device_get(params), info)
    return folder


@pytest.fixture
def sample(import_tool, monkeypatch):
    """Draws in the tests' own process."""
    tool = import_tool("sample")
    monkeypatch.setattr(tool, "keep_compiled", lambda: None)

    def call(model, **flags):
        with flagsaver.flagsaver(**flags):
            tool.main(str(model))

    return call


def test_seeds_draw_the_first_image_of_each(tiny_config, tmp_path, sample, capsys):
    run = make_run(tmp_path, tiny_config)
    sample(run, seeds="3-4,9")
    folder = run / "samples" / "000001_r008_seeds3-4,9"
    assert capsys.readouterr() == (f"3 images in {folder}\n", "")
    for seed in (3, 4, 9):
        sample(run, num=1, seed=seed, out=str(tmp_path / "one"))
        one = (tmp_path / "one" / "000000.png").read_bytes()
        assert (folder / f"seed{seed:04d}.png").read_bytes() == one


@pytest.mark.parametrize("other", ["--num=3", "--seed=2", "--by_class", "--classes=1"])
def test_seeds_exclude_flags_that_choose_other_images(other):
    done = run_tool(
        "progan_jax.tools.sample", "cifar10", "--seeds=1", other, argument="MODEL"
    )
    flag = other.partition("=")[0]
    assert (done.returncode, done.stderr) == (
        2,
        f"error: --seeds and {flag} exclude each other; give one of them\n",
    )


def test_images_are_written_one_by_one_and_as_a_grid(
    tiny_config, tmp_path, sample, capsys
):
    run = make_run(tmp_path, tiny_config)
    sample(run, num=5, seed=1)
    folder = run / "samples" / "000001_r008_seed1"
    assert capsys.readouterr() == (f"5 images in {folder}\n", "")
    assert sorted(p.name for p in folder.iterdir()) == [
        f"{i:06d}.png" for i in range(5)
    ]
    sample(run, num=5, seed=1, grid=True)
    with Image.open(f"{folder}.png") as grid, Image.open(folder / "000003.png") as one:
        assert grid.size == (24, 16)
        # The fourth image is the first of the second row.
        assert np.array_equal(np.asarray(grid)[8:, :8], np.asarray(one))
    sample(run, num=2, seed=1, grid=True)
    assert len(list(folder.iterdir())) == 5


def test_images_of_another_class_or_number_are_kept_apart(
    tiny_config, tmp_path, sample
):
    run = make_run(tmp_path, tiny_config, num_classes=3)
    for num, label in ((3, 1), (2, 2), (1, 1)):
        sample(run, **{"num": num, "class": label})
    drawn = {
        folder.name: sorted(file.name for file in folder.iterdir())
        for folder in (run / "samples").iterdir()
    }
    assert drawn == {
        "000001_r008_seed0_class1": ["000000.png"],
        "000001_r008_seed0_class2": ["000000.png", "000001.png"],
    }


@pytest.mark.parametrize("flags", [{"num": 1}, {"seeds": "1-2"}])
def test_other_images_in_a_named_folder_stay(tiny_config, tmp_path, sample, flags):
    run, out = make_run(tmp_path, tiny_config), tmp_path / "own"
    out.mkdir()
    (out / "000007.png").write_bytes(b"mine")
    sample(run, out=str(out), **flags)
    assert (out / "000007.png").read_bytes() == b"mine"


def test_many_seeds_have_a_short_name_and_repeated_ones_count_once(
    tiny_config, tmp_path, sample, capsys
):
    run = make_run(tmp_path, tiny_config)
    sample(run, seeds=",".join(["7"] * 200))
    (folder,) = (run / "samples").iterdir()
    assert len(folder.name) < 60
    assert [path.name for path in folder.iterdir()] == ["seed0007.png"]
    assert capsys.readouterr().out == f"1 images in {folder}\n"


def test_a_class_is_drawn_by_its_name_which_is_printed(
    tiny_config, tmp_path, sample, capsys
):
    run = make_run(tmp_path, tiny_config, 3, ("cat", "dog", "fish"))
    sample(run, **{"num": 1, "class": "dog"})
    out = run / "samples" / "000001_r008_seed0_class1"
    assert capsys.readouterr().out == f"1 images in {out}; class 1 (dog)\n"
    with Image.open(out / "000000.png") as image:
        drawn = progan_jax.to_uint8(progan_jax.load(run).sample(1, 0, 1))
        np.testing.assert_array_equal(np.asarray(image), drawn[0, ..., 0])


def test_rows_of_classes_show_the_same_latents(tiny_config, tmp_path, sample, capsys):
    run = make_run(tmp_path, tiny_config, 3, ("cat", "dog", "fish"))
    sample(run, num=2, seed=4, by_class=True)
    path = run / "samples" / "000001_r008_seed4_by_class.png"
    rows = "rows: 0 cat, 1 dog, 2 fish"
    assert capsys.readouterr().out == f"6 images in {path}; {rows}\n"
    g = progan_jax.load(run)
    z = seeded_latents(4, 2, g.latent_dim)
    with Image.open(path) as grid:
        pixels = np.asarray(grid, int).reshape(3, 8, 2, 8).swapaxes(1, 2)
    for label in range(3):
        images = progan_jax.to_uint8(g(z, label))[..., 0].astype(int)
        np.testing.assert_allclose(pixels[label], images, atol=1)


def test_a_sheet_has_the_named_classes_as_rows(tiny_config, tmp_path, sample, capsys):
    run = make_run(tmp_path, tiny_config, 3, ("cat", "dog", "fish"))
    sample(run, num=2, seed=4, classes="fish,0")
    path = run / "samples" / "000001_r008_seed4_classes2-0.png"
    with Image.open(path) as image:
        pixels = np.asarray(image)
    height, width, _ = pixels.shape
    assert capsys.readouterr().out == f"{path}: {width}x{height}\n"
    g = progan_jax.load(run)
    # Images of 8x8 are enlarged 16 times, 4 pixels apart, at the right and the bottom.
    for row, label in enumerate((2, 0)):
        images = progan_jax.to_uint8(g.sample(2, 4, label))[..., 0].astype(int)
        top = height - (2 - row) * 132
        for column in range(2):
            left = width - (2 - column) * 132
            shown = pixels[top : top + 128 : 16, left : left + 128 : 16, 0]
            np.testing.assert_allclose(shown, images[column], atol=1)


def test_a_network_that_ships_is_drawn_where_the_command_is_typed(
    tmp_path, monkeypatch, sample, capsys
):
    monkeypatch.chdir(tmp_path)
    sample("cifar10", num=1)
    assert capsys.readouterr().out == "1 images in samples/cifar10_seed0\n"
    images = progan_jax.to_uint8(progan_jax.load("cifar10").sample(1, 0))
    with Image.open(tmp_path / "samples" / "cifar10_seed0" / "000000.png") as image:
        np.testing.assert_array_equal(np.asarray(image), images[0])


def test_a_stylegans_settings_are_kept_apart_and_printed(tmp_path, sample, capsys):
    model = write_styled(tmp_path / "it", "fused")
    sample(model, num=2, seed=1)
    out = model / "samples" / "it_seed1"
    shown = "psi 0.7 on 4 layers, random noise"
    assert capsys.readouterr().out == f"2 images in {out}; {shown}\n"
    style = {"truncation_psi": -0.5, "truncation_cutoff": 6, "noise": "none"}
    sample(model, num=2, seed=1, **style)
    out = model / "samples" / "it_seed1_psi-0.5_cutoff6_noise_none"
    shown = "psi -0.5 on 6 layers, no noise"
    assert capsys.readouterr().out == f"2 images in {out}; {shown}\n"
    with Image.open(out / "000001.png") as image:
        drawn = progan_jax.to_uint8(progan_jax.load(model).sample(2, 1, **style))
        np.testing.assert_allclose(np.asarray(image, int), drawn[1], atol=1)


@pytest.mark.parametrize(
    ("num_classes", "flags", "message"),
    [
        (3, {"class": "3"}, "--class=3 must be from 0 to 2"),
        (3, {"class": "cow"}, "--class=cow must be from 0 to 2"),
        (0, {"class": "1"}, "--class=1: this generator has no classes"),
        (0, {"by_class": True}, "--by_class=True: 000001_r008 has no classes, so"),
        (3, {"classes": "1,cow"}, "--classes=cow must be from 0 to 2"),
        (3, {"classes": ","}, "--classes=, must be one or more classes, by number"),
        (0, {"classes": "1"}, "--classes=1: this generator has no classes"),
        (3, {"classes": "1", "class": "1"}, "--class and --classes exclude each oth"),
        (0, {"num": 0}, "--num=0 must be at least 1; raise it"),
        (0, {"num": 10**9}, "--num=1000000000 must be at most 1,000,000, as files"),
        (0, {"snapshot": "000009_r004"}, "--snapshot=000009_r004: "),
        (0, {"truncation_psi": 1.0}, "--truncation_psi=1.0 is for style-based generat"),
        (0, {"noise": "fixed"}, "--noise=fixed is for style-based generators, and "),
    ],
)
def test_mistakes_are_refused_in_one_line(
    tiny_config, tmp_path, sample, num_classes, flags, message
):
    run = make_run(tmp_path, tiny_config, num_classes)
    with pytest.raises(progan_jax.UserError) as caught:
        sample(run, **flags)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_a_flag_of_another_type_ends_in_one_line_and_code_2():
    done = subprocess.run(
        [sys.executable, "-m", "progan_jax.tools.sample", "cifar10", "--num=many"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=120,
        env=os.environ | {"JAX_PLATFORMS": "cpu"},
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: flag --num=many: invalid literal for int()")
    assert done.stderr.count("\n") == 1
