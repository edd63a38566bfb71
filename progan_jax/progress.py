"""How the figures of a run moved while it trained, read from its own records."""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from progan_jax.runtime.logging import read_rows
from progan_jax.runtime.snapshot import parse_moment
from progan_jax.scoreboard import FLOOR_SKIP, REALS, Scoreboard

Figures = dict[str, float]
_AXES = ("Progress/nimg", "Progress/kimg", "Timing/total_hours")


@dataclass(frozen=True)
class Point:
    """One snapshot of a run.

    Attributes:
      kimg: Images shown when it was written, in thousands.
      hours: Training until then, by the run's own clock; NaN where that is lost.
      figures: By name; none where its images were not finite.
      resolution: Of its stage.
    """

    kimg: float
    hours: float
    figures: Figures
    resolution: int


@dataclass(frozen=True)
class Progress:
    """What is known of one run.

    Attributes:
      label: Names the run in figures and legends.
      points: Its measured snapshots, oldest first.
      floor: Figures of the reals, the best that can be expected.
      shown: Hours and kimg at the end of each tick.
    """

    label: str
    points: list[Point]
    floor: Figures
    shown: list[tuple[float, float]]

    def names(self) -> list[str]:
        """Returns the figures that some snapshot has."""
        return list(dict.fromkeys(n for p in self.points for n in p.figures))


def read_progress(
    workdir: Path, label: str, accept: Callable[[Mapping[str, Any]], bool]
) -> Progress:
    """Reads the records of a run.

    Args:
      workdir: Its folder; it may be empty.
      label: Its name in figures and legends.
      accept: Whether a record of the scoreboard counts.
    """
    floor: Figures = {}
    by_snapshot: dict[tuple[int, int], Figures] = {}
    for record in filter(accept, Scoreboard(workdir).records()):
        if record["snapshot"] == REALS:
            floor |= record["values"]
        elif moment := parse_moment(record["snapshot"]):
            key = record["nimg"], moment[1]
            by_snapshot.setdefault(key, {}).update(record["values"])
    rows = [
        row for row in read_rows(workdir / "stats.jsonl") if has_numbers(row, _AXES)
    ]
    hours = {row["Progress/nimg"]: row["Timing/total_hours"] for row in rows}
    points = [
        Point(nimg / 1000, hours.get(nimg, math.nan), figures, resolution)
        for (nimg, resolution), figures in sorted(by_snapshot.items())
    ]
    shown = [(row["Timing/total_hours"], row["Progress/kimg"]) for row in rows]
    return Progress(label, points, floor, shown)


def has_numbers(row: Mapping[str, Any], names: Iterable[str]) -> bool:
    """Returns whether a row of stats.jsonl has finite numbers by all these names."""
    values = [row.get(name) for name in names]
    return all(isinstance(v, int | float) and math.isfinite(v) for v in values)


def latest_settings(workdir: Path) -> Callable[[Mapping[str, Any]], bool]:
    """Returns what accepts, of each metric, the records of its newest settings.

    Those of the reals tell one setting more: which images stand in for the fakes.
    """
    records = Scoreboard(workdir).records()
    newest = {record["metric"]: _of_fakes(record) for record in records}
    return lambda record: _of_fakes(record) == newest[record["metric"]]


def _of_fakes(record: Mapping[str, Any]) -> dict[str, Any]:
    settings = record["settings"]
    return {name: v for name, v in settings.items() if name != FLOOR_SKIP}
