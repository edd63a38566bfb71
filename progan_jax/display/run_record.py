"""Records of a run, as its report needs them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from statistics import fmean
from typing import Any

from progan_jax.display.charts import LARGEST
from progan_jax.errors import UserError
from progan_jax.inference.classes import one_line
from progan_jax.inference.snapshot import list_snapshots, read_info
from progan_jax.metrics.scoreboard import (
    Point,
    Progress,
    has_numbers,
    latest_settings,
    read_progress,
)
from progan_jax.models.families import FAMILIES, Family
from progan_jax.runtime.logging import read_rows
from progan_jax.runtime.newest import read_newest
from progan_jax.training.config import make_schedule
from progan_jax.training.schedule import Schedule, Stage
from progan_jax.training.workdir import read_config, read_record

Row = Mapping[str, Any]


# Scalars of every tick.
_NEEDED = (
    "Progress/nimg",
    "Progress/kimg",
    "Progress/resolution",
    "Progress/alpha",
    "Timing/total_sec",
    "Timing/total_hours",
    "Timing/sec_per_tick",
    "Timing/img_per_sec",
)


@dataclass(frozen=True)
class RunRecord:
    """A run as recorded in its folder.

    Attributes:
      workdir: The folder.
      config: Configuration of the last start.
      starts: Date, versions, commit and devices of each start.
      rows: Rows of stats.jsonl, one for each tick; at least one.
      schedule: As the configuration plans it, after the stages that have begun if they
        may end at a plateau.
      progress: Values of the snapshots, under the newest settings of each metric; those
        of the ticks if nothing else was measured.
    """

    workdir: Path
    config: Any
    starts: Sequence[Mapping[str, Any]]
    rows: Sequence[Row]
    schedule: Schedule
    progress: Progress

    @property
    def family(self) -> Family:
        """The family of the networks."""
        return FAMILIES[self.config.family]

    @property
    def name(self) -> str:
        """Name and resolution of the image set."""
        side = self.config.model.resolution
        return f"{self.config.data.name or 'unnamed'}, {side}x{side}"

    @property
    def row_classes(self) -> Sequence[str]:
        """Classes of the grids' rows, by name or number; none if rows are mixed."""
        newest = list_snapshots(self.workdir)[-1:]
        if not self.config.train.get("grid_by_class") or not newest:
            return ()
        try:
            data = read_info(newest[0]).get("dataset", {})
        except UserError:
            return ()
        names = data.get("class_names") or range(data.get("num_classes") or 0)
        return [one_line(str(name)) for name in names]

    @property
    def lost_rows(self) -> int:
        """The number of ticks whose rows are lost."""
        newest = read_newest(self.workdir / "checkpoints") or 0
        shown = max(newest, self.rows[-1]["Progress/nimg"])
        return max(self.schedule.ticks_until(shown) - len(self.rows), 0)

    @property
    def is_finished(self) -> bool:
        """Whether the schedule has ended."""
        return self.rows[-1]["Progress/nimg"] >= self.schedule.end_nimg()


def read_run(workdir: Path) -> RunRecord:
    """Reads the records of a run.

    Args:
      workdir: Its folder.

    Raises:
      UserError: if the folder is not a run's, or no tick of the run has ended.
    """
    config = read_config(workdir, "RUN")
    starts = read_record(workdir, "RUN")["starts"]
    rows = [_finite(row) for row in read_rows(workdir / "stats.jsonl")]
    rows = [row for row in rows if has_numbers(row, _NEEDED)]
    if not rows:
        raise UserError(
            f"RUN={workdir}: its stats.jsonl has no tick yet; let the run train "
            "until the end of one"
        )
    progress = read_progress(workdir, workdir.name, latest_settings(workdir))
    if not progress.points:
        points = list(_measured_ticks(rows))
        progress = Progress(progress.label, points, progress.floor, progress.shown)
    schedule = make_schedule(config)
    if FAMILIES[config.family].RESTARTS:
        last = rows[-1]
        ended = last["Progress/resolution"] == config.model.resolution and last.get(
            "Progress/plateau"
        )
        ended_nimg = int(last["Progress/nimg"]) if ended else 0
        recorded = tuple(_begun(rows))
        schedule = replace(schedule, recorded=recorded, ended_nimg=ended_nimg)
    return RunRecord(workdir, config, starts, rows, schedule, progress)


def _begun(rows: Sequence[Row]) -> Iterator[Stage]:
    """Yields the stages that the ticks belong to.

    The configuration does not say where a plateau has ended one.
    """
    start = 0
    for side, ticks in groupby(rows, lambda row: row["Progress/resolution"]):
        yield Stage(int(side), start, start)
        start = int([*ticks][-1]["Progress/nimg"])


def condense(rows: Sequence[Row], most: int) -> list[dict[str, float | None]]:
    """Returns up to about `most` rows, each the mean of some consecutive ones.

    The kimg of a mean is that of its last row, and no mean spans two stages.
    """
    size = -(-len(rows) // most)
    condensed = []
    for _, stage in groupby(rows, lambda row: row["Progress/resolution"]):
        of_stage = list(stage)
        groups = (of_stage[i : i + size] for i in range(0, len(of_stage), size))
        condensed += map(_mean, groups)
    return condensed


def _mean(rows: Sequence[Row]) -> dict[str, float | None]:
    means: dict[str, float | None] = {}
    for name in dict.fromkeys(name for row in rows for name in row):
        values = [row[name] for row in rows if row.get(name) is not None]
        means[name] = fmean(values) if values else None
    return means | {"Progress/kimg": rows[-1]["Progress/kimg"]}


def _measured_ticks(rows: Sequence[Row]) -> Sequence[Point]:
    points = []
    for row in rows:
        values = {
            name.removeprefix("Metrics/"): value
            for name, value in row.items()
            if name.startswith("Metrics/") and value is not None
        }
        if values:
            kimg, hours = row["Progress/kimg"], row["Timing/total_hours"]
            points.append(Point(kimg, hours, values, row["Progress/resolution"]))
    return points


def _finite(row: Row) -> Row:
    """Returns a row with None for values that are no numbers, or too large."""
    return {
        name: value if isinstance(value, int | float) and abs(value) < LARGEST else None
        for name, value in row.items()
    }
