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

ROOT = Path(__file__).parents[2]


def make_run(folder, config, num_classes=0, class_names=()):
    config.model.num_classes = num_classes
    info = {"stage": {"resolution": 8, "alpha": 0.5}, "options": config.model.to_dict()}
    generator = generator_from_snapshot(info)
    labels = np.zeros((1, num_classes), np.float32) if num_classes else None
    z = np.zeros((1, config.model.latent_size), np.float32)
    params = generator.init(jax.random.key(0), z, 1.0, labels)["params"]
    info["dataset"] = {"class_names": list(class_names)}
    write_snapshot(folder / "snapshots" / "000001_r008", jax.device_get(params), info)
    return folder


def sample(run, *arguments):
    return subprocess.run(
        [sys.executable, "-m", "progan_jax.tools.sample", str(run), *arguments],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=120,
        env=os.environ | {"JAX_PLATFORMS": "cpu"},
    )


def test_images_are_written_one_by_one_and_as_a_grid(tiny_config, tmp_path):
    run = make_run(tmp_path, tiny_config)
    done = sample(run, "--num=5", "--seed=1")
    assert done.returncode == 0, done.stderr
    folder = run / "samples" / "000001_r008_seed1"
    assert done.stdout == f"5 images in {folder}\n"
    assert done.stderr == ""
    assert sorted(p.name for p in folder.iterdir()) == [
        f"{i:06d}.png" for i in range(5)
    ]
    done = sample(run, "--num=5", "--seed=1", "--grid")
    with Image.open(f"{folder}.png") as grid, Image.open(folder / "000003.png") as one:
        assert grid.size == (24, 16)
        # The fourth image is the first of the second row.
        assert np.array_equal(np.asarray(grid)[8:, :8], np.asarray(one))


def test_images_of_another_class_or_number_are_kept_apart(
    tiny_config, tmp_path, import_tool, monkeypatch
):
    run = make_run(tmp_path, tiny_config, num_classes=3)
    tool = import_tool("sample")
    monkeypatch.setattr(tool, "keep_compiled", lambda: None)
    for num, label in ((3, 1), (2, 2), (1, 1)):
        with flagsaver.flagsaver(**{"num": num, "class": label}):
            tool.main(str(run))
    drawn = {
        folder.name: sorted(file.name for file in folder.iterdir())
        for folder in (run / "samples").iterdir()
    }
    assert drawn == {
        "000001_r008_seed0_class1": ["000000.png"],
        "000001_r008_seed0_class2": ["000000.png", "000001.png"],
    }


def test_a_class_is_drawn_by_its_name_which_is_told(
    tiny_config, tmp_path, import_tool, monkeypatch, capsys
):
    run = make_run(tmp_path, tiny_config, 3, ("cat", "dog", "fish"))
    tool = import_tool("sample")
    monkeypatch.setattr(tool, "keep_compiled", lambda: None)
    with flagsaver.flagsaver(**{"num": 1, "class": "dog"}):
        tool.main(str(run))
    out = run / "samples" / "000001_r008_seed0_class1"
    assert capsys.readouterr().out == f"1 images in {out}; class 1 (dog)\n"
    with Image.open(out / "000000.png") as image:
        drawn = progan_jax.to_uint8(progan_jax.load(run).sample(1, 0, 1))
        np.testing.assert_array_equal(np.asarray(image), drawn[0, ..., 0])
    with flagsaver.flagsaver(**{"num": 1, "by_class": True}):
        tool.main(str(run))
    assert capsys.readouterr().out.endswith("; rows: 0 cat, 1 dog, 2 fish\n")
    with (
        flagsaver.flagsaver(**{"num": 1, "class": "cow"}),
        pytest.raises(
            progan_jax.UserError, match="--class=cow: there is no such class"
        ),
    ):
        tool.main(str(run))


def test_rows_of_classes_show_the_same_latents(tiny_config, tmp_path):
    run = make_run(tmp_path, tiny_config, num_classes=3)
    done = sample(run, "--num=2", "--seed=4", "--by_class")
    assert done.returncode == 0, done.stderr
    path = run / "samples" / "000001_r008_seed4_by_class.png"
    assert done.stdout == f"6 images in {path}\n"
    g = progan_jax.load(run)
    z = seeded_latents(4, 2, g.latent_dim)
    with Image.open(path) as grid:
        pixels = np.asarray(grid, int).reshape(3, 8, 2, 8).swapaxes(1, 2)
    for label in range(3):
        images = progan_jax.to_uint8(g(z, label))[..., 0].astype(int)
        np.testing.assert_allclose(pixels[label], images, atol=1)


def test_a_network_that_ships_is_drawn_where_the_command_is_typed(
    tmp_path, monkeypatch, import_tool, capsys
):
    monkeypatch.chdir(tmp_path)
    tool = import_tool("sample")
    monkeypatch.setattr(tool, "keep_compiled", lambda: None)
    with flagsaver.flagsaver(num=1):
        tool.main("cifar10")
    assert capsys.readouterr().out == "1 images in samples/cifar10_seed0\n"
    images = progan_jax.to_uint8(progan_jax.load("cifar10").sample(1, 0))
    with Image.open(tmp_path / "samples" / "cifar10_seed0" / "000000.png") as image:
        np.testing.assert_array_equal(np.asarray(image), images[0])


@pytest.mark.parametrize(
    ("num_classes", "label", "words"),
    [(3, 3, " must be from 0 to 2"), (0, 1, ": this generator has no classes")],
)
def test_a_class_that_is_not_there_is_a_mistake(
    tiny_config, tmp_path, num_classes, label, words
):
    done = sample(make_run(tmp_path, tiny_config, num_classes), f"--class={label}")
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: --class={label}{words}")


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("twice", "error: one MODEL is needed, and 2 are given; see --help"),
        ("--by_class", "error: --by_class: this generator has no classes; write"),
        ("--num=0", "error: --num=0 must be at least 1; raise it"),
        ("--num=many", "error: --num=many must be a whole number; change it\n"),
        ("--snapshot=000009_r004", "error: --snapshot=000009_r004: "),
    ],
)
def test_mistakes_end_in_one_line_and_code_2(tiny_config, tmp_path, argument, message):
    done = sample(make_run(tmp_path, tiny_config), argument)
    assert done.returncode == 2
    assert done.stderr.startswith(message), done.stderr
    assert done.stderr.count("\n") == 1
