"""The sections of a run's report: progress, stages, curves, metrics, settings."""

import base64
import math
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

from progan_jax.configs import base
from progan_jax.display.charts import Chart, Points, draw
from progan_jax.display.markup import (
    details,
    escape,
    facts,
    paragraph,
    section,
    table,
)
from progan_jax.display.run_record import Row, RunRecord, condense
from progan_jax.metrics.metric import split_truncation
from progan_jax.metrics.protocols import is_higher_better
from progan_jax.metrics.ranking import frozen_networks, mark
from progan_jax.metrics.scoreboard import Progress
from progan_jax.runtime.command_line import list_fields
from progan_jax.runtime.logging import format_duration, format_kimg
from progan_jax.training.schedule import Stage

_SPEED = "Images per second"

# Scalars of stats.jsonl in each chart, and their names in the legend. The family's come
# between these and the others.
_CURVES: Mapping[str, Mapping[str, str]] = {
    "Losses": {"Loss/d_loss": "D", "Loss/g_loss": "G"},
    "Scores of D": {"Loss/real_scores": "real images", "Loss/fake_scores": "fakes"},
}
_MORE_CURVES: Mapping[str, Mapping[str, str]] = {
    "Updates skipped": {"Health/skipped": ""},
    _SPEED: {"Timing/img_per_sec": ""},
}

_MOST_TICKS = 300

_SWD = "Sliced Wasserstein distance x 1e3"

# All levels of a distance are drawn in one chart.
_LEVELS = {"swd_": _SWD, "stage_swd_": f"{_SWD}, at the end of stages"}

_TITLES = {
    **{"ms_ssim": "MS-SSIM", "fid": "FID", "sfid": "sFID", "rfid": "rFID"},
    **{"fd_dinov2": "Fréchet distance of DINOv2's features"},
    **{"precision_vgg16": "Precision, VGG-16", "recall_vgg16": "Recall, VGG-16"},
    **{"eqt_int": "EQ-T in dB", "eqt_frac": "EQ-T by fractions in dB"},
    **{"ppl_zfull": "Path length in Z, full", "ppl_zend": "Path length in Z, end"},
    **{"ppl_wfull": "Path length in W, full", "ppl_wend": "Path length in W, end"},
    **{"ls_z": "Separability in Z", "ls_w": "Separability in W"},
}


def training_charts(record: RunRecord) -> str:
    """Returns the charts of the ticks."""
    rows = condense(record.rows, _MOST_TICKS)
    charts = []
    curves = {**_CURVES, **record.family.CURVES, **_MORE_CURVES}
    for title, names in curves.items():
        lines = {label or title: _curve(rows, name) for name, label in names.items()}
        lines = {k: curve for k, curve in lines.items() if any(y for _, y in curve)}
        stages = _stage_starts(rows)
        charts.append(Chart(title, lines, stages, is_log=title == _SPEED))
    return _show(charts)


def schedule_chart(record: RunRecord) -> str:
    """Returns the chart of the resolution: as trained, and as planned.

    It is empty for a run that does not grow.
    """
    sides = [stage.resolution for stage in record.schedule.stages()]
    if len(sides) == 1:
        return ""
    lines = {"trained": [(0.0, float(sides[0])), *_resolutions(record.rows)]}
    if not record.is_finished and not record.schedule.may_end_before:
        lines["planned"] = [lines["trained"][-1], *_planned(record)]
    title = "Resolution and its fades" if record.schedule.fades else "Resolution"
    return _show([Chart(title, lines, ticks=sides, is_log=True)])


def metric_charts(record: RunRecord) -> str:
    """Returns the charts of the snapshots' values; all levels of the SWD in one."""
    names = shown_values(record.progress)
    groups: dict[str, list[str]] = {}
    for name in names:
        for prefix, title in _LEVELS.items():
            if name.startswith(prefix):
                title += _of_truncation(split_truncation(name)[1])
                groups.setdefault(title, []).append(name)
    single = [name for name in names if not name.startswith(tuple(_LEVELS))]
    frozen = frozen_networks(record.config.model)
    groups |= {title_of(name, frozen): [name] for name in single}
    points, floor = record.progress.points, record.progress.floor
    charts = []
    for title, group in groups.items():
        lines = {
            title_of(name): [
                (p.kimg, p.values[name]) for p in points if name in p.values
            ]
            for name in group
        }
        if len(group) == 1 and group[0] in floor:
            value = floor[group[0]]
            lines["real images"] = [(0.0, value), (points[-1].kimg, value)]
        is_log = group[0].startswith(tuple(_LEVELS))
        stages = _stage_starts(record.rows)
        charts.append(Chart(title, lines, stages, is_log=is_log, has_dots=True))
    return _show(charts)


def shown_values(progress: Progress) -> list[str]:
    """Returns the names of the values, except deviations and shares of classes."""
    bare = {name: split_truncation(name)[0] for name in progress.names()}
    return [
        name
        for name, of in bare.items()
        if not of.endswith("_std") and "_share_" not in of
    ]


def title_of(name: str, frozen: Collection[str] = ()) -> str:
    """Returns the title of a metric's value.

    Args:
      name: The value's.
      frozen: Names of the frozen networks of D, with whose training it may share.
    """
    name, psi = split_truncation(name)
    title = name.removesuffix("_mean").replace("_", " ")
    title = _TITLES.get(name, title.replace("swd", "SWD").replace("kid", "KID"))
    return title + _of_truncation(psi) + mark(name, frozen)


def _of_truncation(psi: float) -> str:
    return "" if psi == 1 else f", psi {psi:g}"


def _curve(rows: Sequence[Row], name: str) -> Points:
    return [(row["Progress/kimg"], row.get(name)) for row in rows]


def _stage_starts(rows: Sequence[Row]) -> list[tuple[float, str]]:
    starts: dict[float, float] = {}
    before = 0.0
    for row in rows:
        starts.setdefault(row["Progress/resolution"], before)
        before = row["Progress/kimg"]
    marks = [(kimg, f"{side:g}") for side, kimg in starts.items()]
    return marks if len(marks) > 1 else []


def _resolutions(rows: Sequence[Row]) -> Iterator[tuple[float, float]]:
    """Yields kimg and resolution, which during a fade lies between the two."""
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


def _show(charts: Sequence[Chart]) -> str:
    """Returns the charts that have values, each above a table of its numbers."""
    figures = [
        f'<figure class="chart">\n<figcaption><h3>{escape(chart.title)}</h3>'
        f"</figcaption>\n{_picture(chart)}\n{details('Numbers', _numbers(chart))}\n"
        "</figure>"
        for chart in charts
        if chart.values()
    ]
    return '<div class="charts">\n' + "\n".join(figures) + "\n</div>"


def _picture(chart: Chart) -> str:
    data = base64.b64encode(draw(chart).encode()).decode()
    source = f"data:image/svg+xml;base64,{data}"
    return f'<img alt="{escape(chart.describe())}" src="{source}">'


def _numbers(chart: Chart) -> str:
    places = sorted({x for points in chart.lines.values() for x, _ in points})
    columns = [dict(points) for points in chart.lines.values()]
    rows = [
        [f"{x:,.6g}", *(_number(column.get(x)) for column in columns)] for x in places
    ]
    return table(f"{chart.title}: numbers", ["kimg", *chart.lines], rows)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.5g}"


_NEITHER_IS_BETTER = ("ms_ssim",)  # It should be that of the real images.


def summary(record: RunRecord) -> str:
    """Returns the progress of the run in a few numbers."""
    last, end = record.rows[-1], record.schedule.end_nimg() / 1000
    may_end_before = record.schedule.may_end_before and not record.is_finished
    most = "at most " if may_end_before else ""
    side, alpha = int(last["Progress/resolution"]), last["Progress/alpha"]
    fade = f"alpha {alpha:.2f}" if record.schedule.fades else ""
    left = last.get("Timing/eta_sec")
    if record.is_finished or left is None:
        rest = ""
    else:
        rest = f"{most or 'about '}{format_duration(left)} left"
    time = format_duration(last["Timing/total_sec"])
    return facts(
        [
            (
                "Shown",
                f"{format_kimg(last['Progress/kimg'])} kimg",
                f"of {most}{format_kimg(end)}",
            ),
            ("Resolution", f"{side}x{side}", fade),
            ("Trained for", time, rest),
            ("Speed", f"{last['Timing/img_per_sec']:,.0f} images/s", "last tick"),
            *_best_values(record),
        ]
    )


def schedule_section(record: RunRecord) -> str:
    """Returns the stages: plan, throughput and time of each."""
    fades = ["fade until"] if record.schedule.fades else []
    header = ["stage", "from kimg", *fades, "until kimg", "batch", "G rate", "D rate"]
    header += ["shown kimg", "images/s", "time"]
    rows = [_stage_row(record, stage) for stage in record.schedule.stages()]
    body = table("The stages of the schedule, and their throughput", header, rows)
    chart = schedule_chart(record)
    if chart:
        body = f'<div class="beside">{chart}\n{body}</div>'
    return section("schedule", "Schedule", body)


def training_section(record: RunRecord) -> str:
    """Returns the curves of the ticks."""
    each = -(-len(record.rows) // _MOST_TICKS)
    text = f"{len(record.rows):,} ticks, from stats.jsonl."
    text += f" {record.lost_rows:,} more are lost." if record.lost_rows else ""
    text += f" Each point is the mean of {each} ticks of a stage." if each > 1 else ""
    if len({row["Progress/resolution"] for row in record.rows}) > 1:
        text += " Numbers above the charts are the resolutions that begin there."
    body = paragraph(text) + training_charts(record)
    return section("training", "Training", body)


def metrics_section(record: RunRecord) -> str:
    """Returns the metrics of the snapshots."""
    progress = record.progress
    if not progress.names():
        text = "Nothing is measured yet; --mode=eval measures every snapshot."
        return section("metrics", "Metrics", paragraph(text))
    names = shown_values(progress)
    best = {name: _best(record, name) for name in names}
    rows = [["real images", "", *(_number(progress.floor.get(n)) for n in names)]]
    rows = rows if progress.floor else []
    for p in progress.points:
        cells = [
            _number(p.values.get(n)) + (" (best)" if best[n] == p.kimg else "")
            for n in names
        ]
        rows.append([format_kimg(p.kimg), f"{p.resolution:g}", *cells])
    frozen = frozen_networks(record.config.model)
    titles = [title_of(name, frozen) for name in names]
    header = ["kimg", "resolution", *titles]
    caption = "Metrics of the snapshots, each under its newest settings"
    body = metric_charts(record) + table(caption, header, rows)
    return section("metrics", "Metrics", body)


def _best_values(record: RunRecord) -> Iterator[tuple[str, str, str]]:
    """Yields the best of up to two values, with the kimg of its snapshot."""
    names = [
        name
        for name in shown_values(record.progress)
        if not re.search(r"swd_\d+$", split_truncation(name)[0])
    ]
    frozen = frozen_networks(record.config.model)
    for name in [n for n in names if n not in _NEITHER_IS_BETTER][:2]:
        kimg = _best(record, name)
        values = {p.kimg: p.values.get(name) for p in record.progress.points}
        title = f"Best {title_of(name, frozen)}"
        yield title, _number(values[kimg]), f"at {format_kimg(kimg)} kimg"


def _best(record: RunRecord, name: str) -> float:
    """Returns the kimg of the snapshot with the best value; NaN if none is better."""
    if name in _NEITHER_IS_BETTER:
        return math.nan
    sign = -1 if is_higher_better(name) else 1
    measured = [p for p in record.progress.points if name in p.values]
    if record.family.RESTARTS:  # Stages are measured at resolutions of their own.
        largest = max(p.resolution for p in measured)
        measured = [p for p in measured if p.resolution == largest]
    return min(measured, key=lambda p: sign * p.values[name]).kimg


def _stage_row(record: RunRecord, stage: Stage) -> list[str]:
    schedule, r = record.schedule, stage.resolution
    fade_end, end = schedule.fade_end(stage), schedule.stage_end(stage)
    fade = [format_kimg(fade_end / 1000) if fade_end > stage.start_nimg else "no fade"]
    shown = record.rows[-1]["Progress/nimg"]
    start, until = (
        "at most " * (schedule.may_end_before and nimg > shown)
        + format_kimg(nimg / 1000)
        for nimg in (stage.start_nimg, end)
    )
    return [
        f"{r}x{r}",
        start,
        *(fade if schedule.fades else []),
        until,
        str(schedule.batch_size[r]),
        f"{schedule.g_learning_rate[r]:g}",
        f"{schedule.d_learning_rate[r]:g}",
        *_speed(record.rows, r),
    ]


def _speed(rows: Sequence[Row], resolution: int) -> list[str]:
    """Returns kimg shown at a resolution, images/s, and time including pauses."""
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
    return [format_kimg(kimg), speed, format_duration(time)]


def config_section(record: RunRecord) -> str:
    """Returns the fields that differ from configs/base.py, and all fields."""
    fields = list_fields(record.config)
    everything = table(
        "All fields of the configuration",
        ["field", "value"],
        [[name, _value(value)] for name, value in fields.items()],
    )
    body = details(f"All {len(fields)} fields", everything)
    paper = list_fields(base.get_config(record.config.family))
    rows = [
        [
            name,
            _value(value),
            _value(paper[name]) if name in paper else "no such field",
        ]
        for name, value in fields.items()
        if name not in paper or paper[name] != value
    ]
    caption = "Fields that differ from configs/base.py, the paper's recipe"
    differing = table(caption, ["field", "this run", "base"], rows)
    return section("configuration", "Configuration", differing + body)


def starts_section(record: RunRecord) -> str:
    """Returns date, devices and versions of each start of the run."""
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
    body = table("Starts of the run", header, rows)
    return section("starts", "Starts", body)


def _versions(start: Mapping[str, Any]) -> Mapping[str, Any]:
    versions = start.get("versions")
    return versions if isinstance(versions, dict) else {}


def _value(value: object) -> str:
    return repr(value) if isinstance(value, str) else str(value)
