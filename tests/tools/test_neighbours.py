"""The tool on a short run on forty images of noise."""

import csv
import json
import shutil
import struct
from pathlib import Path

import jax
import numpy as np
import pytest
from absl.testing import flagsaver
from PIL import Image
from safetensors.numpy import save_file

from progan_jax.errors import UserError
from progan_jax.inference.generator import to_uint8
from progan_jax.inference.load import open_snapshot
from progan_jax.inference.publish import write_publication
from progan_jax.inference.snapshot import list_snapshots, read_snapshot, write_snapshot
from progan_jax.metrics.vgg import VGG, VGG19
from progan_jax.train import train
from tests.pickles import dumps, golden_networks

REALS = np.random.default_rng(0).integers(0, 256, (40, 32, 32), np.uint8)


def write_idx(path, array):
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    path.write_bytes(header + array.astype(np.uint8).tobytes())


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    from progan_jax.configs import digits

    config = digits.get_config()
    config.data.name = "noise"
    config.data.data_dir = str(tmp_path_factory.mktemp("sets"))
    files = Path(config.data.data_dir) / "noise"
    files.mkdir()
    for stem in ("train", "t10k"):
        write_idx(files / f"{stem}-images-idx3-ubyte", REALS)
        write_idx(files / f"{stem}-labels-idx1-ubyte", np.zeros(40))
    config.model.update(resolution=32, latent_size=8, fmap_base=32, fmap_max=8)
    config.schedule.update(
        start_resolution=32, total_kimg=0.064, batch_size="16", rampup_kimg=0.0
    )
    config.train.update(grid="4x2", tick_kimg="0.032")
    config.eval.every_kimg = 0.0
    config.runtime.update(num_devices=1, pairs_per_dispatch=2)
    folder = tmp_path_factory.mktemp("run") / "run"
    train(config, folder)
    return folder


@pytest.fixture
def neighbours(import_tool):
    """Returns a function that runs the tool with flags."""
    tool = import_tool("neighbours")

    def call(model, **values):
        with flagsaver.flagsaver(num=3, **values):
            tool.main(str(model))

    return call


def test_picture_and_table_show_the_images_nearest_to_the_samples(
    run, neighbours, capsys
):
    neighbours(run, k=2, seed=5)
    newest = list_snapshots(run)[-1]
    out = run / "neighbours" / f"{newest.name}_pixels_seed5"
    expected = f"3 fakes above 2 neighbours each: {out}.png, {out}.csv\n"
    assert capsys.readouterr() == (expected, "")
    reals = REALS.astype(np.int64)
    fakes = to_uint8(open_snapshot(newest).sample(3, seed=5))[..., 0].astype(np.int64)
    squares = np.array(
        [[np.sum((real - fake) ** 2) for real in reals] for fake in fakes]
    )
    nearest = squares.argsort(axis=1, kind="stable")[:, :2]
    with Path(f"{out}.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["real"]) for row in rows] == nearest.ravel().tolist()
    distances = np.sqrt(np.take_along_axis(squares, nearest, axis=1)).ravel()
    found = [float(row["distance"]) for row in rows]
    np.testing.assert_allclose(found, distances, rtol=1e-5)
    with Image.open(f"{out}.png") as picture:
        pixels = np.asarray(picture)
    assert pixels.shape == (3 * 64 + 8 + 2, 3 * 66 - 2)
    np.testing.assert_array_equal(pixels[:64:2, 66:130:2], fakes[1])
    np.testing.assert_array_equal(pixels[138::2, 66:130:2], reals[nearest[1, 1]])


def test_centres_are_compared_by_the_papers_network(run, tmp_path, neighbours):
    image = np.zeros((1, 16, 16, 3), np.float32)
    layers = VGG(VGG19).init(jax.random.key(0), image)["params"]
    arrays = {
        f"{layer}/{name}": np.asarray(array)
        for layer, parts in layers.items()
        for name, array in parts.items()
    }
    save_file(arrays, tmp_path / "vgg.safetensors")
    neighbours(
        run,
        features="vgg19",
        weights=str(tmp_path / "vgg.safetensors"),
        centre_crop=True,
        out=str(tmp_path / "picture"),
        k=1,
    )
    assert (tmp_path / "picture.png").exists()
    assert len((tmp_path / "picture.csv").read_text().splitlines()) == 4


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"k": 41}, "--k=41: noise has 40 images; lower it"),
        ({"weights": "W"}, "--weights=W: pixels need none"),
        ({"features": "vgg19"}, "VGG-19 weights: there is no file ; name torchvision"),
        (
            {"features": "vgg19", "weights": "/nowhere"},
            "VGG-19 weights: there is no file /nowhere",
        ),
        ({"features": "768", "weights": "/nowhere"}, "/nowhere: there is no such file"),
        ({"out": "/dev/null/x"}, "--out=/dev/null/x: "),
    ],
)
def test_mistakes_are_one_line(run, values, message, neighbours):
    with pytest.raises(UserError) as caught:
        neighbours(run, **values)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_a_snapshot_that_diverged_is_not_drawn(run, neighbours):
    folder = list_snapshots(run)[-1]
    params, info = read_snapshot(folder)
    diverged = folder.with_name("000009_r032")
    write_snapshot(diverged, jax.tree.map(lambda x: x * np.nan, params), info)
    with pytest.raises(UserError, match=f"snapshot {diverged.name}: its images"):
        neighbours(run, snapshot="000009_r032")
    shutil.rmtree(diverged)


def test_a_published_network_is_compared_with_a_set_that_is_at_hand(
    run, tmp_path, neighbours
):
    out = tmp_path / "published"
    licence = {"name": "mit"}
    write_publication(list_snapshots(run)[-1], out, licence, title="N", source="s")
    config = json.loads((run / "config.json").read_text())["config"]
    neighbours(out, data_dir=config["data"]["data_dir"], k=1)
    table = (out / "neighbours" / "published_pixels_seed0.csv").read_text()
    neighbours(run, k=1, out=str(tmp_path / "ours"))
    assert (tmp_path / "ours.csv").read_text() == table
    assert table.startswith("fake,rank,real,distance,class\n")
    assert all(line.endswith(",0") for line in table.splitlines()[1:])


def test_a_network_that_does_not_name_its_images_is_a_mistake(tmp_path, neighbours):
    path = tmp_path / "theirs.pkl"
    path.write_bytes(dumps(golden_networks("fused")))
    with pytest.raises(UserError, match=r"MODEL=.*it does not say which images"):
        neighbours(path)
