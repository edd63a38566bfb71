import io
import struct
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from progan_jax.data.decoding import BadImage
from progan_jax.data.records import TfRecords
from progan_jax.errors import UserError
from progan_jax.prepare.tfds_reader import TfdsReader
from tests.tfds_sets import crc32c, write_tfrecord

_F = tfds.features


def png(value):
    file = io.BytesIO()
    Image.new("RGB", (8, 8), (value, 0, 0)).save(file, "PNG")
    return file.getvalue()


def split_files(tmp_path, lengths):
    """Writes files of that many records; record i is i bytes long."""
    numbers = iter(range(sum(lengths)))
    paths = [tmp_path / f"part-{k}" for k in range(len(lengths))]
    for path, length in zip(paths, lengths, strict=True):
        write_tfrecord(path, [bytes([next(numbers)] * k) for k in range(length)])
    return paths


def test_the_checksum_of_the_tests_is_the_published_one():
    # The check value of CRC-32C in every catalogue of checksums.
    assert crc32c(b"123456789") == 0xE3069283


def test_records_of_several_files_are_found_by_their_index(tmp_path):
    lengths = [3, 0, 1, 4]
    records = TfRecords(split_files(tmp_path, lengths), lengths)
    expected = [bytes([i] * k) for i, k in enumerate([0, 1, 2, 0, 0, 1, 2, 3])]
    assert len(records) == 8
    assert records.__getitems__(range(8)) == expected
    assert records.__getitems__([7, 2, 2]) == [expected[7], expected[2], expected[2]]


@pytest.mark.parametrize("cut", [1, 4, 7, 10, 20])
def test_a_file_cut_short_is_refused(tmp_path, cut):
    (path,) = split_files(tmp_path, [4])
    path.write_bytes(path.read_bytes()[:-cut])
    with pytest.raises(
        UserError, match=r"its 4 records do not fill its .* prepare the set"
    ):
        TfRecords([path], [4])[0]


def test_a_file_of_other_records_is_refused(tmp_path):
    (path,) = split_files(tmp_path, [4])
    for length in (3, 5):
        with pytest.raises(UserError, match="it is damaged"):
            TfRecords([path], [length])[0]
    path.write_bytes(struct.pack("<Q", 2**63) + path.read_bytes()[8:])
    with pytest.raises(UserError, match="it is damaged"):
        TfRecords([path], [4])[0]
    with pytest.raises(UserError, match="No such file or directory"):
        TfRecords([tmp_path / "missing"], [4])[0]


def write_pairs(write_tfds, **kwargs):
    """A set whose images have other names, one of them within a feature."""
    features = {
        "hr": _F.Image(shape=(8, 8, 3)),
        "image": {"encoded": _F.Image(shape=(8, 8, 3)), "id": _F.Text()},
        "kind": _F.ClassLabel(names=["a", "b"]),
        "label": _F.Text(),
    }
    examples = [
        {
            "hr": png(i),
            "image": {"encoded": png(100 + i), "id": "x"},
            "kind": i % 2,
            "label": "a",
        }
        for i in range(5)
    ]
    return str(write_tfds("pairs", features, {"train": examples}, **kwargs))


@pytest.mark.parametrize("file_format", ["array_record", "tfrecord"])
@pytest.mark.parametrize(("image", "first"), [("hr", 0), ("image/encoded", 100)])
def test_images_and_classes_may_have_any_name(write_tfds, file_format, image, first):
    data_dir = write_pairs(write_tfds, file_format=file_format)
    reader = TfdsReader("pairs", data_dir, "train", image, "kind")
    assert (reader.num_classes, reader.class_names) == (2, ("a", "b"))
    items = [reader[i] for i in range(5)]
    assert [item.data for item in items] == [png(first + i) for i in range(5)]
    assert [item.label for item in items] == [0, 1, 0, 1, 0]


def test_labels_that_are_no_classes_are_left_alone(write_tfds):
    data_dir = write_pairs(write_tfds)
    for label in ("label", "nothing"):
        reader = TfdsReader("pairs", data_dir, "train", "hr", label)
        assert (reader.num_classes, reader[1].label) == (0, 0)


@pytest.mark.parametrize(
    ("image", "words"),
    [
        ("lr", r"\(hr, image, kind, label\) have no 'lr'; choose"),
        ("image/decoded", "have no 'image/decoded'"),
        ("image", "its 'image' is no image, and must be uint8"),
        ("label", "its 'label' is no image, and must be uint8"),
    ],
)
def test_what_is_no_feature_of_images_is_refused(write_tfds, image, words):
    with pytest.raises(UserError, match=words):
        TfdsReader("pairs", write_pairs(write_tfds), "train", image)


@pytest.mark.parametrize("file_format", ["array_record", "tfrecord"])
def test_a_damaged_set_is_refused(write_tfds, file_format):
    root = write_pairs(write_tfds, file_format=file_format)
    reader = TfdsReader("pairs", root, "train", "hr")
    (path,) = Path(root).rglob("*-00001-of-*")
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(UserError, match="prepare the set again"):
        reader[4]
    path.unlink()
    with pytest.raises(UserError, match="prepare the set again"):
        TfdsReader("pairs", root, "train", "hr")[4]


def test_a_damaged_record_is_a_bad_image(write_tfds):
    root = write_pairs(write_tfds, file_format="tfrecord")
    (path,) = Path(root).rglob("*-00000-of-*")
    data = bytearray(path.read_bytes())
    data[12:20] = bytes([255] * 8)
    path.write_bytes(data)
    reader = TfdsReader("pairs", root, "train", "hr")
    with pytest.raises(BadImage, match="its record is damaged"):
        reader[0]
    assert reader[1].data == png(1)


def test_damaged_pixels_of_a_record_are_a_bad_image(write_tfds):
    pixels = np.arange(192, dtype=np.uint8).reshape(8, 8, 3)
    packed = tfds.features.Encoding.ZLIB
    feature = tfds.features.Tensor(shape=(8, 8, 3), dtype=np.uint8, encoding=packed)
    examples = [{"image": pixels}] * 4
    root = write_tfds(
        "set", {"image": feature}, {"train": examples}, file_format="tfrecord"
    )
    (path,) = root.rglob("*-00000-of-*")
    data = bytearray(path.read_bytes())
    data[data.index(b"x\x9c") + 2] ^= 255
    path.write_bytes(data)
    reader = TfdsReader("set", str(root), "train")
    with pytest.raises(BadImage, match="its record is damaged"):
        reader[0]
    np.testing.assert_array_equal(reader[1].data, pixels)
