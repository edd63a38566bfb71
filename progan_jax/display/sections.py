"""The parts of a run's report: progress, stages, curves, metrics, settings."""

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

from progan_jax.configs import base
from progan_jax.display.run_record import Row, RunRecord, condense
from progan_jax.display.svg import (
    Chart,
    Line,
    details,
    draw,
    escape,
    facts,
    paragraph,
    section,
    table,
)
from progan_jax.metrics.protocols import is_higher_better
from progan_jax.metrics.scoreboard import Progress
from progan_jax.runtime.command_line import list_fields
from progan_jax.runtime.logging import format_duration
from progan_jax.training.schedule import Stage

# Titles, and what they are drawn of, by its name in stats.jsonl.
_CURVES: Mapping[str, Mapping[str, str]] = {
    "Losses": {"Loss/d_loss": "D", "Loss/g_loss": "G"},
    "Scores that D gives": {"Loss/real_scores": "reals", "Loss/fake_scores": "fakes"},
    "Norm of D's gradient": {"Loss/mixed_norms": "between reals and fakes"},
    "Spread of a batch, as D sees it": {
        "Health/stddev_reals": "reals",
        "Health/stddev_fakes": "fakes",
    },
    "Class terms of the losses": {
        "Loss/label_penalty_reals": "reals",
        "Loss/label_penalty_fakes": "fakes",
    },
    "Noise in D's layers": {"Health/noise_strength": ""},
    "Updates skipped": {"Health/skipped": ""},
    "Images per second": {"Timing/img_per_sec": ""},
}

_MOST_TICKS = 300

_SWD = "Sliced Wasserstein distance x 1e3"

# Levels of one distance stand in one chart.
_LEVELS = {"swd_": _SWD, "stage_swd_": f"{_SWD}, as stages end"}

_TITLES = {"ms_ssim": "MS-SSIM", "fid": "FID", "sfid": "sFID", "rfid": "rFID"}

# What differs by factors, stage by stage or level by level.
_LOGARITHMIC = ("Images per second", *_LEVELS.values())


def training_charts(record: RunRecord) -> str:
    """Returns the curves of the ticks."""
    rows = condense(record.rows, _MOST_TICKS)
    charts = [_of_ticks(rows, title, names) for title, names in _CURVES.items()]
    return _show([c for c in charts if c is not None], "ticks")


def ticks_per_point(record: RunRecord) -> int:
    """Returns how many ticks a point of the curves is the mean of."""
    return -(-len(record.rows) // _MOST_TICKS)


def schedule_chart(record: RunRecord) -> str:
    """Returns the stages and their fades: as far as the run has come, and the rest.

    A run that does not grow has no such chart.
    """
    sides = [stage.resolution for stage in record.schedule.stages()]
    if len(sides) == 1:
        return ""
    shown = [(0.0, float(sides[0])), *_sides_shown(record.rows)]
    lines = [Line("shown", shown)]
    if not record.is_finished:
        lines.append(Line("planned", [shown[-1], *_planned(record)]))
    ticks = [(float(side), str(side)) for side in sides]
    chart = Chart("Resolution, with its fades", lines, ticks=ticks, is_log=True)
    return _show([chart], "schedule")


def metric_charts(record: RunRecord) -> str:
    """Returns the figures of the snapshots; the levels of the SWD in one chart."""
    names = shown_figures(record.progress)
    charts = []
    for prefix, title in _LEVELS.items():
        levels = [name for name in names if name.startswith(prefix)]
        charts.append(_of_figures(record, title, levels))
    for name in names:
        if not name.startswith(tuple(_LEVELS)):
            charts.append(_of_figures(record, title_of(name), [name]))
    return _show([c for c in charts if c is not None], "metrics")


def shown_figures(progress: Progress) -> list[str]:
    """Returns the names of the figures, but for deviations and shares of classes."""
    names = progress.names()
    return [n for n in names if not n.endswith("_std") and "_share_" not in n]


def title_of(figure: str) -> str:
    """Returns a figure's name for people."""
    title = figure.removesuffix("_mean").replace("_", " ")
    return _TITLES.get(figure, title.replace("swd", "SWD").replace("kid", "KID"))


def _of_ticks(
    rows: Sequence[Row], title: str, names: Mapping[str, str]
) -> Chart | None:
    lines = []
    for name, label in names.items():
        points = [(row["Progress/kimg"], row.get(name)) for row in rows]
        if any(value for _, value in points):
            lines.append(Line(label, points))
    return _chart(title, lines, rows)


def _of_figures(record: RunRecord, title: str, names: Sequence[str]) -> Chart | None:
    points, floor = record.progress.points, record.progress.floor
    lines = [
        Line(
            title_of(n) + (f" (reals {floor[n]:.4g})" if n in floor else ""),
            [(p.kimg, p.figures[n]) for p in points if n in p.figures],
            has_dots=True,
        )
        for n in names
    ]
    return _chart(title, lines, record.rows)


def _chart(title: str, lines: Sequence[Line], rows: Sequence[Row]) -> Chart | None:
    if not any(line.values() for line in lines):
        return None
    lowest = min(value for line in lines for value in line.values())
    is_log = title in _LOGARITHMIC and lowest > 0
    return Chart(title, lines, _stage_starts(rows), is_log=is_log)


def _stage_starts(rows: Sequence[Row]) -> list[tuple[float, str]]:
    starts: dict[float, float] = {}
    before = 0.0
    for row in rows:
        starts.setdefault(row["Progress/resolution"], before)
        before = row["Progress/kimg"]
    marks = [(kimg, f"{side:g}") for side, kimg in starts.items()]
    return marks if len(marks) > 1 else []


def _sides_shown(rows: Sequence[Row]) -> Iterator[tuple[float, float]]:
    """Yields kimg and resolution, in a fade that between the two."""
    for row in condense(rows, _MOST_TICKS):
        side, alpha = row["Progress/resolution"] or 4, row["Progress/alpha"] or 0
        yield row["Progress/kimg"] or 0, side * 2 ** (alpha - 1)


def _planned(record: RunRecord) -> Iterator[tuple[float, float]]:
    """Yields the ends of the fades and stages that are still to come."""
    done = record.rows[-1]["Progress/nimg"]
    for stage in record.schedule.stages():
        for end in (record.schedule.fade_end(stage), record.schedule.stage_end(stage)):
            if end > done:
                yield end / 1000, stage.resolution


def _show(charts: Sequence[Chart], name: str) -> str:
    figures = [_figure(chart, f"{name}-{n}") for n, chart in enumerate(charts)]
    return '<div class="charts">\n' + "\n".join(figures) + "\n</div>"


def _figure(chart: Chart, name: str) -> str:
    """Returns a chart under its title and legend, its numbers folded below."""
    hidden = chart.hidden()
    note = f"{hidden} value(s) beyond the edges" if hidden else ""
    return (
        f'<figure class="chart">\n<figcaption><h3>{escape(chart.title)}</h3>'
        f"{_legend(chart)}</figcaption>\n{draw(chart, name)}\n"
        + (f'<p class="note">{note}</p>\n' if note else "")
        + details("Numbers", _numbers(chart))
        + "\n</figure>"
    )


def _legend(chart: Chart) -> str:
    if not any(line.name for line in chart.lines):
        return ""
    items = "".join(
        f'<li><svg class="key" viewBox="0 0 22 8" aria-hidden="true"><g '
        f'class="line line-{n % 6}"><path d="M0 4H22"/></g></svg>{escape(line.name)}'
        "</li>"
        for n, line in enumerate(chart.lines)
    )
    return f'<ul class="legend">{items}</ul>'


def _numbers(chart: Chart) -> str:
    places = sorted({x for line in chart.lines for x, _ in line.points})
    columns = [dict(line.points) for line in chart.lines]
    rows = [
        [f"{x:,.6g}", *(_number(column.get(x)) for column in columns)] for x in places
    ]
    header = ["kimg", *(line.name or chart.title for line in chart.lines)]
    return table(f"{chart.title}: numbers", header, rows)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.5g}"


_MORE_IS_NOT_BETTER = ("ms_ssim",)


def summary(record: RunRecord) -> str:
    """Returns how far the run has come, in a few numbers."""
    last, end = record.rows[-1], record.schedule.end_nimg() / 1000
    side, alpha = int(last["Progress/resolution"]), last["Progress/alpha"]
    left = format_duration(last.get("Timing/eta_sec") or 0)
    time = format_duration(last["Timing/total_sec"])
    return facts(
        [
            ("Shown", f"{last['Progress/kimg']:,.1f} kimg", f"of {end:,.1f}"),
            ("Resolution", f"{side}x{side}", f"alpha {alpha:.2f}"),
            ("Trained for", time, "" if record.is_finished else f"about {left} left"),
            ("Speed", f"{last['Timing/img_per_sec']:,.0f} images/s", "last tick"),
            *_best_figures(record),
        ]
    )


def schedule_section(record: RunRecord) -> str:
    """Returns the stages: planned, and how fast they were."""
    header = ["stage", "from kimg", "fade until", "until kimg", "batch", "G rate"]
    header += ["D rate", "shown kimg", "images/s", "time"]
    rows = [_stage_row(record, stage) for stage in record.schedule.stages()]
    body = table("The stages of the schedule, and their throughput", header, rows)
    chart = schedule_chart(record)
    if chart:
        body = f'<div class="beside">{chart}\n{body}</div>'
    return section("schedule", "Schedule", body)


def training_section(record: RunRecord) -> str:
    """Returns the curves of the ticks."""
    each = ticks_per_point(record)
    told = f"{len(record.rows):,} ticks, from stats.jsonl."
    told += f" {record.lost_rows:,} more are lost." if record.lost_rows else ""
    told += f" Each point is the mean of {each} ticks of a stage." if each > 1 else ""
    if len({row["Progress/resolution"] for row in record.rows}) > 1:
        told += " Numbers at the top name the resolution that begins there."
    body = paragraph(told) + training_charts(record)
    return section("training", "Training", body)


def metrics_section(record: RunRecord) -> str:
    """Returns the figures of the snapshots."""
    progress = record.progress
    if not progress.names():
        nothing = "Nothing is measured yet; --mode=eval measures every snapshot."
        return section("metrics", "Metrics", paragraph(nothing))
    names = shown_figures(progress)
    best = {name: _best(record, name) for name in names}
    rows = [["reals", "", *(_figure_cell(progress.floor.get(n)) for n in names)]]
    rows = rows if progress.floor else []
    for p in progress.points:
        marks = [" (best)" if best[n] == p.kimg else "" for n in names]
        cells = [
            _figure_cell(p.figures.get(n)) + m
            for n, m in zip(names, marks, strict=True)
        ]
        rows.append([f"{p.kimg:,.1f}", f"{p.resolution:g}", *cells])
    header = ["kimg", "resolution", *map(title_of, names)]
    caption = "Figures of the snapshots, by each metric's newest settings"
    body = metric_charts(record) + table(caption, header, rows)
    return section("metrics", "Metrics", body)


def _best_figures(record: RunRecord) -> Iterator[tuple[str, str, str]]:
    """Yields the best of up to two figures, with the kimg of its snapshot."""
    names = shown_figures(record.progress)
    averages = [n for n in names if not re.search(r"swd_\d+$", n)]
    for name in [n for n in averages if n not in _MORE_IS_NOT_BETTER][:2]:
        kimg = _best(record, name)
        for point in record.progress.points:
            if point.kimg == kimg:
                value = f"{point.figures[name]:.4g}"
                yield f"Best {title_of(name)}", value, f"at {kimg:,.1f} kimg"


def _best(record: RunRecord, name: str) -> float | None:
    """Returns the kimg of the snapshot that is best by a figure, if any can be."""
    if name in _MORE_IS_NOT_BETTER:
        return None
    sign = -1 if is_higher_better(name) else 1
    measured = [p for p in record.progress.points if name in p.figures]
    return min(measured, key=lambda p: sign * p.figures[name]).kimg


def _stage_row(record: RunRecord, stage: Stage) -> list[str]:
    schedule, r = record.schedule, stage.resolution
    fade_end, end = schedule.fade_end(stage), schedule.stage_end(stage)
    return [
        f"{r}x{r}",
        f"{stage.start_nimg / 1000:,.1f}",
        f"{fade_end / 1000:,.1f}" if fade_end > stage.start_nimg else "no fade",
        f"{end / 1000:,.1f}",
        str(schedule.batch_size[r]),
        f"{schedule.g_learning_rate[r]:g}",
        f"{schedule.d_learning_rate[r]:g}",
        *_speed(record.rows, r),
    ]


def _speed(rows: Sequence[Row], resolution: int) -> list[str]:
    """Returns kimg shown at a resolution, images/s, and time with all pauses."""
    start = {"Progress/kimg": 0.0, "Timing/total_sec": 0.0}
    steps = [
        (before, row)
        for before, row in pairwise([start, *rows])
        if row["Progress/resolution"] == resolution
    ]
    if not steps:
        return ["", "", ""]
    kimg = sum(row["Progress/kimg"] - before["Progress/kimg"] for before, row in steps)
    time = sum(
        row["Timing/total_sec"] - before["Timing/total_sec"] for before, row in steps
    )
    seconds = sum(row["Timing/sec_per_tick"] for _, row in steps)
    images = sum(r["Timing/sec_per_tick"] * r["Timing/img_per_sec"] for _, r in steps)
    speed = f"{images / seconds:,.1f}" if seconds else ""
    return [f"{kimg:,.1f}", speed, format_duration(time)]


def _figure_cell(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"


def config_section(record: RunRecord) -> str:
    """Returns what the configuration changes of configs/base.py, and all of it."""
    fields = list_fields(record.config)
    everything = table(
        "All fields of the configuration",
        ["field", "value"],
        [[name, _value(value)] for name, value in fields.items()],
    )
    body = details(f"All {len(fields)} fields", everything)
    paper = list_fields(base.get_config())
    rows = [
        [
            name,
            _value(value),
            _value(paper[name]) if name in paper else "no such field",
        ]
        for name, value in fields.items()
        if name not in paper or paper[name] != value
    ]
    told = "What differs from configs/base.py, the paper's recipe"
    differing = table(told, ["field", "this run", "base"], rows)
    return section("configuration", "Configuration", differing + body)


def starts_section(record: RunRecord) -> str:
    """Returns when, where and by which versions the run was started."""
    packages = {name for start in record.starts for name in _versions(start)}
    header = ["date", "commit", "devices", "Python", *sorted(packages)]
    rows = [
        [
            str(start.get("date", "")),
            str(start.get("git") or "unknown"),
            f"{start.get('device_count', '?')} x {start.get('device_kind', '?')}",
            str(start.get("python", "")),
            *(str(_versions(start).get(name) or "") for name in sorted(packages)),
        ]
        for start in record.starts
    ]
    body = table("Every start of the run", header, rows)
    return section("starts", "Starts", body)


def _versions(start: Mapping[str, Any]) -> Mapping[str, Any]:
    versions = start.get("versions")
    return versions if isinstance(versions, dict) else {}


def _value(value: object) -> str:
    return repr(value) if isinstance(value, str) else str(value)
