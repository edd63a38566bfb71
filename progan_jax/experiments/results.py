"""What the runs of a table came to: their best snapshots, means, and the order."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any

from scipy.stats import kendalltau

from progan_jax.experiments.reduction import Reduction
from progan_jax.experiments.runs import Run
from progan_jax.experiments.tables import Row, Table
from progan_jax.progress import Point, Progress, read_progress
from progan_jax.protocols import PROTOCOLS
from progan_jax.scoreboard import is_higher_better


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
        if metric not in PROTOCOLS:
            return False
        wanted = reduction.num_images(metric) or PROTOCOLS[metric].num_images
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
