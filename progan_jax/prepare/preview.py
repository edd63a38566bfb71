"""What a prepared set looks like, and what it would take to prepare it."""

import shutil
import time
from pathlib import Path

import numpy as np

from progan_jax.data.decoding import BadImage
from progan_jax.errors import UserError
from progan_jax.images import tile
from progan_jax.prepare.readers import Reader
from progan_jax.prepare.writing import Settings, stored_bytes, to_square

_TRIED = 32

_COLUMNS, _ROWS = 16, 8


def estimate(
    reader: Reader, settings: Settings, workers: int, keep: int | None
) -> tuple[float, float]:
    """Makes a few images and returns what all would take: bytes and seconds.

    Args:
      reader: The source.
      settings: How images are made.
      workers: Processes.
      keep: Images that are kept of those that are scored; None keeps all, unscored.

    Raises:
      UserError: if none of the images tried can be used.
    """
    started = time.perf_counter()
    sizes = _try(reader, settings)
    if not sizes:
        raise UserError(f"{reader.name}: none of the images tried can be used")
    seconds = (time.perf_counter() - started) / len(sizes) / workers
    # What is scored is made twice.
    made = len(reader) if keep is None else len(reader) + keep
    return float(np.mean(sizes)) * (keep or len(reader)), seconds * made


def _try(reader: Reader, settings: Settings) -> list[int]:
    """Makes a few images; returns the bytes that each takes, bad ones left out."""
    sizes = []
    for index in np.linspace(0, len(reader) - 1, min(len(reader), _TRIED)).astype(int):
        try:
            image = to_square(reader[int(index)].data, settings)
        except BadImage:
            continue
        sizes.append(stored_bytes(image, settings))
    return sizes


def check_room(
    reader: Reader, folder: Path, settings: Settings, keep: int | None
) -> None:
    """Refuses a disk that has not the room for what is missing of a set.

    Args:
      reader: The source.
      folder: DIR/NAME; what was written there is not written again.
      settings: How images are made.
      keep: See `estimate`.

    Raises:
      UserError: if it has not.
    """
    sizes = _try(reader, settings)
    written = sum(f.stat().st_size for f in folder.rglob("*.array_record*"))
    needed = float(np.mean(sizes or [0])) * (keep or len(reader)) - written
    if needed > (free := free_bytes(folder)):
        raise UserError(
            f"--out: {folder} needs about {needed / 2**20:,.0f} MiB more, and its disk "
            f"has {free / 2**20:,.0f} MiB free; make room, or choose another"
        )


def free_bytes(folder: Path) -> int:
    """Returns the room on the disk of a folder, which need not be there yet."""
    there = (folder.absolute(), *folder.absolute().parents)
    return shutil.disk_usage(next(path for path in there if path.exists())).free


def contact_sheet(reader: Reader, settings: Settings) -> np.ndarray:
    """Returns images from the whole source, side by side; bad ones are left out."""
    count = min(len(reader), _COLUMNS * _ROWS)
    side = settings.resolution
    images = [np.zeros((0, side, side, settings.channels), np.uint8)]
    for index in np.linspace(0, len(reader) - 1, count).astype(int):
        try:
            images.append(to_square(reader[int(index)].data, settings)[None])
        except BadImage:
            continue
    step = max(side // 128, 1)
    return tile(np.concatenate(images)[:, ::step, ::step], _COLUMNS)
