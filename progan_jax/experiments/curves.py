"""Plots of several runs: values of metrics and images shown against time."""

import re
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from progan_jax.display.charts import Points, draw_lines, use_logarithm
from progan_jax.metrics.metric import split_truncation
from progan_jax.metrics.ranking import mark
from progan_jax.metrics.scoreboard import Point, Progress

_TIMES = ("kimg", "hours")

_LEVEL = re.compile(r"swd_\d+")

_SHARE = re.compile(r"classifier_share_\d+")


def draw_values(
    path: Path,
    runs: Sequence[Progress],
    names: Sequence[str],
    frozen: Collection[str] = (),
) -> None:
    """Draws a column for each value: above against kimg, below against hours.

    Args:
      path: PNG file; not written if no run has any of the values.
      runs: Those of one label share a colour.
      names: Names of the values, as the metrics give them.
      frozen: Names of the frozen networks of all runs' discriminators.
    """
    measured = {name for run in runs for name in run.names()}
    names = [name for name in names if name in measured]
    if not names:
        return
    figure, axes = _subplots(2, len(names))
    for column, name in enumerate(names):
        for row, time in enumerate(_TIMES):
            axis = axes[row, column]
            draw_lines(axis, [(run.label, _points(run, name, time)) for run in runs])
            floors = [run.floor[name] for run in runs if name in run.floor]
            if floors:
                floor = float(np.mean(floors))
                axis.axhline(floor, color="grey", linestyle=":", label="real images")
            title = name.removesuffix("_mean").replace("_", " ")
            axis.set(xlabel=time, ylabel=title + mark(name, frozen))
    axes[0, 0].legend(fontsize="small")
    figure.savefig(path)


def draw_levels(path: Path, runs: Sequence[Progress]) -> None:
    """Draws the sliced Wasserstein distance of each level, a column for each label.

    By such a plot the paper shows how growing converges: all levels at once without
    it, one after the other with it (Fig. 4).

    Args:
      path: PNG file; not written if no run has any level.
      runs: Those of one label share a column.
    """
    names = {name for run in runs for name in run.names() if _LEVEL.fullmatch(name)}
    sides = sorted((int(name.removeprefix("swd_")) for name in names), reverse=True)
    columns = [run.label for run in runs if names & set(run.names())]
    columns = list(dict.fromkeys(columns))
    if not columns:
        return
    figure, axes = _subplots(2, len(columns), sharex="row", sharey=True)
    for column, label in enumerate(columns):
        for row, time in enumerate(_TIMES):
            axis = axes[row, column]
            lines = [
                (f"{side}x{side}", _points(run, f"swd_{side}", time))
                for side in sides
                for run in runs
                if run.label == label
            ]
            draw_lines(axis, lines)
            axis.set(title=label, xlabel=time, ylabel="SWD x 1e3")
    use_logarithm(axes[0, 0])
    axes[0, 0].legend(fontsize="small")
    figure.savefig(path)


def draw_throughput(path: Path, runs: Sequence[Progress]) -> None:
    """Draws images shown against training time, which shows what growing saves."""
    figure, axes = _subplots(1, 1)
    axis = axes[0, 0]
    draw_lines(axis, [(run.label, [(0, 0), *run.shown]) for run in runs], marker="")
    axis.set(xlabel="hours", ylabel="kimg")
    axis.legend(fontsize="small")
    figure.savefig(path)


def draw_classes(path: Path, runs: Sequence[Progress]) -> None:
    """Draws the shares of classes in the newest classified images of each run.

    Args:
      path: PNG file; not written if no run's images were classified.
      runs: To be compared.
    """
    classified = [(run, shares) for run in runs if (shares := _shares(run))]
    if not classified:
        return
    figure, axes = _subplots(1, 1)
    axis, width = axes[0, 0], 0.8 / len(classified)
    for number, (run, shares) in enumerate(classified):
        left = np.arange(len(shares)) + width * number
        axis.bar(left, [100 * s for s in shares], width, align="edge", label=run.label)
    axis.set(xlabel="class", ylabel="% of images")
    axis.set_xticks(np.arange(len(shares)) + 0.4, range(len(shares)))
    axis.legend(fontsize="small")
    figure.savefig(path)


def draw_truncation(path: Path, runs: Sequence[Progress]) -> None:
    """Draws values against truncation, and recall against precision.

    Each run's are those of its newest snapshot that was measured under several.

    Args:
      path: PNG file; not written if there is none.
      runs: To be compared.
    """
    curves = [(run.label, by_truncation(run)) for run in runs]
    curves = [(label, values) for label, values in curves if values]
    if not curves:
        return
    names = list(dict.fromkeys(name for _, values in curves for name in values))
    traded = [(label, _traded(values)) for label, values in curves]
    both = any(points for _, points in traded)
    figure, axes = _subplots(1, len(names) + both)
    for axis, name in zip(axes[0], names, strict=False):
        draw_lines(axis, [(label, values.get(name, [])) for label, values in curves])
        title = name.removesuffix("_mean").replace("_", " ")
        axis.set(xlabel="truncation psi", ylabel=title)
    if both:
        draw_lines(axes[0, -1], traded)
        axes[0, -1].set(xlabel="precision", ylabel="recall")
    axes[0, 0].legend(fontsize="small")
    figure.savefig(path)


def by_truncation(run: Progress) -> dict[str, list[tuple[float, float]]]:
    """Returns (psi, value) by name, of the newest snapshot that has several.

    Deviations and shares of classes are left out.
    """
    for point in reversed(run.points):
        curves = _split_by_truncation(point)
        several = {name: sorted(c) for name, c in curves.items() if len(c) > 1}
        if several:
            return several
    return {}


def _split_by_truncation(point: Point) -> dict[str, list[tuple[float, float]]]:
    curves: dict[str, list[tuple[float, float]]] = {}
    for name, value in point.values.items():
        name, psi = split_truncation(name)
        if not name.endswith("_std") and "_share_" not in name:
            curves.setdefault(name, []).append((psi, value))
    return curves


def _traded(curves: dict[str, list[tuple[float, float]]]) -> Points:
    """Returns (precision, recall) in the order of the truncations."""
    precision, recall = (dict(curves.get(n, [])) for n in ("precision", "recall"))
    return [(p, recall[psi]) for psi, p in precision.items() if psi in recall]


def _subplots(rows: int, columns: int, **options: Any) -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(1.5 + 4 * columns, 0.5 + 3.5 * rows), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False, **options)


def _points(run: Progress, name: str, time: str) -> Points:
    return [(getattr(p, time), p.values[name]) for p in run.points if name in p.values]


def _shares(run: Progress) -> list[float]:
    """Returns the shares of the newest snapshot that has any."""
    for point in reversed(run.points):
        shares = [v for name, v in point.values.items() if _SHARE.fullmatch(name)]
        if shares:
            return shares
    return []
