"""What a short run leaves: a few files of limited size, from which it continues.

A run's folder becomes two tars. What it continues from, its record and its newest
checkpoint, is in parts run.tar.0, run.tar.1 and so on; snapshots.tar has the newest and
the best snapshot, and as many grids as there is room for.
"""

import contextlib
import io
import shutil
import tarfile
from collections.abc import Sequence
from pathlib import Path

from progan_jax.display.pictures import list_grids
from progan_jax.errors import UserError, reason
from progan_jax.inference.snapshot import BEST, find_snapshot, list_snapshots
from progan_jax.runtime.newest import list_steps

PART_BYTES = 2**24
MOST_BYTES = 2**26
MOST_FILES = 8

_TAR, _SNAPSHOTS = "run.tar", "snapshots.tar"
_RECORD = (
    *("config.json", "stats.jsonl", "checkpoints.json"),
    *("metrics.csv", "metrics.jsonl", f"snapshots/{BEST}"),
)
_GRIDS = 4  # The newest ones.


def pack(run: Path, beside: Sequence[Path], out: Path) -> list[str]:
    """Writes a run's tars to a folder, beside other files.

    Args:
      run: Folder of the run, which has ended.
      beside: Files to copy; those that are absent, or larger than a part, are left out.
      out: An existing folder.

    Returns:
      What was left out of the tars for want of room, by its path in the run.
    """
    copied = [f for f in beside if f.exists() and f.stat().st_size <= PART_BYTES]
    for file in copied:
        shutil.copyfile(file, out / file.name)
    room = MOST_BYTES - sum(file.stat().st_size for file in copied)
    most_parts = MOST_FILES - len(copied) - 1  # One is for the snapshots.
    data, left_out = _tar(run, _needed(run), min(room, most_parts * PART_BYTES))
    for number, start in enumerate(range(0, len(data), PART_BYTES)):
        (out / f"{_TAR}.{number}").write_bytes(data[start : start + PART_BYTES])
    room = min(room - len(data), PART_BYTES)
    data, others = _tar(run, _pictures(run), room)
    if data:
        (out / _SNAPSHOTS).write_bytes(data)
    return left_out + others


def unpack(folder: Path, run: Path) -> None:
    """Makes a run's folder again from the tars in a folder.

    The snapshots may be missing: a run continues without them.

    Raises:
      UserError: if there are none, or they are incomplete.
    """
    parts = [folder / f"{_TAR}.{n}" for n in range(MOST_FILES)]
    snapshots = folder / _SNAPSHOTS
    try:
        _extract(b"".join(part.read_bytes() for part in parts if part.exists()), run)
        if snapshots.exists():
            _extract(snapshots.read_bytes(), run)
    except (tarfile.TarError, OSError) as error:
        raise UserError(
            f"--from={folder}: its {_TAR}.0, {_TAR}.1, ... cannot be read "
            f"({reason(error)}); name the folder with all files that a short run left"
        ) from error


def _extract(data: bytes, run: Path) -> None:
    # A tar is whole records, and parts are not.
    if len(data) % tarfile.RECORDSIZE:
        raise tarfile.ReadError("one is missing")
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        tar.extractall(run, filter="data")


def _tar(run: Path, paths: Sequence[Path], room: int) -> tuple[bytes, list[str]]:
    """Returns a tar of at most `room` bytes, and what was left out of it.

    Empty if there is nothing to put in.
    """
    room -= tarfile.RECORDSIZE  # Its end is padded to whole records.
    buffer, left_out = io.BytesIO(), []
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for path in paths:
            name = str(path.relative_to(run))
            if (size := _tar_bytes(path)) > room:
                left_out.append(name)
            else:
                tar.add(path, name)
                room -= size
    return buffer.getvalue() if len(left_out) < len(paths) else b"", left_out


def _needed(run: Path) -> list[Path]:
    """Returns what a run continues from."""
    needed = [path for name in _RECORD if (path := run / name).exists()]
    steps = list_steps(run / "checkpoints")
    return needed + [run / "checkpoints" / str(step) for step in steps[:1]]


def _pictures(run: Path) -> list[Path]:
    """Returns what to look at, the most important first."""
    snapshots = list_snapshots(run)[-1:]
    if (run / "snapshots" / BEST).exists():
        # It may have been left behind.
        with contextlib.suppress(UserError):
            snapshots.append(find_snapshot(run, BEST))
    grids = [grid.path for grid in reversed(list_grids(run / "grids"))][:_GRIDS]
    reals = [path for path in [run / "grids" / "reals.png"] if path.exists()]
    return [*dict.fromkeys(snapshots), *reals, *grids]


def _tar_bytes(path: Path) -> int:
    """Returns at least the bytes that a file or a folder takes in a tar."""
    files = [path, *path.rglob("*")] if path.is_dir() else [path]
    sizes = (file.stat().st_size for file in files if file.is_file())
    blocks = sum(-(-size // tarfile.BLOCKSIZE) for size in sizes)
    # A header each, and two more blocks for a name that is long.
    return (blocks + 3 * len(files)) * tarfile.BLOCKSIZE
