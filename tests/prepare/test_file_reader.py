import csv
import io
import json
import os
import pickle
import random
import stat
import struct
import warnings
import zipfile
from contextlib import suppress

import pytest
from PIL import Image

from progan_jax.data.decoding import BadImage, decode
from progan_jax.errors import UserError
from progan_jax.prepare.file_reader import FileReader
from tests.memory import allocating_at_most, run_alone


def write(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(os.fsencode(name))
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
EXPECTED = [("a/9.jpeg", 0), ("a/10.JPG", 0), ("b/2.png", 1), ("c/d/x.webp", 2)]


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
    assert (reader.num_classes, reader.class_names) == (3, ("a", "b", "c"))
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
        (
            "1.png,0\n2.png,1\n3.png,1\n",
            "'3.png' is not an image of the source; an image is called '1.png'",
        ),
        ("1.png,0\n", "'2.png' is missing; correct"),
        ("5.png,0\n3.png,1\n", "'3.png' is not .*, the first of 2 such files; an"),
        ("file,class\n1.png,0\n2.png,1\n", "line 1 must be file,class with a class"),
        ("1.png,0\n2.png\n", "line 2 must be file,class"),
        ("1.png,-1\n2.png,0\n", "line 1 must be file,class"),
        ("1.png,0\n2.png,1_0\n", "line 2 must be file,class"),
        ("1.png,1e1\n2.png,0\n", "line 1 must be file,class"),
        ("1.png,4000000000\n2.png,0\n", "line 1 must be file,class"),
        ("1.png,100000\n2.png,0\n", "with a class from 0 to 99,999, and"),
        ("1.png,1\n2.png,0\n1.png,0\n", "'1.png' is listed more than once"),
    ],
)
def test_a_wrong_table_is_refused(tmp_path, text, words):
    write(tmp_path / "set", "1.png", "2.png")
    (tmp_path / "labels.csv").write_text(text)
    with pytest.raises(UserError, match=words):
        FileReader(tmp_path / "set", tmp_path / "labels.csv")


def test_a_source_without_images_is_refused(tmp_path):
    with pytest.raises(UserError, match="it has no PNG, JPEG"):
        FileReader(write(tmp_path / "set", "a.txt"))
    (tmp_path / "no.zip").write_bytes(b"no zip")
    with pytest.raises(UserError, match=r"no\.zip cannot be read"):
        FileReader(tmp_path / "no.zip")


def deny_listing(monkeypatch, name):
    """Lets folders of a name be those that the user may not list."""
    scandir = os.scandir

    def deny(path):
        if str(path).endswith(name):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", deny)


def test_a_folder_that_cannot_be_listed_is_refused(tmp_path, monkeypatch):
    write(tmp_path / "set", "1.png", "sub/2.png")
    deny_listing(monkeypatch, "sub")
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
        ("method", b"\x61", "it is packed by another method than deflate"),
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


def test_images_beside_classes_are_noticed(tmp_path):
    mixed = FileReader(write(tmp_path / "x", "a/1.png", "b/2.png", "3.png"))
    (remark,) = mixed.remarks
    assert remark.startswith(
        f"{tmp_path / 'x'}: images beside the folders a, b: 3.png; so the set has no "
        "classes; if the folders are classes, move these images away, or give"
    )
    assert mixed.num_classes == 0
    assert not FileReader(write(tmp_path / "y", "a/1.png", "b/2.png")).remarks
    assert not FileReader(write(tmp_path / "z", "1.png", "2.png")).remarks


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (
            ["pets/cat/1.png", "pets/dog/1.png", "cover.png"],
            "images beside the folders pets/cat, pets/dog: cover.png; so the set has",
        ),
        (
            ["pets/cat/1.png", "pets/dog/1.png", "pets/a.png", "pets/b.png"],
            "images beside the folders cat, dog: pets/a.png and 1 more; so the set has",
        ),
        (
            ["pets/cat/1.png", "pets/dog/1.png", "pets/lion/1.png", "pets/1.png"],
            "if the folders are classes, move these images away, or give --labels=FILE",
        ),
    ],
)
def test_an_image_that_takes_the_classes_away_is_named(tmp_path, names, words):
    reader = FileReader(write(tmp_path / "x", *names))
    assert reader.num_classes == 0
    (remark,) = reader.remarks
    assert words in remark and "\n" not in remark


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (
            ["pets/cat/1.png", "pets/dog/1.png", "docs/logo.png"],
            "its folders docs, pets become classes, and those within them (pets/cat, "
            "pets/dog) do not; if those are the classes, move all of them into one "
            "folder with nothing else, or give --labels=FILE.csv",
        ),
        (
            ["a/cat/1.png", "a/dog/1.png", "b/cat/1.png", "b/dog/1.png"],
            "and those within them (a/cat, a/dog, b/cat, b/dog) do not",
        ),
        (
            ["pets/cat/1.png", "wild/lion/1.png"],
            "and those within them (pets/cat, wild/lion) do not",
        ),
        (
            ["train/cat/1.png", "train/dog/1.png", "training_masks/cat/1.png"],
            "its folders train, training_masks become classes; if they are splits or",
        ),
        *(
            ([f"{name}/1.png" for name in names], "if they are splits or parts")
            for names in (
                ("train", "training_masks"),
                ("training", "testing"),
                ("train2017", "val2017"),
                ("extra", "test", "train"),
                ("test-images", "train-images"),
                ("trainset", "testset"),
            )
        ),
    ],
)
def test_folders_that_may_not_be_the_classes_are_remarked_on(tmp_path, names, words):
    reader = FileReader(write(tmp_path / "x", *names))
    assert reader.num_classes == len({name.split("/")[0] for name in names})
    (remark,) = reader.remarks
    assert words in remark and "\n" not in remark


@pytest.mark.parametrize(
    "names",
    [
        ["bus/1.png", "car/1.png", "train/1.png"],
        ["valley/1.png", "test/1.png", "device/1.png", "trainer/1.png"],
        ["n01/images/1.png", "n02/images/1.png"],  # Tiny ImageNet.
        ["cat/1.png", "cat/more/2.png", "dog/1.png"],
        ["1.png", "more/2.png"],
    ],
)
def test_ordinary_folders_are_not_remarked_on(tmp_path, names):
    assert FileReader(write(tmp_path / "x", *names)).remarks == ()


def classes_of(reader):
    """Returns the name of each image's class."""
    return [reader.class_names[label] for _, label in names_and_labels(reader)]


def test_classes_and_files_with_numbers_for_names_are_in_the_order_of_numbers(tmp_path):
    names = [f"{k}/{i}.png" for k in range(12) for i in (1, 2, 10)]
    reader = FileReader(write(tmp_path, *names))
    assert names_and_labels(reader) == [
        (name, int(name.split("/")[0])) for name in names
    ]
    assert reader.class_names == tuple(map(str, range(12)))


def test_other_names_are_in_the_order_of_text_after_numbers(tmp_path):
    folders = ["10", "2", "Zoo", "class_10", "class_2", "n02"]
    reader = FileReader(write(tmp_path, *(f"{folder}/x.png" for folder in folders)))
    assert reader.class_names == ("2", "10", "Zoo", "class_10", "class_2", "n02")


@pytest.mark.parametrize("top", ["pets/", "pets/train/images/"])
@pytest.mark.parametrize("kind", ["folder", "zip"])
def test_classes_lie_below_the_folders_that_hold_everything(tmp_path, kind, top):
    names = [f"{top}cat/0.png", f"{top}dog/0.png", f"{top}dog/1.png"]
    litter = [".DS_Store", "pets/.DS_Store", "__MACOSX/x.png", "pets/Thumbs.db"]
    if kind == "folder":
        reader = FileReader(write(tmp_path / "x", *names, *litter))
    else:
        reader = FileReader(
            pack(tmp_path / "x.zip", *names, *litter, "pets/", "empty/")
        )
    assert names_and_labels(reader) == list(zip(names, [0, 1, 1], strict=True))
    assert (reader.class_names, reader.remarks) == (("cat", "dog"), ())


def test_classes_of_a_zip_file_of_windows_are_found(tmp_path):
    reader = FileReader(
        pack(tmp_path / "x.zip", "pets\\cat\\0.png", "pets\\dog\\0.png")
    )
    assert classes_of(reader) == ["cat", "dog"]
    assert reader[1].data == b"pets\\dog\\0.png"


@pytest.mark.parametrize(
    "names", [["./cat/0.png", "dog/0.png"], ["pets//cat/0.png", "pets/dog/0.png"]]
)
def test_classes_of_a_zip_do_not_depend_on_how_its_paths_are_spelt(tmp_path, names):
    reader = FileReader(pack(tmp_path / "x.zip", *names))
    assert classes_of(reader) == ["cat", "dog"]
    assert [item.data.decode() for item in (reader[0], reader[1])] == names


@pytest.mark.parametrize(
    ("others", "words"),
    [
        (["cat/0.png"], "not read: 1 file with the name of a later one in the zip"),
        (["./cat/0.png", "cat//0.png"], "not read: 2 files with the name of a later"),
    ],
)
def test_of_members_of_one_name_the_last_is_read_and_the_rest_counted(
    tmp_path, others, words
):
    path = pack(tmp_path / "x.zip", "cat/0.png", "dog/0.png")
    with zipfile.ZipFile(path, "a") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # Of zipfile, of the name.
        for name in others:
            archive.writestr(name, f"later {name}")
    reader = FileReader(path)
    assert {reader[k].data.decode() for k in range(len(reader))} == {
        f"later {others[-1]}",
        "dog/0.png",
    }
    (remark,) = reader.remarks
    assert remark.startswith(f"{path}: {words}")
    assert "cat/0.png" in remark


@pytest.mark.parametrize(
    "names",
    [["train", "val", "Test"], ["00000", "00001"], ["testA", "trainA", "trainB"]],
)
def test_folders_that_look_like_parts_of_a_set_are_remarked_on(tmp_path, names):
    reader = FileReader(write(tmp_path / "x", *(f"{name}/1.png" for name in names)))
    assert reader.num_classes == len(names)
    (remark,) = reader.remarks
    assert f"its folders {', '.join(sorted(names))} become classes" in remark
    assert not FileReader(write(tmp_path / "y", "0/1.png", "train/1.png")).remarks


def test_folders_of_one_name_in_two_spellings_are_refused(tmp_path):
    composed, apart = "caf\u00e9", "cafe\u0301"
    write(tmp_path, f"{composed}/1.png", f"{apart}/1.png", "dog/1.png")
    with pytest.raises(UserError, match="2 folders of classes are called 'caf\u00e9'"):
        FileReader(tmp_path)


def test_names_of_classes_are_a_line_of_valid_text(tmp_path):
    folders = [os.fsdecode(b"caf\xe9"), "two\nlines", "cafe\u0301", " cat "]
    reader = FileReader(write(tmp_path, *(f"{folder}/x.png" for folder in folders)))
    assert sorted(reader.class_names) == [
        *("caf\\udce9", "caf\u00e9", "cat", "two\\nlines"),
    ]


# The labels of StyleGAN2-ADA's dataset_tool.

SHARDS = ["00000/img0.png", "00000/img1.png", "00001/img2.png"]


def write_dataset(path, content, names=SHARDS, top=""):
    text = content if isinstance(content, str) else json.dumps(content)
    files = {top + name: name.encode() for name in names}
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as archive:
            for name, data in (files | {f"{top}dataset.json": text}).items():
                archive.writestr(name, data)
    else:
        write(path, *files)
        (path / top / "dataset.json").write_text(text)
    return path


@pytest.mark.parametrize("top", ["", "set/"])
@pytest.mark.parametrize("name", ["x", "x.zip"])
def test_labels_of_a_dataset_json_are_the_classes(tmp_path, name, top):
    labels = [[name, label] for name, label in zip(SHARDS, [7, 0, 2], strict=True)]
    path = write_dataset(tmp_path / name, {"labels": labels[::-1]}, top=top)
    reader = FileReader(path)
    assert reader.labels is not None and reader.labels.tolist() == [7, 0, 2]
    assert (reader.num_classes, reader.class_names) == (8, ())
    assert reader.remarks == ()


def test_labels_of_one_folder_of_shards_are_found_above_it(tmp_path):
    labels = [["00000/img0.png", 1], ["00000/img1.png", 0]]
    path = write_dataset(tmp_path / "x", {"labels": labels}, names=SHARDS[:2])
    assert [label for _, label in names_and_labels(FileReader(path))] == [1, 0]


@pytest.mark.parametrize("labels", [None, []])
def test_folders_beside_a_dataset_json_without_labels_are_no_classes(tmp_path, labels):
    reader = FileReader(write_dataset(tmp_path / "x.zip", {"labels": labels}))
    assert (reader.num_classes, reader.class_names, reader.remarks) == (0, (), ())


@pytest.mark.parametrize("spelling", ["./{}", ".//{}", "other/../{}"])
def test_paths_in_any_spelling_name_the_images(tmp_path, spelling):
    labels = [[spelling.format(name), k] for k, name in enumerate(SHARDS)]
    reader = FileReader(write_dataset(tmp_path / "x.zip", {"labels": labels}))
    assert [label for _, label in names_and_labels(reader)] == [0, 1, 2]
    assert reader.remarks == ()
    table = tmp_path / "labels.csv"
    table.write_text("".join(f"{name},{2 - label}\n" for name, label in labels))
    reader = FileReader(tmp_path / "x.zip", table)
    assert [label for _, label in names_and_labels(reader)] == [2, 1, 0]


def test_slashes_name_the_images_of_a_zip_file_of_windows(tmp_path):
    names = [name.replace("/", "\\") for name in SHARDS]
    labels = [[name, k] for k, name in enumerate(SHARDS)]
    path = write_dataset(tmp_path / "x.zip", {"labels": labels}, names=names)
    assert [label for _, label in names_and_labels(FileReader(path))] == [0, 1, 2]


def test_integers_written_as_floats_are_classes(tmp_path):
    labels = [list(row) for row in zip(SHARDS, [1.0, 0.0, 2], strict=True)]
    path = write_dataset(tmp_path / "x", {"labels": labels})
    assert [label for _, label in names_and_labels(FileReader(path))] == [1, 0, 2]
    table = tmp_path / "labels.csv"
    table.write_text("".join(f"{name},{label}\n" for name, label in labels))
    reader = FileReader(path, table)
    assert [label for _, label in names_and_labels(reader)] == [1, 0, 2]


@pytest.mark.parametrize(
    "label", ["0.5", "-1.0", "1e300", "NaN", "Infinity", "true", "100000.0"]
)
def test_other_numbers_are_no_classes(tmp_path, label):
    text = json.dumps({"labels": [[name, 1] for name in SHARDS]})
    text = text.replace(", 1]", f", {label}]", 1)
    reader = FileReader(write_dataset(tmp_path / "x", text))
    assert reader.num_classes == 0
    (remark,) = reader.remarks
    assert "has a label that is not a class number from 0 to 99,999" in remark
    table = tmp_path / "labels.csv"
    table.write_text("".join(f"{name},{label}\n" for name in SHARDS))
    with pytest.raises(UserError, match="line 1"):
        FileReader(tmp_path / "x", table)


def test_one_hot_vectors_are_classes_and_other_vectors_are_left_out(tmp_path):
    rows = [[0, 0, 1], [1.0, 0.0, 0.0], [0, 1, 0]]
    labels = [list(row) for row in zip(SHARDS, rows, strict=True)]
    reader = FileReader(write_dataset(tmp_path / "x", {"labels": labels}))
    assert reader.labels is not None and reader.labels.tolist() == [2, 0, 1]
    labels[1][1] = [0.5, 0.2, 0.3]
    reader = FileReader(write_dataset(tmp_path / "y", {"labels": labels}))
    assert reader.num_classes == 0
    (remark,) = reader.remarks
    assert "y/dataset.json has a label that is not a class number from 0 to" in remark
    assert "[0.5, 0.2, 0.3]; so the set has no classes" in remark


def test_a_label_that_is_text_is_shown_as_text(tmp_path):
    labels = [[name, "0"] for name in SHARDS]
    (remark,) = FileReader(write_dataset(tmp_path / "x", {"labels": labels})).remarks
    assert '99,999: "0"; so the set has no classes' in remark


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "it must have"),
        ("[" * 100_000, "it must have"),
        ("[1, 2]", "it must have"),
        ('{"labels": [["a.png", 1, 2]]}', "it must have"),
        ({"labels": [[name, 0] for name in SHARDS[:2]]}, "'00001/img2.png' is missing"),
        ({"labels": [[n, 0] for n in SHARDS * 2]}, "is listed more than once"),
    ],
)
def test_a_faulty_dataset_json_is_refused_in_a_line(tmp_path, content, words):
    path = write_dataset(tmp_path / "x", content)
    with pytest.raises(UserError, match=words) as caught:
        FileReader(path)
    assert str(caught.value).startswith(f"{path / 'dataset.json'}: ")
    assert "\n" not in str(caught.value)


def test_labels_of_files_that_are_not_there_are_remarked_on(tmp_path):
    labels = [[name, 1] for name in [*SHARDS, "00001/img3.png"]]
    reader = FileReader(write_dataset(tmp_path / "x", {"labels": labels}))
    assert reader.num_classes == 2
    (remark,) = reader.remarks
    assert "dataset.json has labels of 1 missing file" in remark


@pytest.mark.parametrize("name", ["./dataset.json", "set\\dataset.json"])
def test_a_dataset_json_is_found_in_any_spelling(tmp_path, name):
    names = [f"{name.removesuffix('dataset.json')}{shard}" for shard in SHARDS]
    path = pack(tmp_path / "x.zip", *names)
    with zipfile.ZipFile(path, "a") as archive:
        labels = [[shard, k] for k, shard in enumerate(SHARDS)]
        archive.writestr(name, json.dumps({"labels": labels}))
    reader = FileReader(path)
    assert [label for _, label in names_and_labels(reader)] == [0, 1, 2]


@pytest.mark.parametrize("kind", ["folder", "zip"])
def test_a_dataset_json_far_larger_than_its_images_need_is_not_read(tmp_path, kind):
    text = b'{"labels":[' + b"[]," * (2**24 // 3 + 2**10) + b"[]]}"
    path = pack(tmp_path / "x.zip", *SHARDS)
    if kind == "folder":
        path = write(tmp_path / "x", *SHARDS)
        (path / "dataset.json").write_bytes(text)
    else:
        with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("dataset.json", text)
    with (
        allocating_at_most(2**20),
        pytest.raises(UserError, match=r"it has more than 16 MiB.*remove it"),
    ):
        FileReader(path)


def test_a_table_goes_before_a_dataset_json(tmp_path):
    path = write_dataset(tmp_path / "x", {"labels": [[name, 1] for name in SHARDS]})
    table = tmp_path / "labels.csv"
    table.write_text("".join(f"{name},{k}\n" for k, name in enumerate(SHARDS)))
    reader = FileReader(path, table)
    assert [label for _, label in names_and_labels(reader)] == [0, 1, 2]


# Links.


def test_links_to_folders_and_images_are_followed(tmp_path):
    write(tmp_path / "elsewhere", "cats/1.png", "cats/2.png", "more/3.png", "dog.png")
    write(tmp_path / "x", "bird/1.png")
    (tmp_path / "x" / "cat").symlink_to(tmp_path / "elsewhere" / "cats")
    (tmp_path / "elsewhere" / "cats" / "more").symlink_to(
        tmp_path / "elsewhere" / "more"
    )
    (tmp_path / "x" / "dog").mkdir()
    (tmp_path / "x" / "dog" / "1.png").symlink_to("../../elsewhere/dog.png")
    reader = FileReader(tmp_path / "x")
    assert [reader.name_of(i) for i in range(len(reader))] == [
        *("bird/1.png", "cat/1.png", "cat/2.png", "cat/more/3.png", "dog/1.png"),
    ]
    assert classes_of(reader) == ["bird", "cat", "cat", "cat", "dog"]
    assert reader.remarks == ()
    assert reader[4].data == b"dog.png"


def test_circles_of_links_end_and_no_folder_is_listed_twice(tmp_path):
    write(tmp_path / "x", "a/1.png", "b/2.png", "b/c/3.png")
    (tmp_path / "x" / "a" / "all").symlink_to(tmp_path / "x")
    (tmp_path / "x" / "a" / "b").symlink_to("../b")
    (tmp_path / "x" / "b" / "a").symlink_to("../a")
    (tmp_path / "x" / "a" / "self").symlink_to(".")
    reader = FileReader(tmp_path / "x")
    assert names_and_labels(reader) == [
        ("a/1.png", 0),
        ("b/2.png", 1),
        ("b/c/3.png", 1),
    ]
    (remark,) = reader.remarks
    assert "not followed: 4 links to folders that are read anyway" in remark
    assert "such as a/all to ." in remark


def test_links_into_a_hidden_folder_are_followed_and_it_is_not_listed_itself(
    tmp_path, monkeypatch
):
    write(tmp_path, *(f"x/.store/{name}/1.png" for name in ("cat", "dog")))
    write(tmp_path / "x" / ".private", "1.png")
    for name in ("cat", "dog"):
        (tmp_path / "x" / name).symlink_to(f".store/{name}")
    deny_listing(monkeypatch, ".private")
    reader = FileReader(tmp_path / "x")
    assert names_and_labels(reader) == [("cat/1.png", 0), ("dog/1.png", 1)]
    assert reader.remarks == ()


def test_links_that_lead_nowhere_are_left_out_with_a_reason(tmp_path):
    write(tmp_path, "cat/1.png", "dog/1.png")
    (tmp_path / "bird").symlink_to(tmp_path / "nowhere")
    reader = FileReader(tmp_path)
    assert classes_of(reader) == ["cat", "dog"]
    assert reader.unread == (("bird", "No such file or directory"),)
    assert "are read, not 1 file: 1 without suffix" in reader.remarks[0]


def test_pipes_sockets_and_devices_are_left_out_with_a_reason_and_never_opened(
    tmp_path,
):
    write(tmp_path, "1.png")
    os.mkfifo(tmp_path / "pipe")
    os.mkfifo(tmp_path / "2.png")
    (tmp_path / "3.png").symlink_to("/dev/zero")
    reader = FileReader(tmp_path)
    why = "it is a pipe, a socket or a device"
    assert reader.unread == (("pipe", why),)
    assert "are read, not 1 file: 1 without suffix" in reader.remarks[0]
    assert reader[0].data == b"1.png"
    for index in (1, 2):
        with pytest.raises(BadImage, match=why):
            reader[index]


# Files that are no images, or images of other names.


def image(format):
    buffer = io.BytesIO()
    Image.new("RGB", (9, 8), "red").save(buffer, format)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", ["folder", "zip"])
def test_images_are_recognised_by_their_contents_and_the_rest_is_counted(
    tmp_path, kind
):
    files = {
        **{f"{s}.{s}": image("JPEG") for s in ("jfif", "jpe", "JPG", "jif", "bin")},
        **{f.lower(): image(f) for f in ("JPEG", "PNG", "WEBP", "BMP")},
        "bitmap.bmp": image("BMP"),
        "broken.png": b"",
        **{f"{k}.gif": image("GIF") for k in range(3)},
        **{f"{k}.TIF": image("TIFF") for k in range(2)},
        "1.avif": image("AVIF"),
        "numbers.npy": b"\x93NUMPY\0\1",
        "LICENSE": "Fran\xe7ois".encode("latin-1"),
        "notes.py": b"print()\n",
        "BMW": b"BMW is a text",
        "names.csv": b"\xff\xfea\0",
    }
    if kind == "folder":
        path = write(tmp_path / "x", *files)
        for name, data in files.items():
            (path / name).write_bytes(data)
    else:
        path = tmp_path / "x.zip"
        with zipfile.ZipFile(path, "w") as archive:
            for name, data in files.items():
                archive.writestr(name, data)
    reader = FileReader(path)
    read = {reader.name_of(index) for index in range(len(reader))}
    assert read == {
        *("jfif.jfif", "jpe.jpe", "JPG.JPG", "jif.jif", "bin.bin"),
        *("jpeg", "png", "webp", "bmp", "bitmap.bmp", "broken.png"),
    }
    for index in range(len(reader)):
        if reader.name_of(index) != "broken.png":
            assert decode(reader[index].data, 3).shape == (8, 9, 3)
    assert dict(reader.unread) == dict.fromkeys(
        ["0.gif", "1.gif", "2.gif", "0.TIF", "1.TIF", "1.avif", "numbers.npy"],
        "it is none of PNG, JPEG, WebP and BMP",
    )
    assert reader.remarks == (
        f"{path}: only PNG, JPEG, WebP and BMP are read, not 11 files: 3 .gif, "
        "2 without suffix, 2 .tif, 1 .csv, 1 .py, 1 .avif, 1 .npy",
    )


def test_links_in_a_zip_file_are_left_out_with_a_reason(tmp_path):
    path = pack(tmp_path / "x.zip", "cat/1.png", "dog/1.png")
    link = zipfile.ZipInfo("bird")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(link, "cat")
    reader = FileReader(path)
    assert classes_of(reader) == ["cat", "dog"]
    assert reader.unread == (("bird", "it is a link, and zip files are not unpacked"),)


# Names.


def test_a_table_knows_names_in_either_spelling_and_of_any_bytes(tmp_path):
    composed, apart = "caf\u00e9.png", "cafe\u0301.png"
    other = os.fsdecode(b"\xe9.png")
    names = [apart, other, 'a,b"c.png', "two\nlines.png"]
    write(tmp_path / "x", *names)
    with (tmp_path / "l.csv").open("w", newline="", errors="surrogateescape") as file:
        csv.writer(file).writerows(zip([composed, *names[1:]], range(4), strict=True))
    reader = FileReader(tmp_path / "x", tmp_path / "l.csv")
    assert dict(names_and_labels(reader)) == {name: k for k, name in enumerate(names)}


def test_a_set_has_its_name_in_the_spelling_that_people_type(tmp_path):
    reader = FileReader(write(tmp_path / "cafe\u0301", "1.png"))
    assert reader.name == "caf\u00e9"


@pytest.mark.parametrize("written", ["caf\u00e9".encode(), "caf\u00e9".encode("cp437")])
def test_names_in_a_zip_file_without_a_mark_are_utf_8_or_those_of_dos(
    tmp_path, written
):
    placeholder = b"caf" + b"_" * (len(written) - 3)
    path = pack(tmp_path / "x.zip", "dog/2.png")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(f"{placeholder.decode()}/1.png", b"content")
    path.write_bytes(path.read_bytes().replace(placeholder, written))
    reader = FileReader(path)
    assert reader.class_names == ("caf\u00e9", "dog")
    assert (reader[0].label, reader[0].data) == (0, b"content")
    assert reader[0].name == "caf\u00e9/1.png"


def test_a_zip_file_with_names_that_cannot_be_decoded_is_refused(tmp_path):
    path = pack(tmp_path / "x.zip", "\u00e91.png", "2.png")
    path.write_bytes(path.read_bytes().replace("\u00e9".encode(), b"\xe9\xe9"))
    with pytest.raises(UserError, match=r"x\.zip cannot be read \('utf-8' codec"):
        FileReader(path)


# Bounds.


def test_enormous_files_are_left_out_without_being_read(tmp_path):
    """Also not those that a link leads to and that never end."""
    folder, archive = write(tmp_path / "set", "small.png"), tmp_path / "set.zip"
    (folder / "huge.png").touch()
    os.truncate(folder / "huge.png", 2**28 + 1)
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as opened:
        opened.write(folder / "huge.png", "huge.png")
        opened.write(folder / "small.png", "small.png")
    (folder / "endless.png").symlink_to("/dev/zero")
    os.mkfifo(folder / "pipe")
    (folder / "linked.png").symlink_to("pipe")
    lines, grown = run_alone(
        "from progan_jax.data.decoding import BadImage\n"
        "from progan_jax.prepare.file_reader import FileReader\n",
        "for path in paths:\n"
        "    reader = FileReader(path)\n"
        "    for index in range(len(reader)):\n"
        "        try:\n"
        "            print(len(reader[index].data))\n"
        "        except BadImage as error:\n"
        "            print(error)\n",
        archive,
        folder,
    )
    why = "it is a pipe, a socket or a device"
    assert lines == [
        *("it has more than 256 MiB", "9"),
        *(why, "it has more than 256 MiB", why, "9"),
    ]
    assert grown < 2**24


def test_a_member_of_a_zip_that_hides_its_size_is_not_unpacked(tmp_path):
    archive = tmp_path / "set.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as opened:
        opened.writestr("a.png", bytes(2**26))
    data = archive.read_bytes()
    size = struct.pack("<I", 2**26)
    assert data.count(size) == 2  # In the member's header, and in the directory.
    archive.write_bytes(data.replace(size, struct.pack("<I", 5)))
    reader = FileReader(archive)
    with allocating_at_most(2**20), pytest.raises(BadImage, match="Bad CRC-32"):
        reader[0]


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_members_whose_unpacking_cannot_be_bounded_are_left_out(tmp_path, method):
    archive = tmp_path / "set.zip"
    with zipfile.ZipFile(archive, "w", method) as opened:
        opened.writestr("a.png", b"a")
    with pytest.raises(BadImage, match="another method than deflate"):
        FileReader(archive)[0]


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_damaged_zip_is_one_line_or_images_left_out(tmp_path, method):
    archive = tmp_path / "set.zip"
    with zipfile.ZipFile(archive, "w", method) as opened:
        for name in ("a/\u00e9.png", "b/2.png"):
            opened.writestr(name, 20 * name)
    whole, rng = archive.read_bytes(), random.Random(0)
    for _ in range(200):
        damaged = bytearray(whole)
        damaged[rng.randrange(len(whole))] = rng.randrange(256)
        archive.write_bytes(damaged)
        with suppress(UserError):
            reader = FileReader(archive)
            assert len(list(reader.listing())) == len(reader)
            for index in range(len(reader)):
                with suppress(BadImage):
                    assert reader[index].data
