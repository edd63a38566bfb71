"""A table's curves: figures against images shown and against training time.

Drawn by Matplotlib, which the extra `plots` installs.
"""

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from progan_jax.experiments.results import Outcome, Point
from progan_jax.experiments.tables import Table
from progan_jax.runtime.logging import read_rows


def can_draw() -> bool:
    """Returns whether Matplotlib is there."""
    return importlib.util.find_spec("matplotlib") is not None


def draw_curves(path: Path, table: Table, outcomes: Sequence[Outcome]) -> None:
    """Draws a column for each figure: above against kimg, below against hours.

    Args:
      path: PNG file.
      table: Whose figures these are.
      outcomes: Of its runs.
    """
    from matplotlib.figure import Figure

    figures = [f for f in table.figures if _measured(outcomes, f)]
    if not figures:
        return
    size = (1 + 4 * len(figures), 7)
    canvas = Figure(figsize=size, layout="constrained")
    axes = canvas.subplots(2, len(figures), squeeze=False)
    for column, figure in enumerate(figures):
        for row, time in enumerate(("kimg", "hours")):
            _draw(axes[row, column], outcomes, figure, time)
    axes[0, 0].legend(fontsize="small")
    canvas.savefig(path, dpi=100)


def draw_throughput(path: Path, outcomes: Sequence[Outcome]) -> None:
    """Draws images shown against training time, which shows what growing saves."""
    from matplotlib.figure import Figure

    canvas = Figure(figsize=(6, 4), layout="constrained")
    axis = canvas.subplots()
    for outcome in outcomes:
        rows = read_rows(outcome.run.workdir / "stats.jsonl")
        hours = [row["Timing/total_hours"] for row in rows]
        axis.plot(hours, [row["Progress/kimg"] for row in rows], label=_label(outcome))
    axis.set(xlabel="hours", ylabel="kimg")
    axis.legend(fontsize="small")
    canvas.savefig(path, dpi=100)


def _draw(axis: Any, outcomes: Sequence[Outcome], figure: str, time: str) -> None:
    colours: dict[str, str] = {}
    for outcome in outcomes:
        points = [p for p in outcome.points if figure in p.figures]
        name = outcome.run.row.name
        (drawn,) = axis.plot(
            [getattr(p, time) for p in points],
            [p.figures[figure] for p in points],
            marker=".",
            color=colours.get(name),
            label=None if name in colours else name,
        )
        colours[name] = drawn.get_color()
    floors = [o.floor[figure] for o in outcomes if figure in o.floor]
    if floors:
        axis.axhline(float(np.mean(floors)), color="grey", linestyle=":", label="reals")
    axis.set(xlabel=time, ylabel=figure.removesuffix("_mean").replace("_", " "))


def _measured(outcomes: Sequence[Outcome], figure: str) -> list[Point]:
    return [p for o in outcomes for p in o.points if figure in p.figures]


def _label(outcome: Outcome) -> str:
    return f"{outcome.run.row.name}, seed {outcome.run.seed}"
