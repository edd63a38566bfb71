"""Pyramids that were not copied whole."""

import json
import shutil

import numpy as np
import pytest

from progan_jax.data.prepared import load_prepared
from progan_jax.data.readers import SyntheticReader
from progan_jax.data.shards import Settings
from progan_jax.data.writing import finish, write_pyramid
from progan_jax.errors import UserError

N = 5
SHARD = "r008/1.0.0/synthetic-train.array_record-00001-of-00002"


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    class Small(Settings):
        def shard_images(self, num_images):
            return 3

    folder = tmp_path_factory.mktemp("whole") / "set"
    reader, settings = SyntheticReader(N, 16), Small(16)
    shards = write_pyramid(reader, folder, settings, {}, 1, lambda shard: None)
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
    path = folder / "pyramid.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


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
    assert f"{copy / 'r004'}/1.0.0/features.json cannot be read" in refusal(copy)


def test_a_file_that_is_cut_short_or_empty_is_named(copy):
    size = (copy / SHARD).stat().st_size
    (copy / SHARD).write_bytes((copy / SHARD).read_bytes()[: 2**16])
    assert f"{copy / SHARD} has 65,536 bytes, not {size:,};" in refusal(copy)
    (copy / SHARD).write_bytes(b"")
    assert f"{copy / SHARD} is empty" in refusal(copy)


def test_a_record_without_sizes_will_do(copy):
    change_record(copy, file_bytes={})
    assert load_prepared(copy, "train", 16).num_images == N
    info = copy / "r008" / "1.0.0" / "dataset_info.json"
    info.write_text(info.read_text()[:50])
    assert f"{info} cannot be read (" in refusal(copy)
    info.write_text("{}")
    assert f"{info} is damaged: it names no shards" in refusal(copy)


@pytest.mark.parametrize("text", ["", '{"identity": {}, "na', "[]"])
def test_a_record_that_is_no_whole_json_is_named(copy, text):
    (copy / "pyramid.json").write_text(text)
    assert f"{copy / 'pyramid.json'} " in refusal(copy)


def test_a_record_without_a_fitting_field_is_named(copy):
    change_record(copy, num_images="5")
    assert "pyramid.json is damaged: it has no fitting 'num_images'" in refusal(copy)


def test_labels_that_are_damaged_or_too_few_are_named(copy):
    path = copy / "labels.npy"
    data = path.read_bytes()
    for length in (len(data) - 1, 60, 3, 0):
        path.write_bytes(data[:length])
        assert f"{path} cannot be read (" in refusal(copy)
    np.save(path, np.zeros(N - 1, np.int32))
    assert f"{path} holds 4 labels of 5 images" in refusal(copy)
    np.save(path, np.zeros((N, 1), np.int32))
    assert f"{path} holds no row of classes" in refusal(copy)


def test_levels_above_the_wanted_one_need_not_be_there(copy):
    shutil.rmtree(copy / "r016")
    assert sorted(load_prepared(copy, "train", 8).levels) == [4, 8]
