"""The log of a run: stats.jsonl, its writers, printed lines, a live bar."""

import json
import math
import resource
import shutil
import sys
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import jax
import numpy as np
from tqdm import tqdm

from progan_jax.errors import UserError, warn
from progan_jax.files import CHECKSUM, free_name, parse_record, seal, write_whole
from progan_jax.runtime.writers import NIMG, Row, Writer

# Apart from Metrics/swd_*, which --mode=eval measures of another number of images.
STAGE_SWD = "Metrics/stage_swd_"
_MOST_NIMG = 2**53  # More than any run shows; above it floats skip integers.


class RunLog:
    """The rows of a run, one for each tick, each exactly once.

    Each row is stored in stats.jsonl with a checksum, and then given to a writer.
    Numbers that are not finite are null in stats.jsonl.

    Attributes:
      dropped: Images shown at the rows that were dropped.
    """

    def __init__(
        self,
        workdir: Path,
        keep: Callable[[int], bool],
        expected: int,
        open_writer: Callable[[Sequence[Row]], Writer],
    ) -> None:
        """Opens the log; a warning counts the rows that are lost.

        Args:
          workdir: The run's folder.
          keep: Whether the row of a tick stays, by the images shown at its end.
          expected: Number of rows that should stay.
          open_writer: Opens the writer, given the rows that stay.

        Raises:
          UserError: if the rows cannot be read, or the writer cannot be opened.
        """
        self._path = workdir / "stats.jsonl"
        read = _read(self._path)
        kept = {n: line for n, line in read.lines.items() if keep(n)}
        self.dropped = [nimg for nimg in read.lines if nimg not in kept]
        self._warn_of_loss(read, expected - len(kept), expected)
        data = b"".join(line + b"\n" for line in kept.values())
        write_whole(self._path, data)
        self._size = len(data)
        self._writer = open_writer([read.rows[nimg] for nimg in kept])

    def write(self, row: Row) -> None:
        """Appends a row; "Progress/nimg" is its time.

        A warning says if earlier rows are no longer in the file.
        """
        with self._path.open("a") as file:
            if file.tell() < self._size:
                warn(
                    f"{self._path} was deleted, replaced or cut while the run trained: "
                    "earlier rows may be lost, and new ones are written; restore the "
                    "earlier ones when the run has ended"
                )
            file.write(_to_line(row))
            self._size = file.tell()
        self._writer.write_scalars(int(row[NIMG]), row)

    def write_image(self, nimg: int, name: str, image: np.ndarray) -> None:
        """Gives the writer an image uint8 [H, W, C]."""
        self._writer.write_images(nimg, {name: image[None]})

    def close(self) -> None:
        """Writes what is pending."""
        self._writer.close()

    def _warn_of_loss(self, read: "_Read", missing: int, expected: int) -> None:
        # A last line that a kill has cut short is of a tick that is trained again.
        damaged = read.damaged - (read.cut and not missing)
        if not damaged and not missing:
            return
        loss = f"{missing} of {expected} earlier rows are lost"
        if damaged:
            kept = free_name(self._path.with_name(f"{self._path.name}.damaged"))
            shutil.copyfile(self._path, kept)
            loss += f" and {damaged} line(s) are damaged; the file is kept as {kept}"
        warn(f"{self._path}: {loss}; the run continues without them")


@dataclass(frozen=True)
class _Read:
    """The contents of a stats.jsonl.

    Attributes:
      rows: By "Progress/nimg", without their checksums.
      lines: The same rows as bytes of the file.
      damaged: Number of lines that are not a row as it was written.
      cut: Whether the last line is one of them, and has no line end.
    """

    rows: dict[int, dict[str, Any]]
    lines: dict[int, bytes]
    damaged: int
    cut: bool


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Returns the rows of a stats.jsonl; a warning counts damaged lines.

    A last line that a kill has cut short is left out without a warning.

    Raises:
      UserError: if the file cannot be read.
    """
    read = _read(path)
    if damaged := read.damaged - read.cut:
        _warn_once(f"{path}: {damaged} line(s) are damaged and left out")
    return list(read.rows.values())


def last_nimg(path: Path) -> int:
    """Returns the number of images shown at the last row; 0 without rows."""
    return next(reversed(_read(path).rows), 0)


def _read(path: Path) -> _Read:
    try:
        data = path.read_bytes() if path.exists() else b""
    except OSError as error:
        raise UserError(
            f"{path} cannot be read ({error.strerror}); restore it, or make it readable"
        ) from error
    lines = data.split(b"\n")
    rows, whole, damaged = {}, {}, 0
    for line in filter(None, lines):
        row = _parse(line)
        if row is None or row["Progress/nimg"] in rows:
            damaged += 1
        else:
            nimg = row["Progress/nimg"]
            rows[nimg], whole[nimg] = row, line
    return _Read(rows, whole, damaged, bool(lines[-1]) and _parse(lines[-1]) is None)


def _parse(line: bytes) -> dict[str, Any] | None:
    """Returns a row without its checksum; None if the line is not as it was written."""
    row = parse_record(line) or {}
    nimg = row.get("Progress/nimg")
    if not isinstance(nimg, int | float) or not 0 < nimg < _MOST_NIMG or nimg % 1:
        return None
    return {name: value for name, value in row.items() if name != CHECKSUM}


@cache
def _warn_once(message: str) -> None:
    """Warns once in a process: a report, for example, reads the same file twice."""
    warn(message)


def format_tick(row: Row, fades: bool = True, may_end_before: bool = False) -> str:
    """Returns the line of a tick, 100 columns wide, and another for skipped updates.

    Args:
      row: The tick's.
      fades: Whether the run has fades, so that alpha is of interest.
      may_end_before: Whether the remaining time is a limit.
    """
    side, gap = int(row["Progress/resolution"]), row["Health/score_gap"]
    alpha = f"alpha {row['Progress/alpha']:.2f} " if fades else ""
    line = (
        f"tick {row['Progress/tick']:<4d} kimg {row['Progress/kimg']:<8.7g} "
        f"{f'{side}x{side}':<9} {alpha}{row['Timing/img_per_sec']:5.0f} img/s "
        f"eta {_format_eta(row['Timing/eta_sec'], may_end_before):<7} "
        f"peak {row['Memory/peak_mib'] / 1024:.1f} GiB gap {gap:.3g}"
    )
    if skipped := row["Health/skipped"]:
        line += f"\n    {skipped} update(s) skipped: loss or gradient is not finite"
    return line


def _format_eta(seconds: float, is_limit: bool) -> str:
    return "?" if math.isnan(seconds) else "<" * is_limit + format_duration(seconds)


def format_swd(row: Row) -> str:
    """Returns the distances at the end of a stage, in lines of 100 columns."""
    side, prefix = int(row["Progress/resolution"]), STAGE_SWD
    levels = [
        f"{name.removeprefix(prefix)}: {value:.2f}"
        for name, value in row.items()
        if name.startswith(prefix)
    ]
    text = f"    end of {side}x{side}: sliced Wasserstein distance x 1e3  "
    return textwrap.fill(text + "  ".join(levels), 100, subsequent_indent=" " * 8)


def format_kimg(kimg: float) -> str:
    """Returns for example "12,000", "400.5" or "0.608": short runs need more digits."""
    return f"{round(kimg, 1 if kimg >= 100 else 3):,.10g}"


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
    """Returns the peak memory of a device, or of this process where it is unknown."""
    stats = [device.memory_stats() or {} for device in jax.local_devices()]
    peak = max(s.get("peak_bytes_in_use", 0) for s in stats)
    if peak:
        return peak / 2**20
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return used / (2**20 if sys.platform == "darwin" else 2**10)


class ProgressBar:
    """A live bar over the images of a run; shown on a terminal only.

    The remaining time is printed in the lines of the ticks.
    """

    def __init__(
        self, total_nimg: int, initial_nimg: int, may_end_before: bool = False
    ) -> None:
        """Shows the bar; only the number of images if the total is a limit."""
        share = "{l_bar}{bar}| {n_fmt}/{total_fmt}"
        limit = "{desc}{n_fmt} of at most {total_fmt}"
        self._bar = tqdm(
            total=total_nimg,
            initial=initial_nimg,
            unit_scale=True,
            bar_format=(limit if may_end_before else share) + " images [{elapsed}]",
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
        name: value if math.isfinite(value) else None
        for name, value in row.items()
        if isinstance(value, int | float)
    }
    return json.dumps(seal(finite), allow_nan=False) + "\n"
