"""Sets of the Hugging Face Hub, read by its own library from folders, offline."""

import io
import pickle
import sys

import datasets
import huggingface_hub
import numpy as np
import pytest
from PIL import Image

from progan_jax.data.decoding import BadImage
from progan_jax.errors import UserError
from progan_jax.prepare.hf_reader import HfReader
from progan_jax.prepare.readers import digest_times, fingerprint

CLASSES = ("cat", "dog")


@pytest.fixture(autouse=True)
def offline(tmp_path, monkeypatch):
    """Keeps the library to its own cache, and off the network."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    datasets.disable_progress_bars()


def png(index):
    pixels = np.random.default_rng(index).integers(0, 256, (9, 9, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="png")
    return buffer.getvalue()


@pytest.fixture
def folder(tmp_path):
    """A folder of image files in the Hub's layout: split, class, file."""
    numbers = iter(range(99))
    for split, num in (("train", 3), ("test", 1)):
        for name in CLASSES:
            place = tmp_path / "pets" / split / name
            place.mkdir(parents=True)
            for index in range(num):
                (place / f"{index}.png").write_bytes(png(next(numbers)))
    return tmp_path / "pets"


def save(folder, columns, features):
    """Writes a set as `save_to_disk` does; images are bytes in its rows."""
    made = datasets.Dataset.from_dict(columns, datasets.Features(features))
    made.save_to_disk(folder)


def test_a_folder_is_read_split_by_split_with_its_classes(folder):
    train, test = HfReader(str(folder)), HfReader(f"{folder}:test")
    assert (len(train), len(test), train.name) == (6, 2, "pets")
    assert train.class_names == CLASSES
    assert train.labels.tolist() == [0, 0, 0, 1, 1, 1]
    items = [train[i] for i in range(6)] + [test[i] for i in range(2)]
    assert [item.data for item in items] == [png(i) for i in range(8)]
    assert [item.label for item in items] == [0, 0, 0, 1, 1, 1, 0, 1]


def test_a_split_may_be_a_slice_and_a_path_may_have_a_colon(folder):
    reader = HfReader(f"{folder}:train[1:4]")
    assert [reader[i].data for i in range(len(reader))] == [png(i) for i in (1, 2, 3)]
    renamed = folder.rename(folder.with_name("a:b"))
    assert len(HfReader(str(renamed))) == 6
    assert len(HfReader(f"{renamed}:test")) == 2


def test_images_in_the_rows_keep_their_own_encoding(tmp_path):
    features = {"picture": datasets.Image(), "n": datasets.Value("int64")}
    save(tmp_path / "set", {"picture": [png(0), png(1)], "n": [5, 6]}, features)
    reader = HfReader(str(tmp_path / "set"))
    assert [reader[i].data for i in range(2)] == [png(0), png(1)]
    assert (reader.num_classes, reader.labels, reader[1].label) == (0, None, 0)


def test_a_reader_reads_the_same_in_another_process(folder):
    reader = HfReader(str(folder))
    sent = pickle.dumps(reader)
    assert len(sent) < 10_000
    assert pickle.loads(sent)[4] == reader[4]


def test_images_without_a_class_have_minus_one_and_images_may_be_missing(tmp_path):
    label = datasets.ClassLabel(names=["a", "b"])
    features = {"image": datasets.Image(), "label": label}
    save(tmp_path / "set", {"image": [png(0), None], "label": [None, 1]}, features)
    reader = HfReader(str(tmp_path / "set"))
    assert (reader[0].label, reader.labels, reader.num_classes) == (-1, None, 2)
    with pytest.raises(BadImage, match="its row has no image"):
        reader[1]


def test_a_file_that_was_deleted_is_a_bad_image(folder):
    reader = HfReader(str(folder))
    (folder / "train" / "dog" / "0.png").unlink()
    with pytest.raises(BadImage, match="No such file"):
        reader[3]


@pytest.fixture
def twofold(tmp_path):
    """A set with two features of each kind."""
    names = ("coarse", "fine")
    labels = {
        n: datasets.ClassLabel(names=[f"{n}{i}" for i in range(3)]) for n in names
    }
    images = {"photo": datasets.Image(), "mask": datasets.Image()}
    columns = {"coarse": [0, 1], "fine": [2, 0]}
    columns |= {"photo": [png(0), png(1)], "mask": [png(2), png(3)]}
    save(tmp_path / "set", columns, images | labels)
    return str(tmp_path / "set")


def test_of_several_features_one_is_chosen_by_its_name(twofold):
    reader = HfReader(twofold, "mask", "fine")
    assert reader.class_names == ("fine0", "fine1", "fine2")
    assert (reader[1].data, reader[0].label) == (png(3), 2)
    assert HfReader(twofold, "mask", "").num_classes == 0


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ((), "several features of type Image; choose one by --image_feature: photo, "),
        (("mask",), "of type ClassLabel; choose one by --label_feature: coarse, fine"),
        (("fine",), "^--image_feature=fine: it is no Image of .*one of: photo, mask$"),
        (("mask", "photo"), "^--label_feature=photo: it is no ClassLabel of hf:"),
    ],
)
def test_a_feature_that_is_not_clear_is_a_line_with_the_choice(twofold, flags, message):
    with pytest.raises(UserError, match=message):
        HfReader(twofold, *flags)


def test_a_set_without_images_or_of_another_layout_is_refused_in_a_line(tmp_path):
    save(tmp_path / "numbers", {"n": [1]}, {"n": datasets.Value("int64")})
    (tmp_path / "empty").mkdir()
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "train.parquet").write_text("no table")
    for name, message in [
        ("numbers", r"its features \(n\) have no images; choose a set that has$"),
        (
            "empty",
            "split 'train' cannot be read: .*contain any data files; check the f",
        ),
        ("text", "split 'train' cannot be read: .*Parquet magic bytes.*; check the f"),
    ]:
        with pytest.raises(UserError, match=f"^hf:{tmp_path / name}: {message}") as e:
            HfReader(str(tmp_path / name))
        assert "\n" not in str(e.value)


def test_a_split_that_is_missing_is_a_line_with_those_there_are(folder):
    with pytest.raises(UserError, match=r"Unknown split .*\['train', 'test'\]"):
        HfReader(f"{folder}:validation")


def test_without_a_network_one_line_names_it(tmp_path):
    for name in ("me/none", "none", "me/none/small:test"):
        with pytest.raises(UserError, match=r"reach.*check the name, the network") as e:
            HfReader(name)
        assert "\n" not in str(e.value)
    with pytest.raises(UserError, match="hf:a b: there is no such folder, and a repo"):
        HfReader("a b")


def test_without_the_extra_a_line_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(UserError, match=r"not installed; pip install datasets$"):
        HfReader("me/none")


def test_versions_that_run_code_of_a_repository_are_refused(folder, monkeypatch):
    for version in ("4.0.0", "4.0.1.dev0", "10.2.0"):
        monkeypatch.setattr(datasets, "__version__", version)
        assert len(HfReader(str(folder))) == 6
    for version in ("3.6.0", "2.14.4.dev0"):
        monkeypatch.setattr(datasets, "__version__", version)
        with pytest.raises(UserError) as error:
            HfReader("me/none")
        assert str(error.value) == (
            f"hf:me/none: datasets {version} is installed, and versions before 4 may "
            "run code of a repository; pip install 'datasets>=4'"
        )


def test_a_changed_file_of_the_folder_changes_what_continues_a_preparation(folder):
    before = digest_times(HfReader(str(folder)))
    assert before == digest_times(HfReader(str(folder)))
    (folder / "train" / "cat" / "9.png").write_bytes(png(9))
    after = HfReader(str(folder))
    assert (len(after), digest_times(after) == before) == (7, False)


def test_every_class_is_in_the_fingerprint(tmp_path):
    found = set()
    for odd in range(20):
        label = datasets.ClassLabel(names=["a", "b"])
        columns = {"image": [png(0)] * 20, "label": [int(i == odd) for i in range(20)]}
        features = {"image": datasets.Image(), "label": label}
        save(tmp_path / str(odd), columns, features)
        found.add(fingerprint(HfReader(str(tmp_path / str(odd)))))
    assert len(found) == 20


def test_a_set_written_by_save_to_disk_has_one_split(tmp_path):
    rows = {"image": [{"bytes": png(0), "path": None}]}
    save(tmp_path / "saved", rows, {"image": datasets.Image()})
    assert len(HfReader(str(tmp_path / "saved"))) == 1
    with pytest.raises(UserError, match="holds one split; leave :test out"):
        HfReader(f"{tmp_path / 'saved'}:test")
