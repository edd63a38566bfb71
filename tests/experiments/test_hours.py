"""Hours of runs: from what runs took on these devices, else from a stated rate."""

import json
from types import SimpleNamespace

import jax
import pytest
from ml_collections import ConfigDict

from progan_jax.experiments.hours import Rate, sustained_rate
from progan_jax.experiments.runs import Run
from progan_jax.experiments.table import Row

HERE = {"device_kind": "cpu", "device_count": 8}


@pytest.fixture
def make_run(tmp_path, tiny_config):
    def make(seed, start, *ticks):
        folder = tmp_path / str(seed)
        folder.mkdir()
        config = tiny_config.to_dict() | {"seed": seed}
        record = {"config": config, "starts": [start]}
        (folder / "config.json").write_text(json.dumps(record))
        rows = [{"Progress/nimg": n, "Timing/total_sec": sec} for n, sec in ticks]
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / "stats.jsonl").write_text(lines)
        run = Run(Row("a", "", "", {}), seed, folder, config=ConfigDict())
        object.__setattr__(run, "flops", lambda nimg: 2e9 * nimg)
        return run

    return make


def test_rate_is_that_of_all_runs_on_such_devices(make_run, tmp_path):
    runs = [
        make_run(1, HERE, (500, 3), (1000, 10)),
        make_run(2, HERE, (1000, 30)),
        make_run(3, HERE | {"device_kind": "H100"}, (10**9, 1)),
        make_run(4, HERE),
        Run(Row("a", "", "", {}), 5, tmp_path / "not begun", config=ConfigDict()),
    ]
    rate = sustained_rate(runs)
    assert rate.flops == 2e9 * 2000 / 40
    assert rate.reason == "measured in runs of the table here"
    assert rate.hours(3600 * 1e11) == "about 1 h"


def test_a_guess_for_other_devices_is_for_each_of_them(monkeypatch):
    device = SimpleNamespace(platform="gpu", device_kind="NVIDIA H100")
    monkeypatch.setattr(jax, "devices", lambda: [device] * 4)
    rate = sustained_rate([])
    assert rate.flops == 4 * 5e13
    assert "within a factor of three" in rate.reason
    assert "4 x NVIDIA H100" in rate.reason


@pytest.mark.parametrize(
    ("hours", "expected"), [(0.0123, "0.012"), (3.14, "3.1"), (21_432, "21,000")]
)
def test_hours_have_two_digits(hours, expected):
    assert Rate(1e9, "").hours(hours * 3600 * 1e9) == f"about {expected} h"


def test_operations_of_a_begun_run_are_those_of_its_images(tiny_config, tmp_path):
    tiny_config.schedule.start_resolution = 16
    run = Run(
        Row("a", "", "configs/digits.py", {}),
        seed=0,
        workdir=tmp_path,
        config=tiny_config,
    )
    half = run.flops(run.total_nimg / 2)
    assert run.flops(run.total_nimg) == pytest.approx(2 * half)
    assert run.nimg_so_far() == 0
