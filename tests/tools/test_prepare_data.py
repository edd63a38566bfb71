"""The tool, as its user types it."""

import csv
import dataclasses
import hashlib
import io
import json
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import lmdb
import numpy as np
import pytest
from PIL import Image

from progan_jax.data.sources import load, load_digits
from progan_jax.prepare.inspection import open_stored
from progan_jax.prepare.readers import DigitsReader, Subset, SyntheticReader
from progan_jax.prepare.writing import Settings, finish, write_pyramid
from tests.in_process import run_tool

ROOT = Path(__file__).parents[2]


def prepare(source, out, *arguments, **options):
    arguments = (source, f"--out={out}", "--workers=1", *arguments)
    return run_tool("progan_jax.tools.prepare_data", *arguments, **options)


def webp(index):
    rng = np.random.default_rng(index)
    h, w = rng.integers(20, 40, 2)
    image = Image.fromarray(rng.integers(0, 256, (h, w, 3), np.uint8))
    buffer = io.BytesIO()
    image.save(buffer, format="webp", quality=80)
    return buffer.getvalue()


def levels(out, name):
    return load(name, str(out), "train", 16, 100).levels


def test_an_lmdb_a_folder_and_a_zip_of_the_same_images_are_the_same(tmp_path):
    # As LSUN's own: the key is the digest of the picture.
    images = {hashlib.sha1(webp(i)).hexdigest(): webp(i) for i in range(6)}
    (tmp_path / "folder").mkdir()
    with (
        lmdb.open(str(tmp_path / "tower_lmdb"), map_size=2**24) as environment,
        environment.begin(write=True) as transaction,
        zipfile.ZipFile(tmp_path / "archive.zip", "w") as archive,
    ):
        for key, data in images.items():
            transaction.put(key.encode(), data)
            (tmp_path / "folder" / f"{key}.webp").write_bytes(data)
            archive.writestr(f"{key}.webp", data)
    # As LSUN is downloaded.
    with zipfile.ZipFile(tmp_path / "bridge_train_lmdb.zip", "w") as archive:
        for name in ("data.mdb", "lock.mdb"):
            archive.write(tmp_path / "tower_lmdb" / name, f"bridge_train_lmdb/{name}")
    out = tmp_path / "out"
    sources = ("lmdb:tower_lmdb", "lmdb:bridge_train_lmdb.zip")
    for source in (*sources, "folder:folder", "zip:archive.zip"):
        kind, name = source.split(":")
        done = prepare(f"{kind}:{tmp_path / name}", out, "--resolution=16")
        assert done.returncode == 0, done.stderr
        assert "6 images, 0 classes" in done.stdout
        assert done.stderr == ""
    assert not list(out.rglob("data.mdb"))
    for name in ("bridge", "folder", "archive"):
        for side, level in levels(out, "tower").items():
            assert np.array_equal(level[:], levels(out, name)[side][:])


def test_digits_are_prepared_as_training_makes_them(tmp_path):
    command = [sys.executable, "-m", "progan_jax.tools.prepare_data", "digits"]
    command += [f"--out={tmp_path}", "--resolution=16", "--channels=1", "--workers=1"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert "1,797 images, 10 classes" in done.stdout, done.stderr
    files = [*(tmp_path / "digits").rglob("*.array_record*")]
    size = f"{sum(file.stat().st_size for file in files) / 2**20:,.1f} MiB in "
    assert size in done.stdout
    prepared, made = load("digits", str(tmp_path), "train", 16, 100), load_digits(16)
    for side, level in made.levels.items():
        assert np.array_equal(prepared.levels[side][:], level)
    with Image.open(tmp_path / "digits" / "contact_sheet.png") as sheet:
        assert sheet.size == (16 * 16, 8 * 16)


def test_a_dry_run_prints_its_plan_and_writes_nothing(tmp_path):
    done = prepare("synthetic:5000", tmp_path, "--resolution=32", "--dry_run")
    assert done.returncode == 0, done.stderr
    # 5,000 images of 32, 16, 8 and 4 pixels of three bytes: 19.5 MiB.
    size = re.search(r"5,000 images, about ([\d.]+) MiB", done.stdout)
    assert float(size[1]) == pytest.approx(19.5, abs=1)
    assert not any(tmp_path.iterdir())


def test_bad_images_are_listed_with_their_reasons(tmp_path):
    folder = tmp_path / "mixed"
    folder.mkdir()
    (folder / "good.webp").write_bytes(webp(0))
    (folder / "empty.png").write_bytes(b"")
    (folder / "text.png").write_text("no picture")
    done = prepare(f"folder:{folder}", tmp_path / "out", "--resolution=16")
    assert "1 images, 0 classes" in done.stdout, done.stderr
    assert "2 skipped (see " in done.stdout
    assert (tmp_path / "out" / "mixed" / "skipped.csv").read_text() == (
        "image,reason\n"
        "empty.png,the file is empty\n"
        "text.png,cannot identify image file\n"
    )


def test_names_of_any_bytes_are_written_and_printed_by_any_terminal(
    tmp_path,
):
    folder = tmp_path / "mixed"
    classes = [os.fsdecode(b"caf\xe9"), "two\nlines", "na\u00efve"]
    for name in classes:
        (folder / name).mkdir(parents=True)
        (folder / name / "1.webp").write_bytes(webp(0))
    (folder / classes[0] / os.fsdecode(b"\xff.png")).write_bytes(b"broken")
    (folder / classes[1] / 'gone\n,".gif').symlink_to(tmp_path / "nowhere")
    out = tmp_path / "\u00e4"
    done = prepare(f"folder:{folder}", out, "--resolution=8", encoding="ascii")
    assert done.returncode == 0, done.stderr
    assert r"3 classes (caf\udce9, na\xefve, two\nlines)" in done.stdout
    assert "2 skipped" in done.stdout
    assert done.stderr == (
        f"warning: {folder}: only PNG, JPEG, WebP and BMP are read, not 1 file: "
        "1 .gif\n"
    )
    with (out / "mixed" / "skipped.csv").open(newline="", encoding="utf-8") as file:
        assert list(csv.reader(file)) == [
            ["image", "reason"],
            [r'two\nlines/gone\n,".gif', "No such file or directory"],
            [r"caf\udce9/\udcff.png", "cannot identify image file"],
        ]
    names = ("caf\\udce9", "na\u00efve", "two\\nlines")
    assert load("mixed", str(out), "train", 8, 100).class_names == names


def test_strictness_refuses_files_that_are_neither_images_nor_text(tmp_path):
    folder = tmp_path / "x"
    folder.mkdir()
    (folder / "1.webp").write_bytes(webp(0))
    (folder / "README.md").write_text("text")
    arguments = (f"folder:{folder}", tmp_path / "out", "--resolution=8", "--strict")
    assert prepare(*arguments, "--name=text").returncode == 0
    (folder / "1.gif").write_bytes(b"GIF89a\0")
    (folder / "2.gif").write_bytes(b"GIF89a\0")
    done = prepare(*arguments)
    assert (done.returncode, done.stderr) == (
        2,
        f"error: --strict: folder:{folder} has 2 files that are neither images nor "
        "text, such as 1.gif (it is none of PNG, JPEG, WebP and BMP); remove or "
        "convert them, or omit --strict\n",
    )
    assert not (tmp_path / "out" / "x").exists()


class Gaps(SyntheticReader):
    """Noise of two classes, and an image without one."""

    num_classes, class_names = 2, ("ant", "bee")

    def __getitem__(self, index):
        return dataclasses.replace(super().__getitem__(index), label=index - 1)


def test_a_set_with_images_without_a_class_has_none(tmp_path):
    reader, settings, folder = Gaps(3, 8), Settings(8), tmp_path / "gaps"
    shards = write_pyramid(reader, folder, settings, {}, 1, lambda num_images: None)
    finish(folder, reader, settings, {}, shards)
    out = tmp_path / "out"
    done = prepare("tfds:gaps/r008", out, "--resolution=8", f"--data_dir={tmp_path}")
    assert done.stderr == ("warning: no class for 1 image: the set has no classes\n")
    assert "3 images, 0 classes, " in done.stdout
    pyramid = load("gaps_r008", str(out), "train", 8, 100)
    assert (pyramid.labels, pyramid.num_classes, pyramid.class_names) == (None, 0, ())
    assert open_stored(out / "gaps_r008").num_classes == 0


def test_classes_of_a_tfds_set_keep_their_names(tmp_path):
    reader, settings = Subset(DigitsReader(8), range(40)), Settings(8)
    reader.class_names = tuple(f"digit {k}" for k in range(10))
    folder = tmp_path / "digits"
    shards = write_pyramid(reader, folder, settings, {}, 1, lambda num_images: None)
    finish(folder, reader, settings, {}, shards)
    arguments = (f"--data_dir={tmp_path}", "--resolution=8", "--max_images=9")
    done = prepare("tfds:digits/r008", tmp_path / "out", *arguments)
    assert done.stderr == (
        "warning: no images in 1 of 10 classes: digit 9; raise --max_images\n"
    )
    pyramid = load("digits_r008", str(tmp_path / "out"), "train", 8, 100)
    assert pyramid.class_names == reader.class_names


def test_fewer_images_are_taken_from_all_classes_in_turn(tmp_path):
    for name, count in {"ant": 5, "bee": 1, "cat": 5}.items():
        (tmp_path / "x" / name).mkdir(parents=True)
        for index in range(count):
            (tmp_path / "x" / name / f"{index}.webp").write_bytes(webp(index))
    source, out = f"folder:{tmp_path / 'x'}", tmp_path / "out"
    done = prepare(source, out, "--resolution=8", "--max_images=6", "--name=six")
    assert (done.returncode, done.stderr) == (0, "")
    assert load("six", str(out), "train", 8, 100).label_counts == (3, 1, 2)
    done = prepare(source, out, "--resolution=8", "--max_images=2", "--name=two")
    assert done.stderr == (
        "warning: no images in 1 of 3 classes: cat; raise --max_images\n"
    )
    assert load("two", str(out), "train", 8, 100).label_counts == (1, 1, 0)


def test_folders_that_array_record_cannot_open_are_refused():
    done = prepare("digits", os.fsdecode(b"/tmp/caf\xe9"), "--resolution=8")
    assert done.returncode == 2
    assert done.stderr.startswith(r"error: --out = '/tmp/caf\udce9' is not UTF-8")


@pytest.mark.parametrize(
    ("source", "arguments", "message"),
    [
        ("digits", [], "--resolution is missing"),
        ("digits", ["--resolution=48"], "--resolution=48 must be a power of two"),
        ("digits", ["--resolution=8", "--channels=2"], "--channels=2 must be 1 or 3"),
        ("digits", ["--resolution=8", "--workers=0"], "--workers=0 must be at least 1"),
        ("digits", ["--resolution=8", "--name=a/b"], "--name=a/b must consist of"),
        (
            "digits",
            ["--resolution=8", "--crop=x"],
            "flag --crop=x: value should be one",
        ),
        ("pictures", ["--resolution=8"], "'pictures' is not a source; write folder:"),
        ("synthetic:0", ["--resolution=8"], "'synthetic:0' is not a source"),
        ("folder:/no", ["--resolution=8"], "folder:/no: there is no /no; name another"),
        (
            "folder:gs://b/x",
            ["--resolution=8"],
            "SOURCE=gs://b/x: only mounted",
        ),
        ("lmdb:/tmp", ["--resolution=8"], "lmdb:/tmp: data.mdb cannot be read"),
        (
            f"lmdb:{__file__}",
            ["--resolution=8"],
            f"lmdb:{__file__}: not an LMDB data file",
        ),
        ("digits", ["--resolution=64", "--keep=5"], "--keep is for celeba_hq: sources"),
        (
            "celeba_hq:/tmp",
            ["--resolution=32", "--keep=5"],
            "--keep: --resolution=32 is too small to score images; raise it to",
        ),
        ("lmdb:/", ["--resolution=8", "--labels=x"], "--labels is for folder: and zip"),
        (
            "tfds:cifar11",
            ["--resolution=32", "--data_dir=/usr"],
            "tfds:cifar11: there is no such set in --data_dir = '/usr', and TFDS has",
        ),
        (
            "tfds:cifar10",
            ["--resolution=32", "--dry_run", "--data_dir=/usr"],
            "--dry_run: tfds:cifar10 is not in /usr yet, and its images cannot be co",
        ),
    ],
)
def test_mistakes_end_in_one_line_and_code_2(tmp_path, source, arguments, message):
    done = prepare(source, tmp_path / "out", *arguments)
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {message}"), done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_source_of_bad_images_alone_is_no_set(tmp_path):
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "text.png").write_text("no picture")
    done = prepare(f"folder:{tmp_path / 'bad'}", tmp_path / "out", "--resolution=8")
    assert done.returncode == 2
    skipped = tmp_path / "out" / "bad" / "skipped.csv"
    assert done.stderr == (
        f"error: folder:{tmp_path / 'bad'}: none of the images can be used; see "
        f"{skipped}\n"
    )
    assert "text.png,cannot identify image file" in skipped.read_text()
    assert not (tmp_path / "out" / "bad" / "pyramid.json").exists()


def test_a_finished_pyramid_is_not_made_again(tmp_path):
    arguments = ("synthetic:3", tmp_path, "--resolution=8")
    assert prepare(*arguments).returncode == 0
    done = prepare(*arguments)
    assert done.returncode == 2
    assert "has a finished pyramid; train with it, or remove it" in done.stderr


def make_celeba(folder):
    """Two photographs with landmarks, one without, and one that is broken."""
    (folder / "photos").mkdir(parents=True)
    for index in range(3):
        (folder / "photos" / f"00000{index}.webp").write_bytes(webp(index))
    (folder / "photos" / "000003.webp").write_bytes(b"broken")
    parts = ("lefteye", "righteye", "nose", "leftmouth", "rightmouth")
    columns = " ".join(f"{part}_{axis}" for part in parts for axis in "xy")
    face = "8 8 14 8 11 11 9 14 13 14"
    rows = [f"00000{index}.webp {face}" for index in (0, 1, 3)]
    (folder / "landmarks.txt").write_text("\n".join(["3", columns, *rows]) + "\n")
    return f"celeba_hq:{folder / 'photos'}", f"--landmarks={folder / 'landmarks.txt'}"


def test_celebas_photographs_become_aligned_faces(tmp_path):
    source, landmarks = make_celeba(tmp_path / "celeba")
    done = prepare(source, tmp_path / "out", "--resolution=16", landmarks)
    assert "2 images, 0 classes" in done.stdout, done.stderr
    assert "2 skipped" in done.stdout
    skipped = (tmp_path / "out" / "celeba_hq" / "skipped.csv").read_text()
    assert "it has no landmarks" in skipped
    assert load("celeba_hq", str(tmp_path / "out"), "train", 16, 100).num_images == 2


def test_the_steps_of_one_photograph_are_drawn(tmp_path):
    source, landmarks = make_celeba(tmp_path / "celeba")
    arguments = ("--resolution=16", landmarks, "--explain_image=000001")
    done = prepare(source, tmp_path / "out", *arguments)
    assert done.stdout.strip() == str(tmp_path / "out" / "000001_steps.png"), (
        done.stderr
    )
    with Image.open(done.stdout.strip()) as picture:
        assert picture.width > 2 * picture.height
    done = prepare(source, tmp_path / "out", *arguments[:2], "--explain_image=7")
    assert "error: --explain_image=7: there is no such photograph" in done.stderr


def test_photographs_need_their_landmarks(tmp_path):
    source, _ = make_celeba(tmp_path / "celeba")
    done = prepare(source, tmp_path / "out", "--resolution=16")
    assert "error: --landmarks is missing: name CelebA's list_landmarks" in done.stderr


def test_the_best_faces_are_kept(tmp_path):
    source, landmarks = make_celeba(tmp_path / "celeba")
    arguments = (source, tmp_path / "out", "--resolution=64", landmarks)
    done = prepare(*arguments, "--keep=3")
    assert done.stderr == (
        "error: --keep=3: only 2 of 4 photographs can be used; lower it\n"
    )
    (scores,) = (tmp_path / "out" / "celeba_hq" / ".partial" / "scores").iterdir()
    scores.write_text(scores.read_text().replace("000001.webp", "scored before.webp"))
    done = prepare(*arguments, "--keep=1")
    assert "1 images, 0 classes" in done.stdout, done.stderr
    assert "2 skipped" in done.stdout
    out = tmp_path / "out" / "celeba_hq"
    rows = [row.split(",") for row in (out / "scores.csv").read_text().splitlines()[1:]]
    assert [row[0] for row in rows] == ["000000.webp", "scored before.webp"]
    (kept,) = (row for row in rows if row[2] == "1")
    assert float(kept[1]) == max(float(row[1]) for row in rows)
    assert (out / "skipped.csv").read_text() == (
        "image,reason\n"
        "000002.webp,it has no landmarks\n"
        "000003.webp,cannot identify image file\n"
    )
    record = json.loads((out / "pyramid.json").read_text())
    assert (record["num_images"], record["num_skipped"]) == (1, 2)
    assert record["identity"]["keep"] == 1
