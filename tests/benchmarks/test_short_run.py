"""Ten minutes of training, unattended, in two on a CPU."""

import io
import json
import os
import re
import signal
import subprocess
import sys
import tarfile
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
from absl import flags
from PIL import Image

from progan_jax.errors import UserError
from tests.in_process import tool

ROOT = Path(__file__).parents[2]
NARROW = (
    *("--config.model.fmap_max=4", "--config.model.latent_size=4"),
    *("--config.train.grid=4x2", "--config.eval.num_images=16"),
    *("--config.runtime.num_devices=1", "--config.model.resolution=16"),
)


@pytest.fixture
def data(tmp_path):
    """A zip file of two classes of sixteen images of noise."""
    path = tmp_path / "noise.zip"
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 32, 3), np.uint8)
    with zipfile.ZipFile(path, "w") as archive:
        for number, image in enumerate(pixels):
            buffer = io.BytesIO()
            Image.fromarray(image).save(buffer, "WEBP", lossless=True)
            archive.writestr(f"{'ab'[number % 2]}/{number:02d}.webp", buffer.getvalue())
    return path


@pytest.fixture
def names():
    with tool("benchmarks.short_run") as names:
        yield names


@pytest.mark.parametrize(
    ("recipe", "given", "reason"),
    [
        ("cifar10", {"data": None}, "--data is missing"),
        ("cifar10", {"out": None}, "--out is missing"),
        ("cifar10", {"data": "/x.zip"}, "--data=/x.zip: there is no such file; python"),
        ("cifar10", {"out": "/proc/x"}, "--out=/proc/x: "),
        ("cifar10", {"out": str(ROOT)}, "it is not empty; choose a new folder"),
        ("cifar", {}, "RECIPE = 'cifar' must be one of cifar10, stylegan_xl"),
        ("cifar10", {"from": "/x"}, "--from=/x: its run.tar.0, run.tar.1, ... cannot"),
    ],
)
def test_impossible_flags_are_one_line_each(
    names, data, tmp_path, monkeypatch, recipe, given, reason
):
    usual = {"data": str(data), "out": str(tmp_path / "out")}
    for name, value in (usual | given).items():
        monkeypatch.setattr(flags.FLAGS[name], "value", value)
    monkeypatch.setattr("signal.signal", lambda *_: None)
    with pytest.raises(UserError, match=re.escape(reason)):
        names["main"](recipe, [])


@pytest.mark.parametrize(
    "text", [None, "{", "[]", "{}", '{"pace": {"4": [1, 2]}}', '{"pace": {"8": 1}}']
)
def test_a_record_without_the_pace_of_every_stage_is_one_line(names, tmp_path, text):
    if text is not None:
        (tmp_path / "short_run.json").write_text(text)
    with pytest.raises(UserError, match=r"short_run\.json has no pace of every stage"):
        names["read_pace"](tmp_path, [4, 8])


def test_the_pace_of_the_record_is_that_of_each_stage(names, tmp_path):
    text = '{"pace": {"4": [0.5, 2], "8": [1.5, 3]}}'
    (tmp_path / "short_run.json").write_text(text)
    pace = names["read_pace"](tmp_path, [4, 8])
    assert {r: of.image_sec for r, of in pace.items()} == {4: 0.5, 8: 1.5}


def start(data, out, *arguments):
    where = f"--data={data}", f"--out={out}"
    return subprocess.Popen(
        [
            *(sys.executable, "-m", "benchmarks.short_run", "cifar10"),
            *(*where, *arguments, "--", *NARROW),
        ],
        cwd=ROOT,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def rows(out):
    """The kimg of each row of the run that was left."""
    data = b"".join(path.read_bytes() for path in sorted(out.glob("run.tar.*")))
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        text = tar.extractfile("stats.jsonl").read().decode()
    return [json.loads(line)["Progress/kimg"] for line in text.splitlines()]


@pytest.mark.slow
def test_a_run_that_is_ended_early_goes_on_from_what_it_left(data, tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    process = start(data, first, "--minutes=10")
    lines = []
    for line in process.stdout:
        lines.append(line)
        if line.startswith("tick 2 "):
            process.send_signal(signal.SIGTERM)
            break
    text, _ = process.communicate(timeout=60)
    assert process.returncode == 143, "".join([*lines, text])
    before = rows(first)
    assert before
    started = time.monotonic()
    process = start(data, second, f"--from={first}", "--minutes=4")
    text, _ = process.communicate(timeout=300)
    assert process.returncode == 0, text
    assert time.monotonic() - started < 240
    after = rows(second)
    assert after[: len(before)] == before
    assert after == sorted(set(after)) and len(after) > len(before)
    files = {path.name: path.stat().st_size for path in second.iterdir()}
    expected = ["fakes.png", "figures.png", "report.html", "run.tar.0"]
    assert sorted(files) == [*expected, "short_run.json", "snapshots.tar"]
    assert sum(files.values()) < 2**26
    record = json.loads((second / "short_run.json").read_text())
    assert record["reached_kimg"] >= after[-1]
    assert record["pace"] == json.loads((first / "short_run.json").read_text())["pace"]


@pytest.mark.slow
def test_a_file_without_images_ends_the_command_before_training(tmp_path):
    empty = tmp_path / "empty.zip"
    zipfile.ZipFile(empty, "w").close()
    process = start(empty, tmp_path / "out", "--minutes=2")
    text, _ = process.communicate(timeout=60)
    assert process.returncode == 2
    assert f"error: --data={empty}: it cannot be prepared; name another file" in text
    assert not list((tmp_path / "out").iterdir())
