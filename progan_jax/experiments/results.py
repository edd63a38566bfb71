"""A table of the paper with ours beside: best snapshots, means and the order."""

import csv
import io
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any

from scipy.stats import kendalltau

from progan_jax.experiments.runs import Reduction, Run
from progan_jax.experiments.tables import PAPER, Row, Table
from progan_jax.metrics.protocols import METRICS, is_higher_better
from progan_jax.metrics.scoreboard import (
    Point,
    Progress,
    read_progress,
)


@dataclass(frozen=True)
class Outcome:
    """What one run came to.

    Attributes:
      run: The run.
      progress: Its figures, by snapshot.
    """

    run: Run
    progress: Progress

    def best(self, figure: str) -> Point | None:
        """Returns the snapshot that is best by a figure; None if none has it.

        Those of earlier stages do not compete: a classifier finds many modes in images
        that are too coarse to have any.
        """
        side = self.run.config.model.resolution
        final = [p for p in self.progress.points if p.resolution == side]
        measured = [p for p in final if figure in p.figures]
        sign = -1 if is_higher_better(figure) else 1
        return min(measured, key=lambda p: sign * p.figures[figure], default=None)


@dataclass(frozen=True)
class Summary:
    """What the runs of one row came to.

    Attributes:
      row: The row.
      figures: Mean and sample deviation over the runs, at each run's best snapshot; the
        deviation of one run is NaN.
      kimg: Mean of when those snapshots were written.
      hours: Mean of what each run's training has taken, by its own clock.
      seeds: Runs that were measured.
      diverged: Runs that ended for updates that were not finite, or had no snapshot
        with finite images.
    """

    row: Row
    figures: Mapping[str, tuple[float, float]]
    kimg: float
    hours: float
    seeds: int
    diverged: int


def read_outcome(run: Run, reduction: Reduction) -> Outcome:
    """Reads a run's figures, those of the numbers of images that this table takes."""

    def accept(record: Mapping[str, Any]) -> bool:
        metric = record["metric"]
        if metric not in METRICS:
            return False
        wanted = reduction.num_images(metric) or METRICS[metric].num_images
        return record["settings"].get("num_images") == wanted

    return Outcome(run, read_progress(run.workdir, run.row.name, accept))


def summarise(row: Row, outcomes: Sequence[Outcome], table: Table) -> Summary:
    """Returns a row of the table, from its own runs among the outcomes."""
    own = [outcome for outcome in outcomes if outcome.run.row == row]
    by = choosing_figure(table, own)
    best = [point for o in own if (point := o.best(by)) is not None]
    names = dict.fromkeys(name for point in best for name in point.figures)
    hours = [o.progress.shown[-1][0] for o in own if o.progress.shown]
    ended = [o for o in own if o.run.has_diverged() or not o.best(by)]
    return Summary(
        row=row,
        figures={n: _spread([p.figures[n] for p in best]) for n in names},
        kimg=fmean(p.kimg for p in best) if best else math.nan,
        hours=fmean(hours) if hours else math.nan,
        seeds=len(own),
        diverged=sum(o.run.has_diverged() or o.run.is_finished() for o in ended),
    )


def choosing_figure(table: Table, outcomes: Sequence[Outcome]) -> str:
    """Returns the figure that chooses snapshots: the table's, if it was measured."""
    measured = {name for o in outcomes for name in o.progress.names()}
    return table.best if table.best in measured else table.fallback


def mean_floor(outcomes: Sequence[Outcome]) -> dict[str, float]:
    """Returns the figures of the reals, averaged over the runs that have them."""
    names = dict.fromkeys(name for o in outcomes for name in o.progress.floor)
    floors = [o.progress.floor for o in outcomes]
    return {n: fmean(f[n] for f in floors if n in f) for n in names}


def order_agreement(summaries: Sequence[Summary], figure: str) -> float | None:
    """Returns Kendall's tau between our order of the rows and the published one.

    Returns:
      From -1 (reversed) to 1 (the same); None with fewer than two rows in both.
    """
    pairs = [
        (s.figures[figure][0], _first(s.row.published[figure]))
        for s in summaries
        if figure in s.figures and figure in s.row.published
    ]
    if len(pairs) < 2:
        return None
    ours, published = zip(*pairs, strict=True)
    return float(kendalltau(ours, published).statistic)


def _spread(values: Sequence[float]) -> tuple[float, float]:
    return fmean(values), stdev(values) if len(values) > 1 else math.nan


def _first(value: float | tuple[float, float]) -> float:
    return value[0] if isinstance(value, tuple) else value


_NO_WEIGHTS = "no weights"

_COLUMNS = ("kimg", "hours", "seeds")

_NOTHING = [""] * len(_COLUMNS)

_DIGITS = {"ms_ssim": 4, "modes_found": 1}


def to_markdown(
    name: str,
    table: Table,
    summaries: Sequence[Summary],
    floor: Mapping[str, float],
    missing: frozenset[str],
    heading: Sequence[str],
) -> str:
    """Returns the page of a table.

    Args:
      name: Of the table.
      table: It.
      summaries: Of its rows that were run.
      floor: Figures of the reals.
      missing: Figures whose weights are not at hand.
      heading: Lines on what was run, and on what.
    """
    figures = [*table.figures]
    header = ["row", "", *_column_titles(figures), *_COLUMNS]
    lines = [f"# {name}: {table.title}", "", *heading, ""]
    lines += [_line(header), _line(["---"] * len(header))]
    for summary in summaries:
        lines += [_line(cells) for cells in _rows(summary, figures, missing)]
    if floor:
        lines.append(_outside_row("reals in place of fakes", floor, figures))
    for title, published in table.others.items():
        lines.append(_outside_row(f"{title}, published", published, figures))
    lines += ["", *_footnotes(table, summaries, missing)]
    return "\n".join(lines) + "\n"


def to_csv(table: Table, summaries: Sequence[Summary]) -> str:
    """Returns a line for each row and origin: "ours", or where it was published."""
    buffer = io.StringIO()
    spread = [f"{f}{end}" for f in table.figures for end in ("", "_std")]
    columns = ["row", "origin", *spread, *_COLUMNS, "diverged"]
    writer = csv.DictWriter(buffer, columns, lineterminator="\n")
    writer.writeheader()
    for s in summaries:
        shared = {"row": s.row.name}
        ours = {name: getattr(s, name) for name in (*_COLUMNS, "diverged")}
        writer.writerow(shared | {"origin": table.source} | _flat(s.row.published))
        writer.writerow(shared | {"origin": "ours"} | _named(table, s) | ours)
    for title, published in table.others.items():
        writer.writerow({"row": title, "origin": table.source} | _flat(published))
    return buffer.getvalue()


def _rows(
    summary: Summary, figures: Sequence[str], missing: frozenset[str]
) -> Iterator[list[str]]:
    """Yields the published row, if there is one, and ours."""
    row = summary.row
    if row.published:
        published = [_cell(row.published.get(f), f) for f in figures]
        title = f"{row.title}, published".lstrip(", ")
        yield [row.name, title, *published, *_NOTHING]
    ours = [
        _NO_WEIGHTS if f in missing else _cell(summary.figures.get(f), f)
        for f in figures
    ]
    told = str(summary.seeds)
    if summary.diverged:
        told += f", {summary.diverged} diverged"
    kimg = "" if math.isnan(summary.kimg) else f"{summary.kimg:,.1f}"
    hours = "" if math.isnan(summary.hours) else f"{summary.hours:,.2f}"
    yield [row.name, f"{row.title}, ours".lstrip(", "), *ours, kimg, hours, told]


def _outside_row(
    title: str,
    values: Mapping[str, float | tuple[float, float]],
    figures: Sequence[str],
) -> str:
    return _line(["", title, *(_cell(values.get(f), f) for f in figures), *_NOTHING])


def _cell(value: float | tuple[float, float] | None, figure: str) -> str:
    if value is None:
        return ""
    mean, deviation = value if isinstance(value, tuple) else (value, math.nan)
    digits = _DIGITS.get(figure, 2)
    spread = "" if math.isnan(deviation) else f" ± {deviation:.{digits}f}"
    return f"{mean:.{digits}f}{spread}"


def _column_titles(figures: Sequence[str]) -> Iterator[str]:
    for figure in figures:
        yield figure.removesuffix("_mean").replace("_", " ")


def _footnotes(
    table: Table, summaries: Sequence[Summary], missing: frozenset[str]
) -> Iterator[str]:
    best = table.fallback if table.best in missing else table.best
    yield (
        f"Published: {table.source}. Ours: mean over the seeds, and sample deviation, "
        f"at each run's best snapshot of the final resolution by {best}; kimg is "
        "when that was, hours what a run's training took."
    )
    agreement = order_agreement(summaries, table.fallback)
    if agreement is not None:
        yield ""
        yield (
            f"Kendall's tau between our order of the rows by {table.fallback} and that "
            f"of {PAPER}: {agreement:.2f} (1 is the same, -1 the reverse)"
            f"{_other_levels(summaries)}."
        )


def _other_levels(summaries: Sequence[Summary]) -> str:
    """Returns a warning where our averages are over fewer levels than published."""
    for summary in summaries:
        published = [f for f in summary.row.published if re.fullmatch(r"swd_\d+", f)]
        absent = [f for f in published if f not in summary.figures]
        if 0 < len(absent) < len(published):
            names = ", ".join(f.removeprefix("swd_") for f in absent)
            return f"; ours is without the levels {names} of the published average"
    return ""


def _named(table: Table, summary: Summary) -> dict[str, float]:
    return _flat({f: v for f, v in summary.figures.items() if f in table.figures})


def _flat(figures: object) -> dict[str, float]:
    values: dict[str, float] = {}
    assert isinstance(figures, dict)
    for name, value in figures.items():
        mean, deviation = value if isinstance(value, tuple) else (value, math.nan)
        values[name] = mean
        if not math.isnan(deviation):
            values[f"{name}_std"] = deviation
    return values


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
