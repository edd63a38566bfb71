"""The tool, as its user types it."""

import shutil
from pathlib import Path

import pytest
from PIL import Image

from progan_jax.prepare.readers import DigitsReader
from progan_jax.prepare.writing import Settings, finish, write_pyramid
from tests.in_process import run_tool


def run(*arguments):
    return run_tool("progan_jax.tools.inspect_data", *arguments, argument="DIR")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("prepared") / "digits"
    reader, settings = DigitsReader(8), Settings(8, channels=1)
    shards = write_pyramid(reader, folder, settings, {}, 1, lambda num_images: None)
    finish(folder, reader, settings, {}, shards)
    return folder


@pytest.fixture
def digits(prepared, tmp_path):
    return shutil.copytree(prepared, tmp_path / "digits")


def test_a_set_is_described_and_drawn(digits):
    done = run(digits)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    files = [*digits.rglob("*.array_record*")]
    size = f"{sum(file.stat().st_size for file in files) / 2**20:,.1f} MiB"
    shown = f"{digits}: 1,797 images, 1 channel, 10 classes, {size}; 1,797 read"
    assert lines[0] == shown
    assert [line.split()[:2] for line in lines[2:4]] == [["8", "1,797"], ["4", "1,797"]]
    assert "images of each class: 0=178, 1=182" in done.stdout
    sheets = lines[-1].removeprefix("look at the contact sheets in ")
    assert Path(sheets).is_dir()
    for side in ("r008", "r004"):
        with Image.open(digits.parent / "digits_inspection" / f"{side}.png") as sheet:
            assert sheet.size == (2048, 1024)


def test_a_fault_is_reported_with_code_1(digits, tmp_path):
    shutil.rmtree(digits / "r004")
    done = run(digits, "--max_images=9", f"--out={tmp_path / 'sheets'}")
    assert done.returncode == 1, done.stderr
    assert "; 9 read" in done.stdout
    assert done.stdout.endswith("fault: level 4 is missing\n")
    assert [path.name for path in (tmp_path / "sheets").iterdir()] == ["r008.png"]


def test_two_sets_are_compared(digits, tmp_path):
    copy = shutil.copytree(digits, tmp_path / "copy")
    done = run(digits, f"--compare={copy}")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        f"{digits} and {copy}: 1,797 images compared",
        "level 8: equal",
        "level 4: equal",
        "labels: equal",
        "the sets are equal",
    ]
    shutil.rmtree(copy / "r004")
    done = run(digits, f"--compare={copy}")
    assert done.returncode == 1, done.stderr
    assert "level 4 is [4, 4, 1], and missing in the other set\n" in done.stdout
    assert done.stdout.endswith("the sets differ\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["/no"], "/no: it has neither a prepared set"),
        (["gs://b/x"], "DIR=gs://b/x: only mounted folders can be used"),
        (["/no", "--max_images=0"], "--max_images=0 must be at least 1; raise it"),
        ([], "one DIR is needed, and 0 are given; see --help"),
    ],
)
def test_mistakes_end_in_one_line_and_code_2(arguments, message):
    done = run(*arguments)
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {message}"), done.stderr
    assert done.stderr.count("\n") == 1
