"""Curves of runs: figures and images against time, drawn from the runs' own records.

Drawn by Matplotlib, which the extra `plots` installs.
"""

import importlib.util
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from progan_jax.metrics.scoreboard import Progress

_TIMES = ("kimg", "hours")

_LEVEL = re.compile(r"swd_\d+")

_SHARE = re.compile(r"classifier_share_\d+")


def can_draw() -> bool:
    """Returns whether Matplotlib is there."""
    return importlib.util.find_spec("matplotlib") is not None


def draw_figures(path: Path, runs: Sequence[Progress], figures: Sequence[str]) -> None:
    """Draws a column for each figure: above against kimg, below against hours.

    Args:
      path: PNG file; not written if no run has any of the figures.
      runs: Those of one label share a colour.
      figures: By the names that the metrics give them.
    """
    there = {name for run in runs for name in run.names()}
    figures = [name for name in figures if name in there]
    if not figures:
        return
    canvas, axes = _canvas(2, len(figures))
    for column, figure in enumerate(figures):
        for row, time in enumerate(_TIMES):
            _draw_figure(axes[row, column], runs, figure, time)
    axes[0, 0].legend(fontsize="small")
    canvas.savefig(path, dpi=100)


def draw_levels(path: Path, runs: Sequence[Progress]) -> None:
    """Draws the sliced Wasserstein distance of each level, a column for each label.

    This is the figure by which the paper shows how growing converges: all levels at
    once without it, one after the other with it.

    Args:
      path: PNG file; not written if no run has any level.
      runs: Those of one label share a column.
    """
    labels = list(dict.fromkeys(run.label for run in runs if _levels([run])))
    if not labels:
        return
    canvas, axes = _canvas(2, len(labels), sharex="row", sharey=True)
    levels = _levels(runs)
    for column, label in enumerate(labels):
        own = [run for run in runs if run.label == label]
        for row, time in enumerate(_TIMES):
            axis = axes[row, column]
            for number, level in enumerate(levels):
                side = level.removeprefix("swd_")
                _draw_line(axis, own, level, time, f"C{number}", f"{side}x{side}")
            axis.set(title=label, xlabel=time, ylabel="SWD x 1e3", yscale="log")
            for ticks in ("major", "minor"):  # As 60 and not as 6 x 10^1.
                getattr(axis.yaxis, f"set_{ticks}_formatter")("{x:g}")
    axes[0, 0].legend(fontsize="small")
    canvas.savefig(path, dpi=100)


def draw_throughput(path: Path, runs: Sequence[Progress]) -> None:
    """Draws images shown against training time, which shows what growing saves."""
    canvas, axes = _canvas(1, 1)
    axis, colours = axes[0, 0], _colours(runs)
    for run in runs:
        axis.plot(*zip((0, 0), *run.shown, strict=True), color=colours[run.label])
    _name_colours(axis, colours)
    axis.set(xlabel="hours", ylabel="kimg")
    canvas.savefig(path, dpi=100)


def draw_classes(path: Path, runs: Sequence[Progress]) -> None:
    """Draws the shares of classes among each run's newest classified images.

    Args:
      path: PNG file; not written if no run's images were classified.
      runs: To be compared.
    """
    classified = [(run, shares) for run in runs if (shares := _shares(run))]
    if not classified:
        return
    canvas, axes = _canvas(1, 1)
    axis, width = axes[0, 0], 0.8 / len(classified)
    for number, (run, shares) in enumerate(classified):
        left = np.arange(len(shares)) + width * number
        axis.bar(left, [100 * s for s in shares], width, align="edge", label=run.label)
    axis.set(xlabel="class", ylabel="% of images")
    axis.set_xticks(np.arange(len(shares)) + 0.4, range(len(shares)))
    axis.legend(fontsize="small")
    canvas.savefig(path, dpi=100)


def _draw_figure(axis: Any, runs: Sequence[Progress], figure: str, time: str) -> None:
    for label, colour in _colours(runs).items():
        own = [run for run in runs if run.label == label]
        _draw_line(axis, own, figure, time, colour, label)
    floors = [run.floor[figure] for run in runs if figure in run.floor]
    if floors:
        axis.axhline(float(np.mean(floors)), color="grey", linestyle=":", label="reals")
    axis.set(xlabel=time, ylabel=figure.removesuffix("_mean").replace("_", " "))


def _draw_line(
    axis: Any, runs: Sequence[Progress], figure: str, time: str, colour: str, name: str
) -> None:
    """Draws one line a run, all in one colour, of which the first has the name."""
    for number, run in enumerate(runs):
        points = [p for p in run.points if figure in p.figures]
        axis.plot(
            [getattr(p, time) for p in points],
            [p.figures[figure] for p in points],
            marker=".",
            color=colour,
            label=None if number else name,
        )


def _canvas(rows: int, columns: int, **options: Any) -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    canvas = Figure(figsize=(1.5 + 4 * columns, 0.5 + 3.5 * rows), layout="constrained")
    return canvas, canvas.subplots(rows, columns, squeeze=False, **options)


def _colours(runs: Sequence[Progress]) -> dict[str, str]:
    labels = dict.fromkeys(run.label for run in runs)
    return {label: f"C{number % 10}" for number, label in enumerate(labels)}


def _name_colours(axis: Any, colours: dict[str, str]) -> None:
    from matplotlib.lines import Line2D

    lines = [Line2D([], [], color=colour) for colour in colours.values()]
    axis.legend(lines, list(colours), fontsize="small")


def _levels(runs: Sequence[Progress]) -> list[str]:
    names = {name for run in runs for name in run.names() if _LEVEL.fullmatch(name)}
    return sorted(names, key=lambda name: -int(name.removeprefix("swd_")))


def _shares(run: Progress) -> list[float]:
    """Returns the shares of the newest snapshot that has any."""
    for point in reversed(run.points):
        shares = [v for name, v in point.figures.items() if _SHARE.fullmatch(name)]
        if shares:
            return shares
    return []
