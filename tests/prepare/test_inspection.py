import io
import json
import shutil

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from progan_jax.data.decoding import BadImage
from progan_jax.data.pyramid import build_pyramid
from progan_jax.data.sources import load
from progan_jax.errors import UserError
from progan_jax.prepare.inspection import compare, contact_sheet, inspect, open_stored
from progan_jax.prepare.readers import Item, Reader
from progan_jax.prepare.tfds_reader import TfdsReader
from progan_jax.prepare.writing import Settings, finish, write_pyramid

N, CLASSES = 11, 3


class Pictures(Reader):
    """Noise; image `changed` is brighter in a corner that is a pixel at 4x4."""

    name, num_classes = "pictures", CLASSES

    def __init__(self, n=N, changed=None, label_of=lambda i: i % CLASSES, side=16):
        rng = np.random.default_rng(0)
        self.images = rng.integers(0, 250, (N, side, side, 3), np.uint8)[:n]
        self.label_of = label_of
        if changed is not None:
            self.images[changed, :4, :4] += 4  # Even: halves stay on their side.

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        return Item(str(index), self.images[index], self.label_of(index))


def prepare(folder, *, raw_up_to=8, **arguments):
    """Writes a pyramid of 16x16 in shards of four images, 16x16 as PNG."""
    reader = Pictures(**arguments)

    class Small(Settings):
        def shard_images(self, num_images):
            return 4

    settings = Small(reader.images.shape[1], raw_up_to=raw_up_to)
    shards = write_pyramid(reader, folder, settings, {}, 1, lambda num_images: None)
    finish(folder, reader, settings, {}, shards)
    return folder


def change_record(folder, **fields):
    """Changes the record as an earlier program would have written it: unsealed."""
    path = folder / "pyramid.json"
    record = json.loads(path.read_text()) | fields
    del record["checksum"]
    path.write_text(json.dumps(record))


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return prepare(tmp_path_factory.mktemp("whole") / "set")


@pytest.fixture(scope="module")
def changed(tmp_path_factory):
    return prepare(tmp_path_factory.mktemp("changed") / "set", changed=7)


@pytest.fixture
def mixed(whole, changed, tmp_path):
    """Returns a copy of `whole` with the 8x8 level of `changed`."""
    folder = shutil.copytree(whole, tmp_path / "mixed")
    shutil.rmtree(folder / "r008")
    shutil.copytree(changed / "r008", folder / "r008")
    return folder


def ignore(count):
    del count


def faults(folder):
    return list(inspect(open_stored(folder), None, ignore).faults())


def test_a_prepared_set_is_counted_and_has_no_fault(whole):
    done = []
    summary = inspect(open_stored(whole), None, done.append)
    assert not list(summary.faults())
    assert sum(done) == summary.num_inspected == N
    assert summary.label_counts.tolist() == [4, 4, 3]
    levels = build_pyramid("set", Pictures().images, None, 0).levels
    assert list(summary.levels) == list(levels) == [16, 8, 4]
    for side, level in summary.levels.items():
        pixels = levels[side][:].reshape(-1, 3) / 255
        np.testing.assert_allclose(level.mean, pixels.mean(axis=0), rtol=1e-12)
        np.testing.assert_allclose(level.stddev, pixels.std(axis=0), rtol=1e-12)
        files = (whole / f"r{side:03d}" / "1.0.0").glob("*.array_record*")
        assert level.num_bytes == sum(path.stat().st_size for path in files)
        assert level.num_images == N
        assert level.num_not_mean == (None if side == 16 else 0)


def test_a_sample_is_drawn_evenly_and_counted_alone(whole):
    summary = inspect(open_stored(whole), 3, ignore)
    pixels = Pictures().images[[0, 5, 10]].reshape(-1, 3) / 255
    assert summary.num_inspected == 3
    np.testing.assert_allclose(summary.levels[16].mean, pixels.mean(axis=0))
    assert summary.label_counts.tolist() == [1, 1, 1]


def test_a_level_that_is_not_the_mean_of_the_one_above_is_a_fault(mixed):
    assert faults(mixed) == [
        "level 8: 1 images are not the rounded 2x2 mean of level 16",
        "level 4: 1 images are not the rounded 2x2 mean of level 8",
    ]


def test_a_level_that_is_missing_or_shorter_is_a_fault(mixed, tmp_path):
    shutil.rmtree(mixed / "r008")
    assert faults(mixed) == ["level 8 is missing"]
    short = prepare(tmp_path / "short", n=9)
    shutil.copytree(short / "r008", mixed / "r008")
    assert faults(mixed) == ["level 8 has 9 images, and level 16 11"]


def test_labels_of_a_level_that_are_not_those_of_the_set_are_faults(mixed, tmp_path):
    shutil.rmtree(mixed / "r008")
    other = prepare(tmp_path / "other", label_of=lambda i: (i if i < 9 else 0) % 3)
    shutil.copytree(other / "r008", mixed / "r008")
    assert faults(mixed) == ["level 8: 1 labels are wrong"]


def test_equal_sets_are_equal_however_they_are_stored(whole, tmp_path):
    raw = prepare(tmp_path / "raw", raw_up_to=16)
    comparison = compare(open_stored(whole), open_stored(raw), None, ignore)
    assert comparison.equal
    assert comparison.num_compared == N


def test_images_that_differ_are_counted_at_each_level(whole, changed):
    comparison = compare(open_stored(whole), open_stored(changed), None, ignore)
    assert not comparison.equal
    assert not comparison.notes
    for difference in comparison.levels.values():
        assert (difference.num_differ, difference.first) == (1, 7)
        assert difference.largest == 4
    assert comparison.labels.first is None


def test_a_sample_of_two_sets_is_compared_by_the_images_own_indices(whole, changed):
    sets = open_stored(whole), open_stored(changed)
    few = compare(*sets, 3, ignore)  # Images 0, 5 and 10.
    assert few.equal
    assert few.num_compared == 3
    more = compare(*sets, 6, ignore)  # Every other one.
    assert more.equal
    most = compare(*sets, 10, ignore)  # All but one of the first few.
    assert [d.first for d in most.levels.values()] == [7, 7, 7]


def test_sets_without_a_common_level_are_not_compared(whole, tmp_path):
    other = prepare(tmp_path / "other", n=3)
    for side in ("r016", "r004"):
        shutil.rmtree(other / side)
    shutil.rmtree((half := shutil.copytree(whole, tmp_path / "half")) / "r008")
    comparison = compare(open_stored(half), open_stored(other), None, ignore)
    assert not comparison.equal
    assert comparison.num_compared == 0
    assert not comparison.levels


def test_labels_that_differ_are_counted(whole, tmp_path):
    other = prepare(tmp_path / "other", label_of=lambda i: 2)
    comparison = compare(open_stored(whole), open_stored(other), None, ignore)
    assert not comparison.equal
    assert comparison.labels.num_differ == 8
    assert (comparison.labels.largest, comparison.labels.first) == (2, 0)


def test_sets_of_other_counts_and_levels_are_compared_as_far_as_both_go(
    whole, tmp_path
):
    other = prepare(tmp_path / "other", n=9, side=8)
    comparison = compare(open_stored(whole), open_stored(other), None, ignore)
    assert not comparison.equal
    assert comparison.num_compared == 9
    assert comparison.notes == (
        "there are 11 images, and 9 in the other set",
        "level 16 is [16, 16, 3], and missing in the other set",
    )
    assert list(comparison.levels) == [8, 4]


def test_a_sheet_shows_images_drawn_evenly_and_enlarged_by_an_integer(whole):
    sheet = contact_sheet(open_stored(whole).levels[4])
    assert sheet.shape == (128, 11 * 128, 3)
    images = build_pyramid("set", Pictures().images, None, 0).levels[4][:]
    assert np.array_equal(sheet[16::32, 16::32], np.concatenate([*images], axis=1))


def test_a_tfds_set_is_one_level_in_its_newest_version(write_tfds):
    features = {
        "image": tfds.features.Tensor(shape=(8, 8, 1), dtype=np.uint8),
        "label": tfds.features.ClassLabel(num_classes=2),
    }
    image = np.full((8, 8, 1), 51, np.uint8)
    root = write_tfds("grey", features, {"train": [{"image": image, "label": 0}] * 2})
    examples = [{"image": image, "label": label} for label in (-1, 1, 1)]
    write_tfds("grey", features, {"train": examples}, version="1.10.0")
    for folder in (root / "grey", root / "grey" / "1.10.0"):
        summary = inspect(open_stored(folder), None, ignore)
        assert (summary.num_inspected, summary.num_unlabelled) == (3, 1)
        assert summary.label_counts.tolist() == [0, 2]
        assert summary.levels[8].mean == pytest.approx([0.2])
    with pytest.raises(UserError, match=r"--split=test: .* has train; choose one"):
        open_stored(root / "grey", "test")


@pytest.mark.parametrize("beyond", [-2, 3])
def test_a_class_of_a_tfds_set_that_is_out_of_range_is_refused(write_tfds, beyond):
    class Unchecked(tfds.features.ClassLabel):
        def encode_example(self, example_data):
            return example_data

    features = {
        "image": tfds.features.Tensor(
            shape=(8, 8, 3), dtype=np.uint8, encoding=tfds.features.Encoding.BYTES
        ),
        "label": Unchecked(num_classes=3),
    }
    image = np.zeros((8, 8, 3), np.uint8)
    examples = [{"image": image, "label": k} for k in (0, 1, beyond, 2)]
    root = write_tfds("beyond", features, {"train": examples})
    with pytest.raises(UserError, match=f"has class {beyond}, and .* from 0 to 2;"):
        inspect(open_stored(root / "beyond"), None, ignore)
    reader = TfdsReader("beyond", str(root), "train")
    assert reader[1].label == 1
    with pytest.raises(BadImage, match=f"it has class {beyond} of 3 from 0 on"):
        reader[2]
    if beyond > 0:  # Of images without a class a set has none, as of -1.
        with pytest.raises(UserError, match="image 2 has class 3, and"):
            load("beyond", str(root), "train", 8, 100)


def test_images_of_several_sizes_are_refused(write_tfds):
    examples = []
    for h, w in ((8, 8), (8, 9)):
        buffer = io.BytesIO()
        Image.fromarray(np.zeros((h, w, 3), np.uint8)).save(buffer, format="png")
        examples.append({"image": io.BytesIO(buffer.getvalue())})
    features = {"image": tfds.features.Image(shape=(None, None, 3))}
    root = write_tfds("sizes", features, {"train": examples})
    with pytest.raises(UserError, match=r"image 1 is \[8, 9, 3\], and the first"):
        inspect(open_stored(root / "sizes"), None, ignore)


def test_a_folder_that_is_no_set_is_refused(tmp_path):
    with pytest.raises(UserError, match="has neither a prepared set") as caught:
        open_stored(tmp_path)
    assert "\n" not in str(caught.value)
    (tmp_path / ".partial").mkdir()
    with pytest.raises(UserError, match="the pyramid is not finished"):
        open_stored(tmp_path)


def test_a_pyramid_without_levels_is_refused(tmp_path):
    record = {"resolution": 8, "num_classes": 0, "num_images": 1, "channels": 3}
    record["identity"] = {}
    np.save(tmp_path / "labels.npy", np.zeros(1, np.int32))
    (tmp_path / "pyramid.json").write_text(json.dumps(record))
    with pytest.raises(UserError, match="all its levels are missing"):
        open_stored(tmp_path)


def test_a_record_or_labels_that_do_not_fit_are_refused(mixed):
    np.save(mixed / "labels.npy", np.zeros(N - 1, np.int32))
    with pytest.raises(UserError, match="has 10 labels of 11 images"):
        open_stored(mixed)
    (mixed / "labels.npy").unlink()
    with pytest.raises(UserError, match=r"labels\.npy cannot be read \(No such"):
        open_stored(mixed)
    (mixed / "pyramid.json").write_text("{")
    with pytest.raises(UserError, match=r"pyramid\.json cannot be read"):
        open_stored(mixed)


def test_the_labels_that_training_takes_are_compared(whole, tmp_path):
    copy = shutil.copytree(whole, tmp_path / "copy")
    labels = np.load(copy / "labels.npy")
    np.save(copy / "labels.npy", np.where(np.arange(N) == 4, 2, labels))
    change_record(copy, identity={})  # Without their digest, as at first.
    comparison = compare(open_stored(whole), open_stored(copy), None, ignore)
    assert (comparison.labels.num_differ, comparison.labels.first) == (1, 4)


def test_damaged_bytes_are_refused_in_one_line(whole, tmp_path):
    folder = shutil.copytree(whole, tmp_path / "damaged")
    path = sorted((folder / "r016" / "1.0.0").glob("*.array_record*"))[1]
    data = bytearray(path.read_bytes())
    data[data.index(b"VP8L") + 20] ^= 255
    path.write_bytes(data)
    with pytest.raises(UserError, match=r"r016/1\.0\.0: cannot be read") as caught:
        faults(folder)
    assert "\n" not in str(caught.value)


def test_a_missing_shard_is_refused_in_one_line(mixed):
    path = sorted((mixed / "r008" / "1.0.0").glob("*.array_record*"))[1]
    path.unlink()
    with pytest.raises(UserError, match=rf"{path.name}: cannot be read") as caught:
        open_stored(mixed)
    assert "\n" not in str(caught.value)


def test_a_level_that_is_described_by_damaged_json_is_refused(mixed):
    path = mixed / "r008" / "1.0.0" / "dataset_info.json"
    path.write_text(path.read_text()[:40])
    with pytest.raises(UserError, match=r"1\.0\.0: dataset_info\.json or") as caught:
        open_stored(mixed)
    assert "\n" not in str(caught.value)


def test_names_of_classes_that_differ_are_noted(tmp_path, whole):
    sets = {}
    for name, names in {"one": ["a", "b", "c"], "other": ["a", "x", "y"]}.items():
        folder = shutil.copytree(whole, tmp_path / name)
        change_record(folder, class_names=names)
        sets[name] = open_stored(folder)
    (note,) = compare(sets["one"], sets["other"], 1, ignore).notes
    assert note == "2 classes have other names: 1 is b, and x in the other set"
    assert compare(sets["one"], open_stored(whole), 1, ignore).equal
    assert compare(sets["one"], sets["one"], 1, ignore).equal
