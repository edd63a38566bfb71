import importlib.util
import json

import pytest

from progan_jax.runtime import logging as module
from progan_jax.runtime.logging import (
    ProgressBar,
    RunLog,
    format_duration,
    format_swd,
    format_tick,
    peak_memory_mib,
    read_rows,
    warn,
)

HAS_TENSORBOARD = all(
    importlib.util.find_spec(name) for name in ("tensorflow", "tensorboard")
)


def row(nimg, **changes):
    return {
        "Progress/tick": 3,
        "Progress/nimg": nimg,
        "Progress/kimg": nimg / 1000,
        "Progress/resolution": 8,
        "Progress/alpha": 0.25,
        "Progress/minibatch": 16,
        "Timing/sec_per_kimg": 1.5,
        "Timing/img_per_sec": 666.7,
        "Timing/eta_sec": 125,
        "Memory/peak_mib": 1234.5,
        "Health/score_gap": 0.5,
        "Health/stddev_fakes": 0.1,
        "Health/stddev_reals": 0.2,
        "Health/skipped": 0,
        "Loss/mixed_norms": 0.9,
    } | changes


@pytest.fixture
def no_tensorboard(monkeypatch):
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: None)


def write(folder, *nimgs, resume=0):
    log = RunLog(folder, lambda nimg: nimg <= resume)
    for nimg in nimgs:
        log.write(row(nimg))
    log.close()


@pytest.mark.usefixtures("no_tensorboard")
def test_rows_after_the_resume_point_are_dropped_so_that_each_stands_once(tmp_path):
    write(tmp_path, 1000, 2000, 3000)
    write(tmp_path, 2000, 3000, resume=1000)
    rows = read_rows(tmp_path / "stats.jsonl")
    assert [r["Progress/nimg"] for r in rows] == [1000, 2000, 3000]


@pytest.mark.usefixtures("no_tensorboard")
def test_a_line_that_a_kill_broke_is_dropped(tmp_path):
    write(tmp_path, 1000)
    path = tmp_path / "stats.jsonl"
    path.write_text(path.read_text() + '{"Progress/nimg": 20')
    write(tmp_path, 2000, resume=9000)
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert [r["Progress/nimg"] for r in rows] == [1000, 2000]


BROKEN = ["[]", "3", "{}", '{"Progress/nimg": null}', "nonsense", "\ufffd"]


@pytest.mark.usefixtures("no_tensorboard")
@pytest.mark.parametrize("line", BROKEN)
def test_a_broken_line_costs_no_other(tmp_path, line):
    write(tmp_path, 1000)
    path = tmp_path / "stats.jsonl"
    bad = line.encode().replace("\ufffd".encode(), b"\xff\xfe")
    path.write_bytes(path.read_bytes() + bad + b"\n")
    write(tmp_path, 2000, resume=9000)
    assert [r["Progress/nimg"] for r in read_rows(path)] == [1000, 2000]


@pytest.mark.usefixtures("no_tensorboard")
def test_numbers_that_are_not_finite_are_null(tmp_path):
    log = RunLog(tmp_path, lambda nimg: True)
    log.write(row(1000, **{"Loss/d_loss": float("nan")}))
    log.close()
    (read,) = read_rows(tmp_path / "stats.jsonl")
    assert read["Loss/d_loss"] is None


@pytest.mark.usefixtures("no_tensorboard")
def test_one_line_says_that_tensorboard_is_off_and_how_to_get_it(tmp_path, capsys):
    write(tmp_path)
    out = capsys.readouterr().out
    assert out.count("\n") == 1
    assert "pip install -e '.[tf]'" in out
    assert not (tmp_path / "tb").exists()


@pytest.mark.skipif(not HAS_TENSORBOARD, reason="needs the tf extra")
def test_tensorboard_holds_each_tick_once_after_a_resume(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    write(tmp_path, 1000, 2000, 3000)
    write(tmp_path, 2000, 3000, resume=1000)
    events = EventAccumulator(str(tmp_path / "tb"), size_guidance={"tensors": 0})
    events.Reload()
    (tag,) = [t for t in events.Tags()["tensors"] if t == "Progress/alpha"]
    assert [e.step for e in events.Tensors(tag)] == [1000, 2000, 3000]


def test_a_tick_is_one_line_with_all_that_the_authors_tell_and_health():
    line = format_tick(row(12_000))
    assert "\n" not in line
    for part in (
        "tick 3",
        "kimg 12.0",
        "8x8",
        "alpha 0.25",
        "batch 16",
        "1.50 sec/kimg",
        "667 img/s",
        "eta 2m 05s",
        "peak 1,234 MiB",
        "gap 0.50",
        "norm 0.90",
        "stddev 0.10/0.20",
        "skipped 0",
    ):
        assert part in line, part


def test_a_loss_without_a_penalty_has_no_norm():
    without = row(1000)
    del without["Loss/mixed_norms"]
    assert "norm nan" in format_tick(without)


def test_distances_are_one_line():
    levels = {"32": 1.234, "average": 2.0}
    measured = {f"Metrics/stage_swd_{name}": value for name, value in levels.items()}
    line = format_swd(row(1, **measured, **{"Metrics/swd_32": 9.0}))
    assert line.strip() == (
        "end of 8x8: sliced Wasserstein distance x 1e3  32: 1.23  average: 2.00"
    )


def test_warnings_go_to_standard_error(capsys):
    warn("look out")
    assert capsys.readouterr().err == "warning: look out\n"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.4, "0s"),
        (59, "59s"),
        (59.7, "1m 00s"),
        (3599, "59m 59s"),
        (3600, "1h 00m"),
        (86399, "23h 59m"),
        (86400 * 12 + 4 * 3600, "12d 04h"),
    ],
)
def test_durations_have_two_units(seconds, text):
    assert format_duration(seconds) == text


def test_peak_memory_of_this_process_is_counted_where_devices_do_not_tell():
    assert 50 < peak_memory_mib() < 2**20


def test_the_bar_keeps_quiet_without_a_terminal(capsys):
    bar = ProgressBar(1000, 0)
    bar.update(500, "8x8")
    bar.print("a line")
    bar.close()
    captured = capsys.readouterr()
    assert captured.out == "a line\n"
    assert captured.err == ""
