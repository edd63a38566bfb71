"""Figures of runs whose records are written by hand."""

import json
import subprocess
import sys

import pytest


@pytest.fixture
def run(tmp_path, tiny_config):
    """A run's folder with one snapshot's figures."""
    folder = tmp_path / "run"
    folder.mkdir()
    record = {
        "snapshot": "000001_r016",
        "nimg": 1000,
        "metric": "swd",
        "settings": {},
        "values": {"swd_16": 5.0, "swd_average": 5.0},
    }
    (folder / "metrics.jsonl").write_text(json.dumps(record) + "\n")
    tick = {"Progress/nimg": 1000, "Progress/kimg": 1.0, "Timing/total_hours": 0.1}
    (folder / "stats.jsonl").write_text(json.dumps(tick) + "\n")
    tiny_config.data.name = "digits"
    record = {"config": tiny_config.to_dict()}
    (folder / "config.json").write_text(json.dumps(record))
    return folder


def draw(tmp_path, runs, *flags):
    runs = [f"--runs={','.join(map(str, runs))}"] if runs else []
    command = [sys.executable, "-m", "progan_jax.tools.figures", *runs, *flags]
    return subprocess.run(
        [*command, f"--out={tmp_path / 'out'}"], capture_output=True, text=True
    )


def test_what_there_is_is_drawn_and_named(run, tmp_path):
    done = draw(tmp_path, [run, run], "--labels=a,b")
    written = {path.name for path in (tmp_path / "out").iterdir()}
    assert written == {"figures.png", "levels.png", "throughput.png"}
    assert {path.rsplit("/", 1)[1] for path in done.stdout.split()} == written


@pytest.mark.parametrize(
    ("runs", "flags", "message"),
    [
        ([], [], "--runs is missing: write --runs=DIR,DIR --out=DIR"),
        (["run"], ["--labels=a,b"], "--labels=a,b must name each of the 1 folder(s)"),
        (["run"], ["--figures=fid"], "no run has 'fid'; choose from swd_16, swd_aver"),
        (["none"], [], "it is no folder of a run"),
    ],
)
def test_mistakes_are_one_line(run, tmp_path, runs, flags, message):
    done = draw(tmp_path, [tmp_path / name for name in runs], *flags)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ")
    assert message in line
