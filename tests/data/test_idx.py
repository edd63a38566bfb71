import gzip
import struct

import numpy as np
import pytest

from progan_jax.data import sources
from progan_jax.data.idx import read_idx
from progan_jax.errors import UserError
from tests.memory import allocating_at_most


def idx_bytes(array):
    """The format by its description: magic number, sizes, bytes."""
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    return header + array.astype(np.uint8).tobytes()


def write_set(root, side=28, count=5, name="mnist"):
    folder = root / name
    folder.mkdir()
    rng = np.random.default_rng(0)
    images = rng.integers(1, 256, (count, side, side))
    labels = np.arange(count) % 10
    for stem in ("train", "t10k"):
        (folder / f"{stem}-images-idx3-ubyte").write_bytes(idx_bytes(images))
        (folder / f"{stem}-labels-idx1-ubyte").write_bytes(idx_bytes(labels))
    return images, labels


def load(root, split="train", resolution=32, max_memory_mib=1.0):
    return sources.load("mnist", str(root), split, resolution, max_memory_mib)


@pytest.mark.parametrize("split", ["train", "test"])
def test_images_lie_in_the_middle_of_black(tmp_path, split):
    images, labels = write_set(tmp_path)
    pyramid = load(tmp_path, split)
    level = pyramid.levels[32]
    assert level.shape == (5, 32, 32, 1)
    np.testing.assert_array_equal(level[:, 2:30, 2:30, 0], images)
    assert np.sum(level, dtype=np.int64) == images.sum()
    np.testing.assert_array_equal(pyramid.labels, labels)
    assert (pyramid.num_classes, pyramid.channels, pyramid.name) == (5, 1, "mnist")


def test_classes_of_mnist_are_named_and_those_of_its_like_are_not(tmp_path):
    write_set(tmp_path)
    (tmp_path / "fashion_mnist").symlink_to("mnist")
    assert load(tmp_path).class_names == ("0", "1", "2", "3", "4")
    like = sources.load("fashion_mnist", str(tmp_path), "train", 32, 1.0)
    assert (like.class_names, like.num_classes) == ((), 5)


def test_zipped_files_are_read_as_the_plain_ones(tmp_path):
    write_set(tmp_path)
    plain = load(tmp_path).fingerprint
    for path in list((tmp_path / "mnist").iterdir()):
        path.with_name(path.name + ".gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
    assert load(tmp_path).fingerprint == plain


def test_images_of_a_full_side_get_no_margin(tmp_path):
    images, _ = write_set(tmp_path, side=8)
    level = load(tmp_path, resolution=8).levels[8]
    np.testing.assert_array_equal(level[..., 0], images)


@pytest.mark.parametrize(
    ("name", "damage", "words"),
    [
        ("train-labels-idx1-ubyte", None, "there is no such file"),
        ("train-images-idx3-ubyte", lambda data: data[:-1], "announces 3,920"),
        ("train-images-idx3-ubyte", lambda data: b"<html>" + data, "not an IDX file"),
        ("train-images-idx3-ubyte", lambda data: data[:9], "not an IDX file"),
        (
            "train-labels-idx1-ubyte",
            lambda data: idx_bytes(np.arange(4)),
            "5 images and 4 labels",
        ),
    ],
)
def test_missing_and_damaged_files_are_named_in_one_line(tmp_path, name, damage, words):
    write_set(tmp_path)
    path = tmp_path / "mnist" / name
    if damage is None:
        path.unlink()
    else:
        path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(UserError, match=words) as caught:
        load(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_cut_zipped_file_is_named(tmp_path):
    path = tmp_path / "labels"
    whole = gzip.compress(idx_bytes(np.arange(100)))
    (tmp_path / "labels.gz").write_bytes(whole[:-20])
    with pytest.raises(UserError, match=r"labels\.gz: it cannot be read"):
        read_idx(path, num_dims=1)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"split": "validation"}, "no images in such a split; choose one of: train, t"),
        ({"resolution": 64}, "config.model.resolution = 64"),
        ({"max_memory_mib": 0.001}, "max_memory_mib"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path, arguments, words):
    write_set(tmp_path)
    with pytest.raises(UserError, match=words):
        load(tmp_path, **arguments)


def test_images_that_are_not_square_are_refused(tmp_path):
    write_set(tmp_path)
    path = tmp_path / "mnist" / "train-images-idx3-ubyte"
    path.write_bytes(idx_bytes(np.zeros((5, 28, 20))))
    with pytest.raises(UserError, match="28x20, and must be square"):
        load(tmp_path)


def test_a_small_file_is_not_unpacked_beyond_what_it_announces(tmp_path):
    endless = idx_bytes(np.arange(100)) + bytes(2**26)
    (tmp_path / "labels.gz").write_bytes(gzip.compress(endless))
    with (
        allocating_at_most(2**20),
        pytest.raises(UserError, match="it has more bytes and announces 100"),
    ):
        read_idx(tmp_path / "labels", num_dims=1)


def test_a_file_that_announces_more_than_memory_may_take_is_refused_unread(tmp_path):
    header = struct.pack(">BBBB3I", 0, 0, 8, 3, 2**31, 28, 28)
    (tmp_path / "images").write_bytes(header)
    with pytest.raises(UserError, match="announces 1,683,627,180,032 bytes, more than"):
        read_idx(tmp_path / "images", num_dims=3)
