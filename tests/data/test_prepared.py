"""Pyramids that were not copied completely."""

import functools
import hashlib
import itertools
import json
import operator
import re
import shutil
import struct
from copy import deepcopy

import numpy as np
import pytest

from progan_jax.configs.folder import get_config
from progan_jax.data.decoding import BadImage
from progan_jax.data.prepared import load_prepared, read_description
from progan_jax.data.sources import load
from progan_jax.errors import UserError
from progan_jax.prepare.inspection import open_stored
from progan_jax.prepare.readers import Item, SyntheticReader
from progan_jax.prepare.tfds_reader import TfdsReader
from progan_jax.prepare.writing import Settings, finish, write_pyramid
from tests.json_places import places

N = 5
SHARD = "r008/1.0.0/synthetic-train.array_record-00001-of-00002"


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    class Small(Settings):
        def shard_images(self, num_images):
            return 3

    folder = tmp_path_factory.mktemp("whole") / "set"
    reader, settings = SyntheticReader(N, 16), Small(16)
    shards = write_pyramid(reader, folder, settings, {}, 1, lambda num_images: None)
    finish(folder, reader, settings, {}, shards)
    return folder


@pytest.fixture
def copy(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "copy")


def refusal(folder):
    with pytest.raises(UserError) as caught:
        load_prepared(folder, "train", 16)
    message = str(caught.value)
    assert message.startswith("config.data.name = 'copy': ")
    assert message.endswith("; copy the set again, or prepare it again")
    assert "\n" not in message
    return message


def change_record(folder, **fields):
    """Changes the record as an earlier program would have written it: unsealed."""
    path = folder / "pyramid.json"
    record = json.loads(path.read_text()) | fields
    record.pop("checksum", None)
    path.write_text(json.dumps(record))


def test_every_file_of_a_level_and_its_size_is_recorded(whole):
    recorded = json.loads((whole / "pyramid.json").read_text())["file_bytes"]
    files = [path for path in whole.glob("r*/1.0.0/*") if path.is_file()]
    assert len(files) == 3 * 4  # Two shards and two of TFDS at each of three levels.
    assert recorded == {str(f.relative_to(whole)): f.stat().st_size for f in files}


@pytest.mark.parametrize(
    "name",
    [SHARD, "r004/1.0.0/dataset_info.json", "r016/1.0.0/features.json", "labels.npy"],
)
def test_a_missing_file_is_named(copy, name):
    (copy / name).unlink()
    assert f"{copy / name} cannot be read (No such file" in refusal(copy)


def test_a_missing_level_is_named(copy):
    shutil.rmtree(copy / "r004")
    assert f"{copy / 'r004'}/1.0.0/" in refusal(copy)


def test_a_file_that_is_cut_short_or_empty_is_named(copy):
    size = (copy / SHARD).stat().st_size
    (copy / SHARD).write_bytes((copy / SHARD).read_bytes()[: 2**16])
    assert f"{copy / SHARD} has 65,536 bytes, not {size:,};" in refusal(copy)
    (copy / SHARD).write_bytes(b"")
    assert f"{copy / SHARD} has 0 bytes, not" in refusal(copy)


def test_a_record_without_sizes_will_do(copy):
    change_record(copy, file_bytes={})
    assert load_prepared(copy, "train", 16).num_images == N
    info = copy / "r008" / "1.0.0" / "dataset_info.json"
    info.write_text(info.read_text()[:50])
    with pytest.raises(UserError, match=r"dataset_info\.json .* cannot be read \("):
        load_prepared(copy, "train", 16)


@pytest.mark.parametrize("text", ["", '{"identity": {}, "na', "[]"])
def test_a_record_that_is_not_complete_json_is_named(copy, text):
    (copy / "pyramid.json").write_text(text)
    assert f"{copy / 'pyramid.json'} " in refusal(copy)


def test_a_record_without_a_fitting_field_is_named(copy):
    change_record(copy, num_images="5")
    fault = "pyramid.json is damaged: its 'num_images' is missing or invalid"
    assert fault in refusal(copy)


def test_labels_that_are_damaged_or_too_few_are_named(copy):
    path = copy / "labels.npy"
    data = path.read_bytes()
    for length in (len(data) - 1, 60, 3, 0):
        path.write_bytes(data[:length])
        assert f"{path} cannot be read (" in refusal(copy)
    np.save(path, np.zeros(N - 1, np.int32))
    assert f"{path} has 4 labels of 5 images" in refusal(copy)
    for rows in (np.zeros((N, 1), np.int32), np.zeros(N), np.array(N, np.int32)):
        np.save(path, rows)
        assert f"{path} has no row of classes" in refusal(copy)
    with path.open("wb") as file:
        np.savez(file, labels=np.zeros(N, np.int32))
    assert f"{path} cannot be read (" in refusal(copy)


@pytest.fixture(scope="module")
def classes(tmp_path_factory):
    """A set of three classes, with names."""

    class Named(SyntheticReader):
        num_classes, class_names = 3, ("ant", "bee", "cat")

        def __getitem__(self, index):
            item = super().__getitem__(index)
            return Item(item.name, item.data, index % 3)

    folder = tmp_path_factory.mktemp("classes") / "set"
    reader, settings = Named(N, 8), Settings(8)
    shards = write_pyramid(reader, folder, settings, {}, 1, lambda num_images: None)
    finish(folder, reader, settings, {}, shards)
    return folder


def readers_of(folder):
    """Yields what opens a set: training, inspect_data, and configs/folder.py."""
    yield lambda: load(folder.name, str(folder.parent), "train", 8, 1000)
    yield lambda: open_stored(folder)
    yield lambda: get_config(str(folder))


def refusals(folder):
    """Returns the line that everything that opens a set reports; it is the same."""
    lines = set()
    for read in readers_of(folder):
        with pytest.raises(UserError) as caught:
            read()
        lines.add(str(caught.value).removeprefix("config.data.name = 'copy': "))
    (line,) = lines
    assert "\n" not in line
    assert line.endswith("; copy the set again, or prepare it again")
    return line


def test_no_flipped_bit_of_the_labels_changes_them(classes, tmp_path):
    copy = shutil.copytree(classes, tmp_path / "copy")
    path = copy / "labels.npy"
    whole, labels = path.read_bytes(), np.load(path)
    for place in range(0, 8 * len(whole), 5):
        data = bytearray(whole)
        data[place // 8] ^= 1 << place % 8
        path.write_bytes(data)
        try:
            _, read = read_description(copy)
        except UserError as error:
            assert str(error).startswith(f"{path} ") and "\n" not in str(error)
        else:
            assert read.tolist() == labels.tolist()
            assert place // 8 < len(whole) - 4 * N  # Such as a blank of the header.


def test_labels_that_others_replaced_are_refused_by_all_that_opens_a_set(
    classes, tmp_path
):
    copy = shutil.copytree(classes, tmp_path / "copy")
    np.save(copy / "labels.npy", np.load(copy / "labels.npy")[::-1].copy())
    fault = f"{copy / 'labels.npy'} is damaged: its labels are not those written"
    assert refusals(copy).startswith(fault)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"bee"', '"bef"'),
        ('"num_classes": 3', '"num_classes": 4'),
        ('"num_images": 5', '"num_images": 4'),
        ('"channels": 3', '"channels": 1'),
        ('"ant",\n    "bee"', '"bee",\n    "ant"'),
        ('"checksum": "', '"checksul": "'),
    ],
)
def test_a_changed_record_is_refused_by_all_that_opens_a_set(
    classes, tmp_path, old, new
):
    copy = shutil.copytree(classes, tmp_path / "copy")
    path = copy / "pyramid.json"
    text = path.read_text()
    assert text.count(old) == 1
    path.write_text(text.replace(old, new))
    assert refusals(copy).startswith(f"{path} is damaged: its checksum does not match")


def test_an_older_set_without_checksums_passes_with_the_same_fingerprint(
    classes, tmp_path
):
    copy = shutil.copytree(classes, tmp_path / "copy")
    new = load_prepared(copy, "train", 8)
    # Of the identity with the digest of labels, as sets have had since they have one.
    digest = hashlib.sha256(np.load(copy / "labels.npy").tobytes()).hexdigest()[:32]
    text = json.dumps([{"labels": digest}, 8]).encode()
    assert new.fingerprint == hashlib.sha256(text).hexdigest()[:32]
    change_record(copy)
    assert load_prepared(copy, "train", 8).fingerprint == new.fingerprint
    change_record(copy, identity={}, file_bytes={})
    for read in readers_of(copy):
        read()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("num_classes", value) for value in (-1, True, 2.0, "3")),
        *(("channels", value) for value in (0, 2, 4, -3, True)),
        *(("num_images", value) for value in (0, -5, True)),
        *(("resolution", value) for value in (0, -8, 2, 12, 8.0)),
        *(("file_bytes", value) for value in ([], 5, {"r008": "1"}, {"r008": True})),
        *(("identity", value) for value in ([], None, {"labels": []})),
        *(("class_names", value) for value in ("abc", {"a": 1}, ["a", "b", 3])),
    ],
)
def test_a_field_of_another_kind_or_range_is_refused_without_a_checksum_too(
    classes, tmp_path, field, value
):
    copy = shutil.copytree(classes, tmp_path / "copy")
    change_record(copy, **{field: value})
    fault = f"pyramid.json is damaged: its {field!r} is missing or invalid"
    assert fault in refusals(copy)


@pytest.mark.parametrize("beyond", [-1, 3, 2**31 - 1])
def test_classes_out_of_range_are_refused_in_the_oldest_sets_too(
    classes, tmp_path, beyond
):
    copy = shutil.copytree(classes, tmp_path / "copy")
    change_record(copy, identity={})
    np.save(copy / "labels.npy", np.int32([0, 1, beyond, 0, 1]))
    words = "labels.npy has classes that are not from 0 to 2;"
    assert words in refusals(copy)


@pytest.mark.parametrize("depth", [*range(900, 1000, 9), 100_000])
def test_deep_brackets_in_a_json_of_a_set_are_one_line(copy, depth):
    deep = '{"a":' * depth + "1" + "}" * depth
    for text in (deep, f'{{"identity": {deep}, "checksum": ""}}'):
        (copy / "pyramid.json").write_text(text)
        assert f"{copy / 'pyramid.json'} " in refusal(copy)


def test_deep_brackets_in_the_description_of_a_level_are_one_line(copy):
    change_record(copy, file_bytes={})
    path = copy / "r008" / "1.0.0" / "dataset_info.json"
    path.write_text("[" * 100_000)
    for read in (lambda: load_prepared(copy, "train", 16), lambda: open_stored(copy)):
        with pytest.raises(UserError, match="cannot be read") as caught:
            read()
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "shape",
    [
        *("(500000000000,)", "(-5,)", "(5, 10000000000)", "(True,)", "(5.0,)", "5"),
        *("(9223372036854775807, 9223372036854775807)", "(" * 500, "None", "('a',)"),
        "(99999999999999999999999999,)",
    ],
)
def test_a_header_of_labels_that_claims_what_is_not_there_is_one_line(copy, shape):
    text = f"{{'descr': '<i4', 'fortran_order': False, 'shape': {shape}, }}\n"
    head = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode()
    (copy / "labels.npy").write_bytes(head + bytes(4 * N))
    assert f"{copy / 'labels.npy'} " in refusal(copy)


def test_a_missing_record_is_named_by_all_that_opens_a_set(classes, tmp_path):
    copy = shutil.copytree(classes, tmp_path / "copy")
    (copy / "pyramid.json").unlink()
    fault = f"{copy / 'pyramid.json'} is missing, and its levels are there"
    assert refusals(copy).startswith(fault)
    with pytest.raises(UserError, match=re.escape(fault)):
        TfdsReader("copy", str(tmp_path), "train")


WRONG = (None, "", "x", "2", "-3", -1, 1e400, True, [], {}, "{SHARD_X}", "{SH@RD_X}")


def changed(record, path, value):
    """Returns a copy with a value at a place; without the place if it is KeyError."""
    record = deepcopy(record)
    *above, last = path
    inner = functools.reduce(operator.getitem, above, record)
    if value is KeyError:
        del inner[last]
    else:
        inner[last] = value
    return record


@pytest.mark.parametrize("name", ["features.json", "dataset_info.json"])
def test_any_wrong_value_in_what_describes_a_level_is_one_line_or_changes_nothing(
    classes, tmp_path, name
):
    copy = shutil.copytree(classes, tmp_path / "copy")
    change_record(copy, file_bytes={})  # Otherwise the size would do.
    path = copy / "r008" / "1.0.0" / name
    record = json.loads(path.read_text())
    rows = np.arange(N)

    def train():
        return load("copy", str(tmp_path), "train", 8, 1000).levels[8][rows]

    def inspect():
        return open_stored(copy).read(8, rows)[0]

    def prepare():
        reader = TfdsReader("copy/r008", str(tmp_path), "train")
        return np.stack([reader[i].data for i in rows])

    images = train()
    for place, value in itertools.product(places(record), (KeyError, *WRONG)):
        path.write_text(json.dumps(changed(record, place, value)))
        for read in (train, inspect, prepare):
            try:
                same = np.array_equal(read(), images)
            except (UserError, BadImage) as error:
                assert "\n" not in str(error)
            else:
                assert same, (place, value)


@pytest.mark.parametrize(
    ("name", "old", "new", "fault"),
    [
        ("features.json", '"image"', '"hmage"', "its images are of another kind"),
        ("dataset_info.json", '"5"', '"4"', "it counts other images"),
    ],
)
def test_a_level_that_is_described_as_another_is_refused_at_the_start_of_a_run(
    classes, tmp_path, name, old, new, fault
):
    copy = shutil.copytree(classes, tmp_path / "copy")
    path = copy / "r008" / "1.0.0" / name
    assert path.read_text().count(old) == 1
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(UserError) as caught:
        load_prepared(copy, "train", 8)
    fix = "copy the set again, or prepare it again"
    assert str(caught.value) == f"{path} is damaged: {fault}; {fix}"


def test_levels_above_the_wanted_one_need_not_be_there(copy):
    shutil.rmtree(copy / "r016")
    assert sorted(load_prepared(copy, "train", 8).levels) == [4, 8]
