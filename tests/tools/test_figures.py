"""Figures of runs whose records are written by hand."""

import json

import pytest
from absl.flags import FLAGS
from absl.testing import flagsaver

from progan_jax.errors import UserError
from progan_jax.tools import figures

pytest.importorskip("matplotlib")


@pytest.fixture
def run(tmp_path):
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
    config = {"config": {"data": {}, "model": {}, "loss": {}, "schedule": {}}}
    groups = ("data", "model", "loss", "optim", "schedule", "train", "eval", "runtime")
    config["config"] |= {group: {} for group in groups}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.fixture(autouse=True)
def parsed():
    FLAGS.mark_as_parsed()
    yield
    FLAGS.unparse_flags()


def draw(tmp_path, **flags):
    with flagsaver.flagsaver(out=str(tmp_path / "out"), **flags):
        figures.main()


def test_what_there_is_is_drawn_and_named(run, tmp_path, capsys):
    draw(tmp_path, runs=[str(run), str(run)], labels=["a", "b"])
    written = {path.name for path in (tmp_path / "out").iterdir()}
    assert written == {"figures.png", "levels.png", "throughput.png"}
    told = capsys.readouterr().out.split()
    assert {path.rsplit("/", 1)[1] for path in told} == written


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"runs": None}, "--runs is missing: write --runs=DIR,DIR --out=DIR"),
        ({"labels": ["a", "b"]}, "--labels=a,b must name each of the 1 folder(s)"),
        ({"figures": ["fid"]}, "no run has 'fid'; choose from swd_16, swd_average"),
        ({"runs": ["/nowhere"]}, "--runs=/nowhere: it is no folder of a run"),
    ],
)
def test_mistakes_are_one_line(run, tmp_path, flags, message):
    with pytest.raises(UserError) as refused:
        draw(tmp_path, **{"runs": [str(run)], **flags})
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)
