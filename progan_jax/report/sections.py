"""What came of a run: how far it is, its stages, its curves, its figures."""

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise

from progan_jax.report import charts
from progan_jax.report.markup import facts, paragraph, section, table
from progan_jax.report.records import Row, RunRecord
from progan_jax.runtime.logging import format_duration
from progan_jax.schedule import Stage
from progan_jax.scoreboard import is_higher_better

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
    chart = charts.schedule_chart(record)
    if chart:
        body = f'<div class="beside">{chart}\n{body}</div>'
    return section("schedule", "Schedule", body)


def training_section(record: RunRecord) -> str:
    """Returns the curves of the ticks."""
    each = charts.ticks_per_point(record)
    told = f"{len(record.rows):,} ticks, from stats.jsonl."
    told += f" {record.lost_rows:,} more are lost." if record.lost_rows else ""
    told += f" Each point is the mean of {each} ticks of a stage." if each > 1 else ""
    if len({row["Progress/resolution"] for row in record.rows}) > 1:
        told += " Numbers at the top name the resolution that begins there."
    body = paragraph(told) + charts.training_charts(record)
    return section("training", "Training", body)


def metrics_section(record: RunRecord) -> str:
    """Returns the figures of the snapshots."""
    progress = record.progress
    if not progress.names():
        nothing = "Nothing is measured yet; --mode=eval measures every snapshot."
        return section("metrics", "Metrics", paragraph(nothing))
    names = charts.shown_figures(progress)
    best = {name: _best(record, name) for name in names}
    rows = [["reals", "", *(_figure(progress.floor.get(n)) for n in names)]]
    rows = rows if progress.floor else []
    for p in progress.points:
        marks = [" (best)" if best[n] == p.kimg else "" for n in names]
        cells = [
            _figure(p.figures.get(n)) + m for n, m in zip(names, marks, strict=True)
        ]
        rows.append([f"{p.kimg:,.1f}", f"{p.resolution:g}", *cells])
    header = ["kimg", "resolution", *map(charts.title_of, names)]
    caption = "Figures of the snapshots, by each metric's newest settings"
    body = charts.metric_charts(record) + table(caption, header, rows)
    return section("metrics", "Metrics", body)


def _best_figures(record: RunRecord) -> Iterator[tuple[str, str, str]]:
    """Yields the best of up to two figures, with the kimg of its snapshot."""
    names = charts.shown_figures(record.progress)
    averages = [n for n in names if not re.search(r"swd_\d+$", n)]
    for name in [n for n in averages if n not in _MORE_IS_NOT_BETTER][:2]:
        kimg = _best(record, name)
        for point in record.progress.points:
            if point.kimg == kimg:
                value = f"{point.figures[name]:.4g}"
                yield f"Best {charts.title_of(name)}", value, f"at {kimg:,.1f} kimg"


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


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"
