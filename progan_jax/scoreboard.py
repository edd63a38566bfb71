"""What was measured of a run: metrics.jsonl, metrics.csv, the table, and the best."""

import csv
import io
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from progan_jax.errors import UserError
from progan_jax.files import write_whole
from progan_jax.runtime.snapshot import BEST

REALS = "reals"
# Figures of which more is better; of all others that may be asked for, less is.
_HIGHER = ("inception_score", "precision", "recall", "classifier_score")
# Neither way: the nearer to the reals' own, the better.
_NEITHER = ("ms_ssim", "classifier_share")


class Scoreboard:
    """The records of a run: one for each snapshot, metric and settings.

    A record in metrics.jsonl has the snapshot's name ("reals" for the floor), nimg, the
    metric, its figures by name and its settings. metrics.csv has a row for each
    snapshot and settings.
    """

    def __init__(self, workdir: Path) -> None:
        """Reads what is there; broken lines, as of a kill, are left out."""
        self._workdir, self._path = workdir, workdir / "metrics.jsonl"
        self._records: list[dict[str, Any]] = []
        lines = self._path.read_text().splitlines() if self._path.exists() else []
        for line in lines:
            try:
                self._records.append(json.loads(line))
            except ValueError:
                continue

    def find(
        self, snapshot: str, metric: str, settings: Mapping[str, Any]
    ) -> dict[str, float] | None:
        """Returns the figures that were measured under these settings, or None."""
        for record in self._records:
            named = record["snapshot"] == snapshot and record["metric"] == metric
            if named and record["settings"] == settings:
                return record["values"]
        return None

    def add(
        self,
        snapshot: str,
        nimg: int,
        metric: str,
        values: Mapping[str, float],
        settings: Mapping[str, Any],
        environment: Mapping[str, Any],
    ) -> None:
        """Writes a record, and metrics.csv anew."""
        record = {
            "snapshot": snapshot,
            "nimg": nimg,
            "metric": metric,
            "values": dict(values),
            "settings": dict(settings),
            "environment": dict(environment),
        }
        self._records.append(record)
        lines = (json.dumps(record) + "\n" for record in self._records)
        write_whole(self._path, "".join(lines))
        write_whole(self._workdir / "metrics.csv", self._to_csv())

    def write_best(self, figure: str) -> str | None:
        """Names the snapshot with the best value of a figure in snapshots/best.

        Records of other settings than the newest one's are left aside.

        Returns:
          Its name; None if the figure was not measured.
        """
        with_figure = [
            record
            for record in self._records
            if record["snapshot"] != REALS and figure in record["values"]
        ]
        if not with_figure:
            return None
        newest = with_figure[-1]["settings"]
        sign = -1 if figure.startswith(_HIGHER) else 1
        best = min(
            (record for record in with_figure if record["settings"] == newest),
            key=lambda record: sign * record["values"][figure],
        )
        write_whole(self._workdir / "snapshots" / BEST, best["snapshot"] + "\n")
        return best["snapshot"]

    def _to_csv(self) -> str:
        rows: dict[tuple[str, str], dict[str, Any]] = {}
        for record in self._records:
            settings = json.dumps(record["settings"], sort_keys=True)
            row = rows.setdefault((record["snapshot"], settings), {})
            row |= {
                "snapshot": record["snapshot"],
                "kimg": record["nimg"] / 1000,
                **record["values"],
                "settings": settings,
            }
        columns = list(dict.fromkeys(name for row in rows.values() for name in row))
        columns.append(columns.pop(columns.index("settings")))
        buffer = io.StringIO()
        writer = csv.DictWriter(buffer, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows.values())
        return buffer.getvalue()


def check_best(figure: str) -> None:
    """Refuses a figure by which no snapshot is the best."""
    if figure.startswith(_NEITHER):
        raise UserError(
            f"config.eval.best = {figure!r}: neither the highest nor the lowest is the "
            "best; choose another figure, such as swd_average, fid or "
            "inception_score_mean"
        )


def format_table(rows: Iterable[tuple[str, float, Mapping[str, float]]]) -> str:
    """Returns lines of snapshot, kimg and figures, aligned in columns.

    Args:
      rows: Name, kimg and figures by name.
    """
    rows = list(rows)
    names = list(dict.fromkeys(name for _, _, values in rows for name in values))
    names = [name for name in names if not name.startswith("classifier_share")]
    table = [["snapshot", "kimg", *names]]
    for snapshot, kimg, values in rows:
        figures = [f"{values[n]:.4g}" if n in values else "" for n in names]
        table.append([snapshot, "" if snapshot == REALS else f"{kimg:,.1f}", *figures])
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = []
    for row in table:
        cells = [row[0].ljust(widths[0])]
        cells += [c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True)]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)
