import pickle
import zipfile

import numpy as np
import pytest

from progan_jax.data.readers import (
    DigitsReader,
    FileReader,
    Subset,
    SyntheticReader,
    fingerprint,
)
from progan_jax.data.sources import load_digits
from progan_jax.errors import UserError


def write(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    return folder


def pack(path, *names):
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, name.encode())
    return path


def names_and_labels(reader):
    items = (reader[index] for index in range(len(reader)))
    return [(item.name, item.label) for item in items]


NAMES = ["b/2.png", "a/10.JPG", "a/9.jpeg", "c/d/x.webp"]
EXPECTED = [("a/10.JPG", 0), ("a/9.jpeg", 0), ("b/2.png", 1), ("c/d/x.webp", 2)]


@pytest.mark.parametrize("kind", ["folder", "zip"])
def test_files_are_in_the_order_of_their_names_with_classes_of_their_folders(
    tmp_path, kind
):
    others = ["a/notes.txt", "a/.hidden.png", "__MACOSX/a/9.png"]
    if kind == "folder":
        reader = FileReader(write(tmp_path / "set", *NAMES, *others))
    else:
        reader = FileReader(pack(tmp_path / "set.zip", *NAMES, *others))
    assert names_and_labels(reader) == EXPECTED
    assert reader.name == "set"
    assert reader.num_classes == 3
    assert reader[2].data == b"b/2.png"


def test_files_without_folders_have_no_classes(tmp_path):
    reader = FileReader(write(tmp_path, "1.png", "2.png"))
    assert reader.num_classes == 0
    assert FileReader(write(tmp_path / "one", "x/1.png", "x/2.png")).num_classes == 0


def test_members_of_a_zip_are_read_and_never_unpacked(tmp_path):
    reader = FileReader(pack(tmp_path / "evil.zip", "../../outside.png", "/abs.png"))
    assert {reader[i].data for i in range(2)} == {b"../../outside.png", b"/abs.png"}
    assert sorted(p.name for p in tmp_path.iterdir()) == ["evil.zip"]


def test_classes_may_come_from_a_table(tmp_path):
    write(tmp_path / "set", "1.png", "2.png")
    (tmp_path / "labels.csv").write_text("2.png,7\n1.png,0\n")
    reader = FileReader(tmp_path / "set", tmp_path / "labels.csv")
    assert names_and_labels(reader) == [("1.png", 0), ("2.png", 7)]
    assert reader.num_classes == 8


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("1.png,0\n2.png,1\n3.png,1\n", "'3.png' speaks of no image of the source"),
        ("1.png,0\n", "'2.png' is missing"),
        ("1.png,zero\n2.png,1\n", "cannot be read"),
        ("1.png\n", "cannot be read"),
        ("1.png,-1\n2.png,0\n", "classes must be at least 0"),
    ],
)
def test_a_wrong_table_is_refused(tmp_path, text, words):
    write(tmp_path / "set", "1.png", "2.png")
    (tmp_path / "labels.csv").write_text(text)
    with pytest.raises(UserError, match=words):
        FileReader(tmp_path / "set", tmp_path / "labels.csv")


def test_a_source_without_images_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"it holds no \.png"):
        FileReader(write(tmp_path / "set", "a.txt"))
    (tmp_path / "no.zip").write_bytes(b"no zip")
    with pytest.raises(UserError, match=r"no\.zip: cannot be read"):
        FileReader(tmp_path / "no.zip")


def test_digits_are_those_that_training_knows():
    reader, pyramid = DigitsReader(16), load_digits(16)
    assert len(reader) == 1797
    assert np.array_equal(reader[5].data, pyramid.levels[16][5])
    assert reader[5].label == pyramid.labels[5]


def test_noise_is_a_function_of_the_images_number():
    reader = SyntheticReader(10, 8)
    assert np.array_equal(reader[3].data, SyntheticReader(99, 8)[3].data)
    assert not np.array_equal(reader[3].data, reader[4].data)
    assert reader[3].data.shape == (8, 8, 3)


def test_a_subset_is_some_images_in_their_order():
    reader = Subset(SyntheticReader(10, 8), [7, 2])
    assert (len(reader), reader.name) == (2, "synthetic")
    assert [reader[i].name for i in range(2)] == ["7", "2"]
    assert [reader.name_of(i) for i in range(2)] == ["7", "2"]


def test_a_reader_travels_to_other_processes_even_when_open(tmp_path):
    reader = FileReader(pack(tmp_path / "set.zip", *NAMES))
    before = reader[0]
    assert pickle.loads(pickle.dumps(reader))[0] == before


def test_fingerprints_tell_sources_apart(tmp_path):
    one = fingerprint(FileReader(write(tmp_path / "a" / "set", *NAMES)))
    same = fingerprint(FileReader(pack(tmp_path / "set.zip", *NAMES)))
    other = fingerprint(FileReader(write(tmp_path / "b" / "set", *NAMES[1:])))
    assert one == same
    assert one != other
