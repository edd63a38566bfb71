"""Plots of runs whose records are written by hand."""

import json
import re
import shutil

import pytest
from absl.testing import flagsaver

from progan_jax.errors import UserError
from progan_jax.experiments import curves


@pytest.fixture
def run(tmp_path, tiny_config):
    """A run's folder with one snapshot's values."""
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


@pytest.fixture
def draw(tmp_path, import_tool):
    """Returns a function that draws into a folder by the tool."""
    figures = import_tool("figures")

    def draw_by_flags(runs, **flags):
        with flagsaver.flagsaver(
            runs=list(map(str, runs)), out=str(tmp_path / "out"), **flags
        ):
            figures.main()

    return draw_by_flags


def test_what_there_is_is_drawn_and_named(run, tmp_path, draw, capsys):
    draw([run, run], labels=["a", "b"])
    written = {path.name for path in (tmp_path / "out").iterdir()}
    assert written == {"figures.png", "levels.png", "throughput.png"}
    printed = capsys.readouterr().out.split()
    assert {path.rsplit("/", 1)[1] for path in printed} == written


def test_projected_discriminators_are_known_to_the_plots(
    run, draw, monkeypatch, tiny_xl
):
    other = run.parent / "other"
    shutil.copytree(run, other)
    (other / "config.json").write_text(json.dumps({"config": tiny_xl.to_dict()}))
    calls = []
    monkeypatch.setattr(curves, "draw_values", lambda *values: calls.append(values))
    draw([run, other])
    assert calls[0][3] == {"lite0"}


@pytest.mark.parametrize(
    ("runs", "flags", "message"),
    [
        ([], {}, "--runs is missing: write --runs=DIR,DIR --out=DIR"),
        (["run"], {"labels": ["a", "b"]}, "--labels=a,b must name each of the 1"),
        (["run"], {"figures": ["fid"]}, "no run has 'fid'; choose from swd_16, swd_av"),
        (["none"], {}, "it is not the folder of a run"),
    ],
)
def test_mistakes_are_one_line(run, tmp_path, draw, runs, flags, message):
    with pytest.raises(UserError, match=re.escape(message)) as error:
        draw([tmp_path / name for name in runs], **flags)
    assert "\n" not in str(error.value)
