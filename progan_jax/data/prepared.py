"""Opens the pyramid that `tools.prepare_data` wrote, once all its files are there.

What is looked at is names and sizes: a copy that was broken off is told at the start
of a run, not at the stage that wants the missing file.
"""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from progan_jax.data.checks import check_size, check_split
from progan_jax.data.layout import LABELS, RECORD, VERSION, level_name
from progan_jax.data.levels import RecordLevel
from progan_jax.data.pyramid import Pyramid
from progan_jax.errors import UserError

# What the record of a pyramid must hold, and of which type.
_FIELDS = {
    "identity": dict,
    "resolution": int,
    "channels": int,
    "num_images": int,
    "num_classes": int,
}


class Damaged(UserError):
    """A file of a pyramid is missing or damaged."""

    def __init__(self, path: Path, fault: str) -> None:
        """Tells the fault of a file, and the mend."""
        super().__init__(f"{path} {fault}; copy the set again, or prepare it again")


def load_prepared(folder: Path, split: str, resolution: int) -> Pyramid:
    """Opens the levels of a pyramid; images are read when asked for.

    Args:
      folder: DIR/NAME.
      split: "train", the only one.
      resolution: Of the largest level that is wanted.

    Raises:
      UserError: if the pyramid has no such split or level, or is not whole.
    """
    name = folder.name
    sides = [resolution >> k for k in range(resolution.bit_length() - 2)]
    try:
        record, labels = read_record(folder), read_labels(folder)
        num_images = record["num_images"]
        check_split(name, split, {"train": num_images})
        if resolution > record["resolution"]:
            check_size(name, (record["resolution"],) * 2, resolution)
        _check_files(folder, record, sides, len(labels))
    except Damaged as error:
        raise UserError(f"config.data.name = {name!r}: {error}") from error
    digest = hashlib.sha256(json.dumps([record["identity"], resolution]).encode())
    return Pyramid(
        name=name,
        levels={
            side: RecordLevel(folder, side, num_images, record["channels"])
            for side in sides
        },
        labels=labels if record["num_classes"] else None,
        num_classes=record["num_classes"],
        fingerprint=digest.hexdigest()[:32],
        class_names=tuple(record["class_names"]),
    )


def read_record(folder: Path) -> dict[str, Any]:
    """Returns what pyramid.json holds of a pyramid DIR/NAME; see `_FIELDS`.

    The names of its classes, `class_names`, are [] where an earlier program left them
    out.

    Raises:
      Damaged: if it is not whole.
    """
    path = folder / RECORD
    record = _read_json(path)
    wrong = [k for k, kind in _FIELDS.items() if not isinstance(record.get(k), kind)]
    if wrong:
        raise Damaged(path, f"is damaged: it has no fitting {wrong[0]!r}")
    names = record.setdefault("class_names", [])
    texts = isinstance(names, list) and all(isinstance(name, str) for name in names)
    if not texts or (names and len(names) != record["num_classes"]):
        raise Damaged(path, "is damaged: its 'class_names' are no names of its classes")
    return record


def read_labels(folder: Path) -> np.ndarray:
    """Returns the classes int32 [n] of a pyramid DIR/NAME.

    Raises:
      Damaged: if they cannot be read.
    """
    path = folder / LABELS
    try:
        labels = np.load(path)
    except (OSError, ValueError, EOFError) as error:
        raise Damaged(path, f"cannot be read ({_reason(error)})") from error
    if labels.ndim != 1 or labels.dtype.kind != "i":
        raise Damaged(path, "holds no row of classes")
    return labels


def _check_files(
    folder: Path, record: dict[str, Any], sides: list[int], num_labels: int
) -> None:
    """Raises Damaged unless names and sizes are those of a whole pyramid."""
    num_images = record["num_images"]
    if num_labels != num_images:
        raise Damaged(
            folder / LABELS, f"holds {num_labels:,} labels of {num_images:,} images"
        )
    for side in sides:
        for path in _level_files(folder / level_name(side) / VERSION):
            # A pyramid of an earlier program tells no sizes.
            sizes = record.get("file_bytes", {})
            _check_file(path, sizes.get(str(path.relative_to(folder))))


def _check_file(path: Path, expected: int | None) -> None:
    try:
        size = path.stat().st_size
    except OSError as error:
        raise Damaged(path, f"cannot be read ({_reason(error)})") from error
    if not size:
        raise Damaged(path, "is empty")
    if expected is not None and size != expected:
        raise Damaged(path, f"has {size:,} bytes, not {expected:,}")


def _level_files(folder: Path) -> Iterable[Path]:
    """Yields the files of a level, as TFDS names them."""
    yield folder / "features.json"
    yield (path := folder / "dataset_info.json")
    info = _read_json(path)
    try:
        (split,) = info["splits"]
        stem = f"{info['name']}-{split['name']}.{info['fileFormat']}"
        num_shards = len(split["shardLengths"])
    except (KeyError, TypeError, ValueError) as error:
        raise Damaged(path, "is damaged: it names no shards") from error
    for index in range(num_shards):
        yield folder / f"{stem}-{index:05d}-of-{num_shards:05d}"


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise Damaged(path, f"cannot be read ({_reason(error)})") from error
    if not isinstance(value, dict):
        raise Damaged(path, "is damaged: it holds no fields")
    return value


def _reason(error: Exception) -> str:
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(text.split())[:200].rstrip(".")
