"""A table of the paper with our values: best snapshots, means and the order."""

import math
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any

from scipy.stats import kendalltau

from progan_jax.experiments.runs import Reduction, Run
from progan_jax.experiments.table import Row, Table
from progan_jax.files import csv_text
from progan_jax.inference.snapshot import moment_name
from progan_jax.metrics.protocols import METRICS, is_higher_better
from progan_jax.metrics.ranking import mark, ranking
from progan_jax.metrics.scoreboard import Point, Progress, read_progress


@dataclass(frozen=True)
class Outcome:
    """The result of one run.

    Attributes:
      run: The run.
      progress: The values of its snapshots.
    """

    run: Run
    progress: Progress

    def best(self, name: str) -> Point | None:
        """Returns the snapshot that is best by a value; None if none has it.

        Those of earlier stages do not compete: a classifier would find many modes in
        images too coarse to have any.
        """
        side = self.run.config.model.resolution
        final = [p for p in self.progress.points if p.resolution == side]
        measured = [p for p in final if name in p.values]
        sign = -1 if is_higher_better(name) else 1
        return min(measured, key=lambda p: sign * p.values[name], default=None)


@dataclass(frozen=True)
class Summary:
    """The result of the runs of one row.

    Attributes:
      row: The row.
      values: Mean and sample deviation over the runs, at each run's best snapshot; the
        deviation of one run is NaN.
      kimg: Mean over the runs, at those snapshots.
      hours: Mean training time of the runs.
      seeds: Number of runs that were measured.
      diverged: Number of runs that ended because updates were not finite, or have no
        snapshot with finite images.
    """

    row: Row
    values: Mapping[str, tuple[float, float]]
    kimg: float
    hours: float
    seeds: int
    diverged: int


def read_outcome(run: Run, reduction: Reduction) -> Outcome:
    """Reads a run's values for the numbers of images that this table uses."""

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
    by = choosing_value(table, own)
    best = [point for o in own if (point := o.best(by)) is not None]
    names = dict.fromkeys(name for point in best for name in point.values)
    hours = [o.progress.shown[-1][0] for o in own if o.progress.shown]
    ended = [o for o in own if o.run.has_diverged() or not o.best(by)]
    return Summary(
        row=row,
        values={n: _spread([p.values[n] for p in best]) for n in names},
        kimg=fmean(p.kimg for p in best) if best else math.nan,
        hours=fmean(hours) if hours else math.nan,
        seeds=len(own),
        diverged=sum(o.run.has_diverged() or o.run.is_finished() for o in ended),
    )


def choosing_value(table: Table, outcomes: Sequence[Outcome]) -> str:
    """Returns the value that chooses snapshots: the table's, if it was measured."""
    measured = {name for o in outcomes for name in o.progress.names()}
    return table.best if table.best in measured else table.fallback


def best_snapshot(run: Run, table: Table, reduction: Reduction) -> str | None:
    """Returns the name of the snapshot that counts; None if none was measured."""
    outcome = read_outcome(run, reduction)
    best = outcome.best(choosing_value(table, [outcome]))
    return best and moment_name(round(best.kimg * 1000), best.resolution)


def mean_floor(outcomes: Sequence[Outcome]) -> dict[str, float]:
    """Returns the values of real images, averaged over the runs that have them."""
    names = dict.fromkeys(name for o in outcomes for name in o.progress.floor)
    floors = [o.progress.floor for o in outcomes]
    return {n: fmean(f[n] for f in floors if n in f) for n in names}


def order_agreement(summaries: Sequence[Summary], name: str) -> float | None:
    """Returns Kendall's tau between our order of the rows and the published one.

    Returns:
      From -1 (reversed) to 1 (the same); None with fewer than two rows in both.
    """
    pairs = [
        (s.values[name][0], _mean_and_deviation(s.row.published[name])[0])
        for s in summaries
        if name in s.values and name in s.row.published
    ]
    if len(pairs) < 2:
        return None
    ours, published = zip(*pairs, strict=True)
    return float(kendalltau(ours, published).statistic)


def _spread(values: Sequence[float]) -> tuple[float, float]:
    return fmean(values), stdev(values) if len(values) > 1 else math.nan


def _mean_and_deviation(value: float | tuple[float, float]) -> tuple[float, float]:
    return value if isinstance(value, tuple) else (value, math.nan)


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
    frozen: Collection[str] = (),
    ranked: bool = True,
) -> str:
    """Returns the page of a table.

    Args:
      name: The table's.
      table: The table.
      summaries: Those of its rows that were run.
      floor: Values of real images.
      missing: Names of values whose weights are missing.
      heading: Lines about the recipes and the machine.
      frozen: Names of the frozen networks of all runs' discriminators.
      ranked: Whether such rows get an order, as those of the same images may.
    """
    titles = [
        c.removesuffix("_mean").replace("_", " ") + mark(c, frozen)
        for c in table.columns
    ]
    header = ["row", "", *titles, *_COLUMNS]
    lines = [f"# {name}: {table.title}", "", *heading, ""]
    lines += [_line(header), _line(["---"] * len(header))]
    for summary in summaries:
        lines += [_line(cells) for cells in _rows(summary, table.columns, missing)]
    if floor:
        lines.append(_outside_row("real images", floor, table.columns))
    for title, published in table.others.items():
        lines.append(_outside_row(f"{title}, published", published, table.columns))
    lines += ["", *_footnotes(table, summaries, missing)]
    if frozen and ranked:
        lines += ["", *_order(summaries, frozen)]
    return "\n".join(lines) + "\n"


def to_csv(table: Table, summaries: Sequence[Summary]) -> str:
    """Returns a line for each row and origin: "ours", or where it was published."""
    spread = [f"{f}{end}" for f in table.columns for end in ("", "_std")]
    columns = ["row", "origin", *spread, *_COLUMNS, "diverged"]
    rows: list[Mapping[str, object]] = []
    for s in summaries:
        shared = {"row": s.row.name}
        ours = {name: getattr(s, name) for name in (*_COLUMNS, "diverged")}
        rows.append(shared | {"origin": table.source} | _flat(s.row.published))
        rows.append(shared | {"origin": "ours"} | _flat(s.values) | ours)
    for title, published in table.others.items():
        rows.append({"row": title, "origin": table.source} | _flat(published))
    return csv_text([columns, *([row.get(c) for c in columns] for row in rows)])


def _rows(
    summary: Summary, columns: Sequence[str], missing: frozenset[str]
) -> Iterator[list[str]]:
    """Yields the published row, if there is one, and ours."""
    row = summary.row
    if row.published:
        published = [_cell(row.published.get(c), c) for c in columns]
        title = f"{row.title}, published".lstrip(", ")
        yield [row.name, title, *published, *_NOTHING]
    ours = [
        "no weights" if c in missing else _cell(summary.values.get(c), c)
        for c in columns
    ]
    seeds = str(summary.seeds)
    if summary.diverged:
        seeds += f", {summary.diverged} diverged"
    kimg = "" if math.isnan(summary.kimg) else f"{summary.kimg:,.1f}"
    hours = "" if math.isnan(summary.hours) else f"{summary.hours:,.2f}"
    yield [row.name, f"{row.title}, ours".lstrip(", "), *ours, kimg, hours, seeds]


def _outside_row(
    title: str,
    values: Mapping[str, float | tuple[float, float]],
    columns: Sequence[str],
) -> str:
    return _line(["", title, *(_cell(values.get(c), c) for c in columns), *_NOTHING])


def _cell(value: float | tuple[float, float] | None, column: str) -> str:
    if value is None:
        return ""
    mean, deviation = _mean_and_deviation(value)
    digits = _DIGITS.get(column, 2)
    spread = "" if math.isnan(deviation) else f" ± {deviation:.{digits}f}"
    return f"{mean:.{digits}f}{spread}"


def _footnotes(
    table: Table, summaries: Sequence[Summary], missing: frozenset[str]
) -> Iterator[str]:
    best = table.fallback if table.best in missing else table.best
    yield (
        f"Published: {table.source}. Ours: mean over the seeds, and sample deviation, "
        f"at each run's best snapshot of the final resolution by {best}; kimg is "
        "when that was, hours the training time of a run."
    )
    agreement = order_agreement(summaries, table.fallback)
    if agreement is not None:
        yield ""
        yield (
            f"Kendall's tau between our order of the rows by {table.fallback} and the "
            f"published one: {agreement:.2f} (1 is the same, -1 the reverse)"
            f"{_other_levels(summaries)}."
        )


def _order(summaries: Sequence[Summary], frozen: Collection[str]) -> Iterator[str]:
    """Yields the order of the rows by values that no discriminator has learnt for."""
    values = [v for v in ranking(frozen) if all(v in s.values for s in summaries)]
    if not values:
        yield f"No order of the rows: it takes {' or '.join(ranking(frozen))} of all."
        return
    best = sorted(summaries, key=lambda s: [s.values[v][0] for v in values])
    yield (
        f"Order of the rows by {', then '.join(values)}: "
        f"{', '.join(s.row.name for s in best)}. Columns that share their pretraining "
        f"with a discriminator's frozen networks ({', '.join(frozen)}) give none."
    )


def _other_levels(summaries: Sequence[Summary]) -> str:
    """Returns a warning where our averages are over fewer levels than published."""
    for summary in summaries:
        published = [f for f in summary.row.published if re.fullmatch(r"swd_\d+", f)]
        absent = [f for f in published if f not in summary.values]
        if 0 < len(absent) < len(published):
            names = ", ".join(f.removeprefix("swd_") for f in absent)
            return f"; ours is without the levels {names} of the published average"
    return ""


def _flat(values: Mapping[str, float | tuple[float, float]]) -> dict[str, float]:
    cells: dict[str, float] = {}
    for name, value in values.items():
        cells[name], deviation = _mean_and_deviation(value)
        if not math.isnan(deviation):
            cells[f"{name}_std"] = deviation
    return cells


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
