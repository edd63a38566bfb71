"""What a run writes down and prints: stats.jsonl, TensorBoard, lines, a live bar."""

import importlib.util
import json
import math
import resource
import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
from tqdm import tqdm

from progan_jax.files import write_whole

Row = Mapping[str, float]
# Apart from Metrics/swd_*, which --mode=eval measures of another number of images.
STAGE_SWD = "Metrics/stage_swd_"


class RunLog:
    """The rows of a run, one for each tick, each exactly once.

    A row stands in stats.jsonl, and its numbers in TensorBoard's files under tb/ if
    TensorFlow and TensorBoard are installed (the `tf` extra). Numbers that are not
    finite are null in stats.jsonl.
    """

    def __init__(self, workdir: Path, keep: Callable[[int], bool]) -> None:
        """Opens the log.

        Args:
          workdir: Of the run.
          keep: Whether the row of a tick that ended after so many images stays, now
            that the run goes on.
        """
        self._path = workdir / "stats.jsonl"
        rows = [row for row in read_rows(self._path) if keep(row["Progress/nimg"])]
        write_whole(self._path, "".join(map(_to_line, rows)))
        self._writer = _open_tensorboard(workdir / "tb", rows)

    def write(self, row: Row) -> None:
        """Appends a row; "Progress/nimg" is its time."""
        with self._path.open("a") as file:
            file.write(_to_line(row))
        if self._writer is not None:
            _write_scalars(self._writer, row)

    def close(self) -> None:
        """Writes what is pending."""
        if self._writer is not None:
            self._writer.close()


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Returns the rows of a stats.jsonl; broken lines, as of a kill, are left out."""
    if not path.exists():
        return []
    rows = []
    for line in path.read_text(errors="replace").splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict) and _is_number(row.get("Progress/nimg")):
            rows.append(row)
    return rows


def warn(message: str) -> None:
    """Prints a warning on standard error without tearing the bar."""
    tqdm.write(f"warning: {message}", file=sys.stderr)


def format_tick(row: Row) -> str:
    """Returns the line that tells of a tick."""
    side = int(row["Progress/resolution"])
    return (
        f"tick {row['Progress/tick']:<3d} kimg {row['Progress/kimg']:<7.1f} "
        f"{f'{side}x{side}':<7} alpha {row['Progress/alpha']:.2f} "
        f"batch {row['Progress/minibatch']:<3d} "
        f"{row['Timing/sec_per_kimg']:6.2f} sec/kimg "
        f"{row['Timing/img_per_sec']:5.0f} img/s "
        f"eta {format_duration(row['Timing/eta_sec']):<7} "
        f"peak {row['Memory/peak_mib']:,.0f} MiB | "
        f"gap {row['Health/score_gap']:.2f} "
        f"norm {row.get('Loss/mixed_norms', math.nan):.2f} "
        f"stddev {row['Health/stddev_fakes']:.2f}/{row['Health/stddev_reals']:.2f} "
        f"skipped {row['Health/skipped']}"
    )


def format_swd(row: Row) -> str:
    """Returns the line that tells of the distances at the end of a stage."""
    side, prefix = int(row["Progress/resolution"]), STAGE_SWD
    levels = [
        f"{name.removeprefix(prefix)}: {value:.2f}"
        for name, value in row.items()
        if name.startswith(prefix)
    ]
    return f"    end of {side}x{side}: sliced Wasserstein distance x 1e3  " + "  ".join(
        levels
    )


def format_duration(seconds: float) -> str:
    """Returns for example "45s", "12m 05s", "7h 30m" or "12d 04h"."""
    seconds = round(seconds)
    if seconds < 60:
        return f"{seconds}s"
    if seconds < 3600:
        return f"{seconds // 60}m {seconds % 60:02d}s"
    if seconds < 86400:
        return f"{seconds // 3600}h {seconds % 3600 // 60:02d}m"
    return f"{seconds // 86400}d {seconds % 86400 // 3600:02d}h"


def peak_memory_mib() -> float:
    """Returns the peak use of a device, or of this process where they do not tell."""
    stats = [device.memory_stats() or {} for device in jax.local_devices()]
    peak = max(s.get("peak_bytes_in_use", 0) for s in stats)
    if peak:
        return peak / 2**20
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return used / (2**20 if sys.platform == "darwin" else 2**10)


class ProgressBar:
    """A live bar over the images of a run; shown on a terminal only."""

    def __init__(self, total_nimg: int, initial_nimg: int) -> None:
        self._bar = tqdm(
            total=total_nimg,
            initial=initial_nimg,
            unit="img",
            unit_scale=True,
            disable=not sys.stderr.isatty(),
            leave=False,
            mininterval=0.5,
        )

    def update(self, nimg: int, description: str) -> None:
        """Moves the bar to `nimg` images."""
        self._bar.set_description(description, refresh=False)
        self._bar.update(nimg - self._bar.n)

    def print(self, line: str) -> None:
        """Prints a line on standard output without tearing the bar."""
        tqdm.write(line, file=sys.stdout)
        sys.stdout.flush()

    def close(self) -> None:
        """Removes the bar."""
        self._bar.close()


def _to_line(row: Row) -> str:
    finite = {
        k: v if math.isfinite(v) else None for k, v in row.items() if _is_number(v)
    }
    return json.dumps(finite, allow_nan=False) + "\n"


def _is_number(value: object) -> bool:
    return isinstance(value, int | float)


def _open_tensorboard(folder: Path, rows: list[dict[str, Any]]) -> Any:
    """Opens TensorBoard's writer and gives it the rows that are kept.

    Event files cannot be cut, so the folder is written anew from the rows.
    """
    missing = [
        name
        for name in ("tensorflow", "tensorboard")
        if importlib.util.find_spec(name) is None
    ]
    if missing:
        print(
            f"TensorBoard is off ({' and '.join(missing)} not installed): "
            "pip install -e '.[tf]' turns it on; stats.jsonl holds everything"
        )
        return None
    from clu import metric_writers

    shutil.rmtree(folder, ignore_errors=True)
    writer = metric_writers.SummaryWriter(str(folder))
    for row in rows:
        _write_scalars(writer, row)
    return writer


def _write_scalars(writer: Any, row: Row) -> None:
    numbers = {k: v for k, v in row.items() if v is not None}
    writer.write_scalars(int(row["Progress/nimg"]), numbers)
    writer.flush()
