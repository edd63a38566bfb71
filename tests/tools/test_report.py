"""The tool, on a run that was recorded by hand."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def run(tmp_path, tiny_config):
    folder = tmp_path / "run"
    (folder / "grids").mkdir(parents=True)
    record = {"starts": [], "config": tiny_config.to_dict()}
    (folder / "config.json").write_text(json.dumps(record))
    row = {
        "Progress/kimg": 0.032,
        "Progress/nimg": 32,
        "Progress/resolution": 4,
        "Progress/alpha": 1.0,
        "Timing/sec_per_tick": 1.0,
        "Timing/img_per_sec": 32.0,
        "Timing/total_sec": 1.0,
        "Timing/total_hours": 1 / 3600,
    }
    (folder / "stats.jsonl").write_text(json.dumps(row) + "\n")
    return folder


def report(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "progan_jax.tools.report", *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=120,
        env=os.environ | {"JAX_PLATFORMS": "cpu"},
    )


def test_the_page_is_written_and_what_is_broken_is_told(run):
    (run / "grids" / "fakes_000000_r004.png").write_bytes(b"no picture")
    done = report(run)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{run / 'report.html'}: 0.0 MiB, 0 of 1 grids")
    assert done.stderr == (
        "warning: left out, as they cannot be read: fakes_000000_r004.png in "
        f"{run / 'grids'}\n"
    )
    text = (run / "report.html").read_text()
    assert "Left out as unreadable: fakes_000000_r004.png." in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["twice"], "one RUN is needed, and 2 are given; see --help"),
        (["--out=/proc/x/report.html"], "--out=/proc/x/report.html: it cannot be"),
        (["--out=/proc"], "--out=/proc: it cannot be written"),
    ],
)
def test_mistakes_end_in_one_line_and_code_2(run, arguments, message):
    assert_refused(report(run, *arguments), message)


def test_a_folder_that_is_no_runs_is_named(tmp_path):
    message = f"RUN={tmp_path}: it is no folder of a run"
    assert_refused(report(tmp_path), message)


GROUPS = ("data", "loss", "model", "optim", "runtime", "schedule", "train", "eval")


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("stats.jsonl", "{}", "its stats.jsonl has no tick yet; let the run"),
        ("config.json", '{"config": {}}', "config.json cannot be read"),
        (
            "config.json",
            json.dumps({"config": {group: {} for group in GROUPS}}),
            "it has no config.data.mirror",
        ),
    ],
)
def test_folders_that_tell_too_little_end_in_one_line(run, file, content, message):
    (run / file).write_text(content)
    assert_refused(report(run), message)


def assert_refused(done, message):
    assert done.returncode == 2, done.stdout
    assert done.stderr.startswith("error: ")
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
