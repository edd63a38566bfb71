import os
import pickle
import zipfile

import pytest

from progan_jax.data.decoding import BadImage
from progan_jax.data.file_reader import FileReader
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
        ("1.png,1\n2.png,0\n1.png,0\n", "'1.png' stands there more than once"),
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


def test_a_folder_that_cannot_be_listed_is_refused(tmp_path, monkeypatch):
    write(tmp_path / "set", "1.png", "sub/2.png")
    scandir = os.scandir

    def deny(path):
        if str(path).endswith("sub"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", deny)
    with pytest.raises(UserError, match=r"Permission denied: '.*sub'\); name a folder"):
        FileReader(tmp_path / "set")


def test_a_link_that_leads_nowhere_is_a_bad_image(tmp_path):
    (tmp_path / "1.png").symlink_to(tmp_path / "nowhere")
    reader = FileReader(tmp_path)
    with pytest.raises(BadImage, match="No such file or directory"):
        reader[0]
    assert reader.name_of(0) == "1.png"


@pytest.mark.parametrize(
    ("where", "value", "words"),
    [
        ("contents", b"x", "Bad CRC-32"),
        ("flags", b"\x01", "is encrypted, password required"),
        ("method", b"\x61", "compression method is not supported"),
    ],
)
def test_bad_members_of_a_zip_are_bad_images(tmp_path, where, value, words):
    path = pack(tmp_path / "set.zip", "1.png", "2.png")
    data = bytearray(path.read_bytes())
    # The first member's local header is at 0, its entry of the directory at `entry`.
    entry = data.index(b"PK\x01\x02")
    places = {"contents": [30 + 5], "flags": [6, entry + 8], "method": [8, entry + 10]}
    for place in places[where]:
        data[place : place + 1] = value
    path.write_bytes(data)
    reader = FileReader(path)
    with pytest.raises(BadImage, match=words):
        reader[0]
    assert reader[1].data == b"2.png"


def test_a_reader_travels_to_other_processes_even_when_open(tmp_path):
    reader = FileReader(pack(tmp_path / "set.zip", *NAMES))
    before = reader[0]
    assert pickle.loads(pickle.dumps(reader))[0] == before
