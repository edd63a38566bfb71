"""Sources as kind:PATH, and the messages where the kind is another one."""

import os
import zipfile

import datasets
import lmdb
import numpy as np
import pytest
from PIL import Image

from progan_jax.data.sources import load
from progan_jax.errors import UserError
from progan_jax.prepare.writing import Settings
from tests.in_process import run_tool, tool

EXPECTED = {
    # A file of the folder stands for the folder, and a folder for the file.
    "lmdb:tower": "2 of tower",
    "lmdb:tower/data.mdb": "2 of tower",
    "lmdb:tower/lock.mdb": "2 of tower",
    "lmdb:alone.mdb": "2 of alone",
    "lmdb:huge.mdb": "2 of huge",
    "lmdb:bedroom_train_lmdb.zip": "2 of bedroom",
    "folder:images": "1 of images",
    "zip:images": "1 of images",
    "zip:images.zip": "1 of images",
    "folder:images.zip": "1 of images",
    # Or the line says what to write.
    "folder:tower": (
        "tower: it has no PNG, JPEG, WebP and BMP files; name a folder or a zip file "
        "of images"
    ),
    "lmdb:images": (
        "lmdb:images: data.mdb cannot be read (No such file or directory); name the "
        "folder of data.mdb, or its zip file"
    ),
    "lmdb:images/1.png": (
        "lmdb:images/1.png: not an LMDB data file (MDB_MAGIC not found in first page), "
        "or an unsupported 32-bit / foreign-endian file; download it again, or name an "
        "LMDB"
    ),
    "lmdb:images.zip": (
        "lmdb:images.zip: it has no data.mdb, and must have one; name the zip file "
        "of one LMDB"
    ),
    "folder:images/1.png": (
        "images/1.png cannot be read (File is not a zip file); name a folder or a "
        "whole zip file of images"
    ),
    "images": (
        "'images' is not a source; write folder:PATH, zip:PATH, lmdb:PATH, tfds:NAME, "
        "hf:USER/NAME, celeba_hq:PATH, stacked_mnist:PATH, digits or synthetic:N"
    ),
}


@pytest.fixture
def sources(tmp_path):
    """Returns a folder of sources of each kind."""
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "1.png").write_bytes(
        b"neither an image nor a database, nor an archive"
    )
    with (
        lmdb.open(str(tmp_path / "tower"), map_size=2**20) as environment,
        environment.begin(write=True) as transaction,
    ):
        transaction.put(b"0", b"x")
        transaction.put(b"1", b"x")
    data = (tmp_path / "tower" / "data.mdb").read_bytes()
    (tmp_path / "alone.mdb").write_bytes(data)
    (tmp_path / "huge.mdb").write_bytes(data)
    os.truncate(tmp_path / "huge.mdb", 5 * 10**9)
    with zipfile.ZipFile(tmp_path / "bedroom_train_lmdb.zip", "w") as archive:
        archive.writestr("bedroom_train_lmdb/data.mdb", data)
    with zipfile.ZipFile(tmp_path / "images.zip", "w") as archive:
        archive.writestr("1.png", b"x")
    return tmp_path


@pytest.mark.parametrize("source", EXPECTED)
def test_each_source_works_or_ends_in_a_line_that_says_what_to_write(
    sources, monkeypatch, source, capsys
):
    monkeypatch.chdir(sources)
    with tool("progan_jax.tools.prepare_data", out="out") as names:
        try:
            reader = names["open_source"](source, Settings(8))
            answer = f"{len(reader)} of {reader.name}"
        except UserError as error:
            answer = str(error)
    checked = source.startswith("lmdb:") and not source.endswith("images.zip")
    assert capsys.readouterr().out.startswith("checking lmdb:" * checked)
    assert answer == EXPECTED[source]


def test_a_folder_in_the_hubs_layout_gives_what_the_folder_itself_gives(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    random = np.random.default_rng(0)
    for name in ("cat", "dog"):
        place = tmp_path / "pets" / "train" / name
        place.mkdir(parents=True)
        for index in range(3):
            pixels = random.integers(0, 256, (12, 10, 3), np.uint8)
            Image.fromarray(pixels).save(place / f"{index}.png")
    for kind in ("hf", "folder"):
        done = run_tool(
            "progan_jax.tools.prepare_data",
            f"{kind}:{tmp_path / 'pets'}",
            f"--out={tmp_path}",
            f"--name={kind}",
            "--resolution=8",
            "--workers=2",
        )
        assert done.returncode == 0, done.stderr
        assert "6 images, 2 classes (cat, dog)" in done.stdout
    hub, folder = (load(k, str(tmp_path), "train", 8, 100) for k in ("hf", "folder"))
    assert hub.labels.tolist() == folder.labels.tolist() == [0, 0, 0, 1, 1, 1]
    for side in (4, 8):
        assert np.array_equal(hub.levels[side][:], folder.levels[side][:])
