import io
import json
import re

import numpy as np
import pytest

from progan_jax.errors import UserError, warn
from progan_jax.runtime.logging import (
    ProgressBar,
    RunLog,
    format_duration,
    format_kimg,
    format_swd,
    format_tick,
    peak_memory_mib,
    read_rows,
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


class Collected:
    """A writer that collects what it is given."""

    def __init__(self, rows=()):
        self.steps, self.images = [int(r["Progress/nimg"]) for r in rows], {}
        self.is_open = True

    def write_scalars(self, step, scalars):
        assert scalars["Progress/nimg"] == step
        self.steps.append(step)

    def write_images(self, step, images):
        self.images[step] = images

    def close(self):
        self.is_open = False


def write(folder, *nimgs, resume=0, expected=None, open_writer=Collected):
    """Continues after `resume` images, of which each thousand was a tick."""
    expected = resume // 1000 if expected is None else expected
    log = RunLog(folder, lambda nimg: nimg <= resume, expected, open_writer)
    for nimg in nimgs:
        log.write(row(nimg))
    log.close()


def nimgs(path):
    return [r["Progress/nimg"] for r in read_rows(path)]


@pytest.fixture
def log(tmp_path):
    """A log of five ticks."""
    write(tmp_path, 1000, 2000, 3000, 4000, 5000)
    return tmp_path / "stats.jsonl"


def test_rows_after_the_resume_point_are_dropped_so_that_each_stands_once(
    tmp_path, capsys
):
    write(tmp_path, 1000, 2000, 3000)
    write(tmp_path, 2000, 3000, resume=1000)
    assert nimgs(tmp_path / "stats.jsonl") == [1000, 2000, 3000]
    assert capsys.readouterr().err == ""


def test_rows_are_read_as_they_were_written(log):
    assert read_rows(log)[0] == row(1000)


def test_rows_that_stay_are_not_written_again(log):
    before = log.read_bytes()
    write(log.parent, resume=5000)
    assert log.read_bytes() == before


def test_rows_of_earlier_versions_have_no_checksum_and_stay(log, capsys):
    plain = [json.dumps(r) for r in read_rows(log)]
    log.write_text("\n".join(plain) + "\n")
    write(log.parent, resume=5000)
    assert log.read_text().splitlines() == plain
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("end", ['{"Progress/nimg": 50', "{"])
def test_a_line_that_a_kill_cut_short_is_dropped_without_a_warning(log, capsys, end):
    whole = log.read_text()
    log.write_text(whole + end)
    assert nimgs(log) == [1000, 2000, 3000, 4000, 5000]
    write(log.parent, resume=4000)
    assert log.read_text() == "".join(whole.splitlines(keepends=True)[:4])
    assert capsys.readouterr().err == ""
    assert [p.name for p in log.parent.iterdir()] == ["stats.jsonl"]


def test_a_row_without_its_line_end_is_complete(log):
    log.write_bytes(log.read_bytes()[:-1])
    write(log.parent, 6000, resume=5000)
    assert nimgs(log) == [1000, 2000, 3000, 4000, 5000, 6000]


BROKEN = [
    *("[]", "3", "{}", '{"Progress/nimg": null}', "nonsense", "\ufffd"),
    *(f'{{"Progress/nimg": {n}}}' for n in (-32, 0, 10**400, 1e300)),
    *('{"Progress/nimg": 0.5}', "[" * 100_000, '{"Progress/nimg": NaN}'),
]


@pytest.mark.parametrize("line", BROKEN, ids=range(len(BROKEN)))
def test_a_broken_line_costs_no_other_and_is_counted(log, capsys, line):
    bad = line.encode().replace("\ufffd".encode(), b"\xff\xfe") + b"\n"
    damaged = bad + log.read_bytes()
    log.write_bytes(damaged)
    assert nimgs(log) == [1000, 2000, 3000, 4000, 5000]
    assert capsys.readouterr().err == (
        f"warning: {log}: 1 line(s) are damaged and left out\n"
    )
    write(log.parent, resume=5000)
    assert "1 line(s) are damaged" in capsys.readouterr().err
    assert nimgs(log) == [1000, 2000, 3000, 4000, 5000]
    assert log.with_name("stats.jsonl.damaged").read_bytes() == damaged


def test_every_flipped_bit_of_a_row_is_noticed(log):
    first = log.read_bytes().split(b"\n")[0]
    for place in range(0, len(first), 7):
        changed = bytearray(first)
        changed[place] ^= 1
        log.write_bytes(changed + b"\n")
        assert read_rows(log) == [], changed


@pytest.mark.parametrize("share", [0.0, 0.3, 0.5, 0.99])
def test_rows_that_are_cut_off_are_counted(log, capsys, share):
    data = log.read_bytes()
    cut = data[: int(len(data) * share)]
    log.write_bytes(cut)
    write(log.parent, resume=5000)
    left = nimgs(log)
    printed = capsys.readouterr().err
    assert f"warning: {log}: {5 - len(left)} of 5 earlier rows are lost" in printed
    kept = log.with_name("stats.jsonl.damaged")
    if cut:
        assert "1 line(s) are damaged; the file is kept as" in printed
        assert kept.read_bytes() == cut
    else:
        assert not kept.exists()


def test_each_damaged_log_is_kept(log):
    for number in (1, 2):
        log.write_text(f"damage {number}\n" + log.read_text())
        write(log.parent, resume=5000)
    kept = [log.with_name(f"stats.jsonl.damaged{end}") for end in ("", "-1")]
    starts = [path.read_text().splitlines()[0] for path in kept]
    assert starts == ["damage 1", "damage 2"]


def test_a_log_that_cannot_be_read_is_one_line(tmp_path):
    (tmp_path / "stats.jsonl").mkdir()
    with pytest.raises(UserError, match=r"stats\.jsonl cannot be read \(Is a direc"):
        read_rows(tmp_path / "stats.jsonl")


def test_numbers_that_are_not_finite_are_null(tmp_path):
    log = RunLog(tmp_path, lambda nimg: True, 0, Collected)
    log.write(row(1000, **{"Loss/d_loss": float("nan")}))
    log.close()
    (read,) = read_rows(tmp_path / "stats.jsonl")
    assert read["Loss/d_loss"] is None


def test_the_writer_gets_the_rows_that_stay_and_then_the_new_ones(tmp_path):
    opened = []

    def open_writer(rows):
        opened.append(Collected(rows))
        return opened[-1]

    write(tmp_path, 1000, 2000, 3000, open_writer=open_writer)
    write(tmp_path, 2000, 4000, resume=1000, open_writer=open_writer)
    assert [writer.steps for writer in opened] == [
        [1000, 2000, 3000],
        [1000, 2000, 4000],
    ]
    assert not any(writer.is_open for writer in opened)


def test_an_image_reaches_the_writer_as_a_batch_of_one(tmp_path):
    writer, image = Collected(), np.zeros((4, 6, 1), np.uint8)
    log = RunLog(tmp_path, lambda nimg: True, 0, lambda rows: writer)
    log.write_image(1000, "fakes", image)
    assert writer.images[1000]["fakes"].shape == (1, 4, 6, 1)


def test_a_tick_is_one_line_of_how_far_how_fast_and_how_well():
    assert format_tick(row(12_016)) == (
        "tick 3    kimg 12.016   8x8       alpha 0.25   667 img/s eta 2m 05s  "
        "peak 1.2 GiB gap 0.5"
    )


def test_a_remaining_time_that_is_a_limit_or_unknown_says_so():
    assert " eta <2m 05s " in format_tick(row(1), may_end_before=True)
    assert " eta ? " in format_tick(
        row(1, **{"Timing/eta_sec": float("nan")}), may_end_before=True
    )


def test_a_run_without_fades_has_no_alpha():
    with_fades, without = (format_tick(row(12_016), fades) for fades in (True, False))
    assert without == with_fades.replace("alpha 0.25 ", "")


LARGE = {
    "Progress/tick": 12345,
    "Progress/resolution": 1024,
    "Timing/img_per_sec": 123456.7,
    "Timing/eta_sec": 400 * 86400,
    "Memory/peak_mib": 180 * 1024,
    "Health/score_gap": -1.2345678e-10,
    "Health/skipped": 1234,
}


def test_lines_fit_into_100_columns_whatever_the_numbers():
    line, skipped = format_tick(row(25_123_456, **LARGE)).split("\n")
    assert len(line) <= 100, line
    assert skipped == "    1234 update(s) skipped: loss or gradient is not finite"
    levels = [*(2**n for n in range(10, 3, -1)), "average"]
    distances = {f"Metrics/stage_swd_{level}": 1234.5678 for level in levels}
    lines = format_swd(row(1, **LARGE, **distances)).split("\n")
    assert max(map(len, lines)) <= 100
    assert " ".join(lines).count(": 1234.57") == len(levels)


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
    ("kimg", "text"),
    [
        (0, "0"),
        (0.608, "0.608"),
        (99.016, "99.016"),
        (400.016, "400"),
        (25e3, "25,000"),
    ],
)
def test_kimg_of_short_runs_are_exact(kimg, text):
    assert format_kimg(kimg) == text


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


def test_peak_memory_of_this_process_is_counted_where_devices_report_none():
    assert 50 < peak_memory_mib() < 2**20


def test_the_bar_shows_how_far_the_run_is_and_leaves_the_rest_to_the_ticks(monkeypatch):
    terminal = io.StringIO()
    terminal.isatty = lambda: True
    monkeypatch.setattr("sys.stderr", terminal)
    bar = ProgressBar(1000, 0)
    bar.update(500, "8x8")
    bar._bar.refresh()
    shown = terminal.getvalue().split("\r")[-1]
    bar.close()
    assert shown.startswith("8x8:  50%|")
    assert re.search(r"\| 500/1.00k images \[00:0\d\]$", shown.strip())


def test_a_bar_without_a_known_end_shows_no_share(monkeypatch):
    terminal = io.StringIO()
    terminal.isatty = lambda: True
    monkeypatch.setattr("sys.stderr", terminal)
    bar = ProgressBar(1000, 0, may_end_before=True)
    bar.update(500, "8x8")
    bar._bar.refresh()
    shown = terminal.getvalue().split("\r")[-1]
    bar.close()
    assert shown.startswith("8x8: 500 of at most 1.00k images [")


def test_the_bar_prints_nothing_without_a_terminal(capsys):
    bar = ProgressBar(1000, 0)
    bar.update(500, "8x8")
    bar.print("a line")
    bar.close()
    captured = capsys.readouterr()
    assert captured.out == "a line\n"
    assert captured.err == ""
