"""The measured values of a run: metrics.jsonl, metrics.csv, the table, and the best."""

import json
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from progan_jax.errors import UserError, warn
from progan_jax.files import append_line, csv_text, read_records, seal, write_whole
from progan_jax.inference.snapshot import parse_moment, write_best
from progan_jax.metrics.metric import TRUNCATION
from progan_jax.metrics.protocols import is_higher_better
from progan_jax.runtime.logging import format_kimg, read_rows

REALS = "reals"

FLOOR_SKIP = "floor_skip"  # A setting that only the records of real images have.


class Scoreboard:
    """The records of a run: one for each snapshot, metric and settings.

    A record in metrics.jsonl has the snapshot's name ("reals" for real images), the
    SHA-256 of its weights, nimg, the metric, its values by name and its settings.
    metrics.csv has a row for each snapshot and settings.
    """

    def __init__(self, workdir: Path) -> None:
        """Opens the records of a run; there may be none yet."""
        self._workdir, self._path = workdir, workdir / "metrics.jsonl"

    def find(
        self, snapshot: str, digest: str, metric: str, settings: Mapping[str, Any]
    ) -> dict[str, float] | None:
        """Returns the values of these weights under these settings, or None."""
        wanted = _identity(snapshot, digest, metric, settings)
        for record in self.records():
            if {name: record.get(name) for name in wanted} == wanted:
                return record["values"]
        return None

    def add(
        self,
        snapshot: str,
        digest: str,
        nimg: int,
        metric: str,
        values: Mapping[str, float],
        settings: Mapping[str, Any],
        environment: Mapping[str, Any],
    ) -> None:
        """Appends a record, and rewrites metrics.csv."""
        record = {
            **_identity(snapshot, digest, metric, settings),
            "nimg": nimg,
            "values": dict(values),
            "environment": dict(environment),
        }
        append_line(self._path, json.dumps(seal(record)))
        self.write_csv()

    def write_csv(self) -> None:
        """Rewrites metrics.csv from the records."""
        if records := self.records():
            write_whole(self._workdir / "metrics.csv", _to_csv(records))

    def write_best(
        self, value: str, metric: str, settings: Mapping[str, Any]
    ) -> str | None:
        """Names the best snapshot by a value in snapshots/best.

        Args:
          value: Its name.
          metric: The metric that it is a value of.
          settings: Settings of the records that are compared.

        Returns:
          The snapshot's name; None if the value was not measured.
        """
        ranked = self.rank(value, metric, settings)
        if not ranked:
            return None
        best = min(ranked, key=lambda row: row[0])[2]
        write_best(self._workdir, best)
        return best

    def rank(
        self, value: str, metric: str, settings: Mapping[str, Any]
    ) -> list[tuple[float, int, str]]:
        """Returns the snapshots' values, of which lower is better, nimg, and names.

        Args are those of `write_best`. The order is that of nimg.
        """
        sign = -1 if is_higher_better(value) else 1
        found = {
            record["snapshot"]: (sign * record["values"][value], record["nimg"])
            for record in self.records()
            if record["snapshot"] != REALS
            and (record["metric"], record["settings"]) == (metric, _complete(settings))
            and not math.isnan(record["values"].get(value, math.nan))
        }
        rows = [(v, nimg, name) for name, (v, nimg) in found.items()]
        return sorted(rows, key=lambda row: row[1])

    def records(self) -> list[dict[str, Any]]:
        """Returns all records; a warning counts damaged and missing ones."""
        records, damaged = read_records(self._path, _is_whole)
        for record in records:
            record["settings"] = _complete(record["settings"])
        missing = self._count_csv_rows() - len(set(map(_csv_row, records)))
        if damaged:
            _warn_of_damage(self._path, f"{damaged} damaged line(s) are left out")
        elif missing > 0:
            _warn_of_damage(
                self._path, f"{missing} row(s) of metrics.csv are missing in it"
            )
        return records

    def _count_csv_rows(self) -> int:
        path = self._workdir / "metrics.csv"
        if not path.is_file():
            return 0
        return max(len(path.read_bytes().splitlines()) - 1, 0)


def _to_csv(records: Iterable[Mapping[str, Any]]) -> str:
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for record in records:
        snapshot, settings = _csv_row(record)
        row = rows.setdefault((snapshot, settings), {})
        row |= {
            "snapshot": snapshot,
            "kimg": record["nimg"] / 1000,
            **record["values"],
            "settings": settings,
        }
    columns = list(dict.fromkeys(name for row in rows.values() for name in row))
    columns.append(columns.pop(columns.index("settings")))
    cells = [[row.get(column) for column in columns] for row in rows.values()]
    return csv_text([columns, *cells])


def _csv_row(record: Mapping[str, Any]) -> tuple[str, str]:
    """Returns the snapshot and settings that a row of metrics.csv is for."""
    return record["snapshot"], json.dumps(record["settings"], sort_keys=True)


def _is_whole(record: Mapping[str, Any]) -> bool:
    """Returns whether a record has the fields that every reader needs."""
    values = record.get("values")
    return (
        isinstance(record.get("snapshot"), str)
        and isinstance(record.get("metric"), str)
        and isinstance(record.get("settings"), dict)
        and has_numbers(record, ["nimg"])
        and isinstance(values, dict)
        and all(isinstance(value, int | float) for value in values.values())
    )


@cache  # The records are read many times in one command.
def _warn_of_damage(path: Path, what: str) -> None:
    warn(f"{path}: {what}; --mode=eval measures again what is missing")


def _identity(
    snapshot: str, digest: str, metric: str, settings: Mapping[str, Any]
) -> dict[str, Any]:
    return {
        "snapshot": snapshot,
        "sha256": digest,
        "metric": metric,
        "settings": _complete(settings),
    }


def _complete(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Returns settings with what those of earlier versions lack; none truncated."""
    return {TRUNCATION: 1.0} | dict(settings)


def check_best(value: str, names: Iterable[str]) -> None:
    """Raises UserError if a value is not measured, or neither high nor low is best."""
    allowed = list(names)
    if value not in allowed:
        raise UserError(
            f"config.eval.best = {value!r} must be a value of config.eval.metrics of "
            f"which the highest or the lowest is best; choose from "
            f"{', '.join(allowed) or 'none: add another metric'}"
        )


def format_table(rows: Iterable[tuple[str, float, Mapping[str, float]]]) -> str:
    """Returns lines of snapshot, kimg and values, aligned in columns.

    Args:
      rows: Name, kimg and values by name.
    """
    rows = list(rows)
    names = list(dict.fromkeys(name for _, _, values in rows for name in values))
    names = [name for name in names if not name.startswith("classifier_share")]
    table = [["snapshot", "kimg", *names]]
    for snapshot, kimg, values in rows:
        cells = [f"{values[n]:.4g}" if n in values else "" for n in names]
        table.append([snapshot, "" if snapshot == REALS else format_kimg(kimg), *cells])
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = []
    for row in table:
        cells = [row[0].ljust(widths[0])]
        cells += [c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True)]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


_AXES = ("Progress/nimg", "Progress/kimg", "Timing/total_hours")


@dataclass(frozen=True)
class Point:
    """One snapshot of a run.

    Attributes:
      kimg: Number of images shown when it was written, in thousands.
      hours: Training time until then; NaN if it is unknown.
      values: Values by name; none if its images were not finite.
      resolution: Resolution of its stage.
    """

    kimg: float
    hours: float
    values: dict[str, float]
    resolution: int


@dataclass(frozen=True)
class Progress:
    """The measured values of one run.

    Attributes:
      label: Names the run in plots and legends.
      points: Its measured snapshots, oldest first.
      floor: Values of real images, the best that can be expected.
      shown: Hours and kimg at the end of each tick.
    """

    label: str
    points: list[Point]
    floor: dict[str, float]
    shown: list[tuple[float, float]]

    def names(self) -> list[str]:
        """Returns the names of the values that some snapshot has."""
        return list(dict.fromkeys(n for p in self.points for n in p.values))


def read_progress(
    workdir: Path, label: str, accept: Callable[[Mapping[str, Any]], bool]
) -> Progress:
    """Reads the records of a run.

    Args:
      workdir: Its folder; it may be empty.
      label: Its name in plots and legends.
      accept: Returns whether a record of the scoreboard is used.
    """
    floor: dict[str, float] = {}
    by_snapshot: dict[tuple[int, int], dict[str, float]] = {}
    records = filter(accept, Scoreboard(workdir).records())
    # The floor is that of the largest images that were measured.
    for record in sorted(records, key=lambda r: r["settings"].get("resolution", 0)):
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
        Point(nimg / 1000, hours.get(nimg, math.nan), values, resolution)
        for (nimg, resolution), values in sorted(by_snapshot.items())
    ]
    shown = [(row["Timing/total_hours"], row["Progress/kimg"]) for row in rows]
    return Progress(label, points, floor, shown)


def has_numbers(row: Mapping[str, Any], names: Iterable[str]) -> bool:
    """Returns whether a record has finite numbers by all these names."""
    values = [row.get(name) for name in names]
    return all(isinstance(v, int | float) and math.isfinite(v) for v in values)


def latest_settings(workdir: Path) -> Callable[[Mapping[str, Any]], bool]:
    """Returns a function that accepts the records of each metric's newest settings.

    Each truncation and each resolution has its own. Those of real images have one
    setting more: which images are measured.
    """
    records = Scoreboard(workdir).records()
    newest = {_kind(record): _of_fakes(record) for record in records}
    return lambda record: _of_fakes(record) == newest[_kind(record)]


def _kind(record: Mapping[str, Any]) -> tuple[str, Any]:
    settings = record["settings"]
    return record["metric"], (settings[TRUNCATION], settings.get("resolution"))


def _of_fakes(record: Mapping[str, Any]) -> dict[str, Any]:
    settings = record["settings"]
    return {name: v for name, v in settings.items() if name != FLOOR_SKIP}
