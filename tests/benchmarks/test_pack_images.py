"""The small file of a set's images, as `prepare_data` reads it."""

import io

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from progan_jax.data.decoding import decode
from progan_jax.prepare.file_reader import FileReader
from tests.in_process import run_tool
from tests.tfds_sets import write_tfds

__all__ = ["write_tfds"]  # A fixture.

NAMES = ["ant", "bee", "cat"]
LABELS = [2, 0, 0, 1, 0, 2, 1, 0]


def images():
    return np.random.default_rng(0).integers(0, 256, (8, 6, 6, 3), np.uint8)


def png(pixels):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def folder(write_tfds):
    """A TFDS root with eight images of three classes."""
    features = tfds.features.FeaturesDict(
        {
            "image": tfds.features.Image(shape=(6, 6, 3)),
            "label": tfds.features.ClassLabel(names=NAMES),
        }
    )
    examples = [
        {"image": png(pixels), "label": label}
        for pixels, label in zip(images(), LABELS, strict=True)
    ]
    return write_tfds("insects", features, {"train": examples})


def pack(folder, out, *arguments):
    where = f"--data_dir={folder}", f"--out={out}"
    names = "benchmarks.pack_images", "insects"
    return run_tool(*names, *where, *arguments, argument="NAME")


def test_the_first_images_of_each_class_are_packed_without_loss(folder, tmp_path):
    out = tmp_path / "insects.zip"
    done = pack(folder, out, "--max_images=6")
    assert done.returncode == 0, done.stderr
    assert "6 of 8 images, at most 2 of each class" in done.stdout
    reader = FileReader(out)
    assert reader.class_names == tuple(NAMES)
    found = {
        (item.label, decode(item.data, 3).tobytes())
        for item in (reader[i] for i in range(len(reader)))
    }
    kept = [0, 1, 2, 3, 5, 6]
    assert found == {(LABELS[i], images()[i].tobytes()) for i in kept}


def test_the_same_images_give_the_same_file(folder, tmp_path):
    files = [tmp_path / "a.zip", tmp_path / "b.zip"]
    pack(folder, files[0])
    pack(folder, files[1])
    assert files[0].read_bytes() == files[1].read_bytes()


def test_fewer_images_than_classes_are_refused(folder, tmp_path):
    done = pack(folder, tmp_path / "x.zip", "--max_images=2")
    assert done.returncode == 2
    assert "--max_images=2 must be at least 1 for each of 3 classes" in done.stderr
    assert not (tmp_path / "x.zip").exists()
