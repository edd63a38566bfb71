"""Estimates of what a preparation needs, and a contact sheet of its images."""

import shutil
import time
from pathlib import Path

import numpy as np

from progan_jax.data.decoding import BadImage
from progan_jax.images import tile
from progan_jax.prepare.readers import Reader, spaced
from progan_jax.prepare.writing import Settings, stored_bytes, to_square

_TRIED = 32

_COLUMNS, _ROWS = 16, 8


def estimate(reader: Reader, settings: Settings) -> tuple[float, float]:
    """Returns the bytes and seconds that an image takes in one process.

    They are measured on a few images. Bad ones are skipped; if all are bad, both are 0.
    """
    started, sizes = time.perf_counter(), []
    for index in spaced(len(reader), _TRIED).tolist():
        try:
            image = to_square(reader[index].data, settings)
        except BadImage:
            continue
        sizes.append(stored_bytes(image, settings))
    if not sizes:
        return 0.0, 0.0
    return float(np.mean(sizes)), (time.perf_counter() - started) / len(sizes)


def free_bytes(folder: Path) -> int:
    """Returns the free bytes on the disk of a folder, which may not exist yet."""
    there = (folder.absolute(), *folder.absolute().parents)
    return shutil.disk_usage(next(path for path in there if path.exists())).free


def contact_sheet(reader: Reader, settings: Settings) -> np.ndarray:
    """Returns evenly spaced images of a source side by side; bad ones are skipped."""
    side = settings.resolution
    images = [np.zeros((0, side, side, settings.channels), np.uint8)]
    for index in spaced(len(reader), _COLUMNS * _ROWS).tolist():
        try:
            images.append(to_square(reader[index].data, settings)[None])
        except BadImage:
            continue
    step = max(side // 128, 1)
    return tile(np.concatenate(images)[:, ::step, ::step], _COLUMNS)
