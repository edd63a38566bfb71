"""A prepared pyramid on disk: its paths, its levels, and the checks when it is opened.

DIR/NAME/r004/1.0.0 ... DIR/NAME/r1024/1.0.0    one TFDS set for each level
DIR/NAME/pyramid.json                           the record, written last

A level is indexed like the array of a pyramid in memory, but its images are read only
then, without TensorFlow. The record and the labels have checksums; of other files the
size is checked, so that a run notices an incomplete copy at its start, and not at the
stage that needs the missing file.
"""

import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

from progan_jax.data.checks import check_size, check_split
from progan_jax.data.decoding import BadImage
from progan_jax.data.pyramid import Pyramid
from progan_jax.data.records import (
    Decoder,
    Records,
    find_feature,
    make_decoder,
    open_folder,
    open_records,
)
from progan_jax.errors import UserError, reason
from progan_jax.files import is_intact

VERSION = "1.0.0"

RECORD = "pyramid.json"

LABELS = "labels.npy"

UNFINISHED = ".partial"  # Folder of a pyramid that is not finished yet.

# Type and range of each field of the record; the first versions wrote no checksum.
_FIELDS: dict[str, tuple[type, Callable[[Any], bool]]] = {
    "identity": (dict, lambda i: not any(type(v) in (dict, list) for v in i.values())),
    "resolution": (int, lambda r: 4 <= r <= 2**16 and r.bit_count() == 1),
    "channels": (int, lambda n: n in (1, 3)),
    "num_images": (int, lambda n: n > 0),
    "num_classes": (int, lambda n: 0 <= n < 2**31),
    "file_bytes": (dict, lambda sizes: all(type(n) is int for n in sizes.values())),
    "class_names": (list, lambda names: all(type(name) is str for name in names)),
}

_OPENING = Lock()


def level_name(resolution: int) -> str:
    """Returns the folder of a level, such as "r032"."""
    return f"r{resolution:03d}"


class RecordLevel:
    """Images on disk; `level[indices]` reads them as uint8 [n, r, r, C].

    Attributes:
      shape: (n, r, r, C).
      nbytes: Number of bytes of all pixels.
    """

    dtype = np.dtype(np.uint8)

    def __init__(
        self, folder: Path, resolution: int, num_images: int, channels: int
    ) -> None:
        """Describes the level.

        Args:
          folder: DIR/NAME of the pyramid.
          resolution: Side of the level.
          num_images: Number of images of the set.
          channels: 1 or 3.
        """
        self.shape = (num_images, resolution, resolution, channels)
        self.nbytes = int(np.prod(self.shape, dtype=np.int64))
        self._folder = folder / level_name(resolution) / VERSION
        self._opened: tuple[Records, Decoder] | None = None

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, indices: np.ndarray | slice) -> np.ndarray:
        """Reads the images of an index array of any shape, or of a slice."""
        if isinstance(indices, slice):
            indices = np.arange(len(self))[indices]
        records, decode = self._open()
        flat = indices.reshape(-1)
        images = np.empty((len(flat), *self.shape[1:]), np.uint8)
        for row, record in enumerate(records.__getitems__(flat.tolist())):
            try:
                images[row], _ = decode(record)
            except (BadImage, ValueError) as error:  # ValueError: another shape.
                raise UserError(
                    f"{self._folder}: image {flat[row]} is damaged ({error}); prepare "
                    "the set again"
                ) from error
        return images.reshape(*indices.shape, *self.shape[1:])

    def check(self) -> None:
        """Checks TFDS's description of the level; no image is read.

        Raises:
          UserError: if it cannot be read, or describes other images.
        """
        info = open_folder(self._folder).info
        image = find_feature(info.features, "image")
        # Sides of encoded images may be None.
        wanted = [
            (self.dtype, s) for s in (self.shape[1:], (None, None, self.shape[3]))
        ]
        if (getattr(image, "np_dtype", 0), getattr(image, "shape", 0)) not in wanted:
            fault = "is damaged: its images are of another kind"
            raise Damaged(self._folder / "features.json", fault)
        if "train" not in info.splits or info.splits["train"].num_examples != len(self):
            fault = "is damaged: it counts other images"
            raise Damaged(self._folder / "dataset_info.json", fault)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_opened": None}

    def _open(self) -> tuple[Records, Decoder]:
        """Returns the records and their decoder, opened once in each process."""
        # Threads that import TFDS at the same time can deadlock.
        with _OPENING:
            if self._opened is None:
                builder = open_folder(self._folder)
                decode = make_decoder(builder.info.features, self.shape[-1])
                self._opened = open_records(builder, "train"), decode
            return self._opened


class Damaged(UserError):
    """A file of a pyramid is missing or damaged."""

    def __init__(self, path: Path, fault: str) -> None:
        """Names the file, its fault and the fix."""
        super().__init__(f"{path} {fault}; copy the set again, or prepare it again")


def is_pyramid(folder: Path) -> bool:
    """Returns whether `prepare_data` has written a pyramid DIR/NAME.

    Raises:
      Damaged: if its levels exist without the record.
      UserError: if it is not finished.
    """
    if (folder / RECORD).exists():
        return True
    if (folder / UNFINISHED).exists():
        raise UserError(
            f"{folder}: the pyramid is not finished; run its prepare_data command "
            f"again, with --out={folder.parent}"
        )
    levels = [path.parts[-3] for path in folder.glob(f"r*/{VERSION}/features.json")]
    if any(re.fullmatch(r"r\d{3,4}", level) for level in levels):
        raise Damaged(folder / RECORD, "is missing, and its levels are there")
    return False


def load_prepared(folder: Path, split: str, resolution: int) -> Pyramid:
    """Opens the levels of a pyramid; images are read when they are indexed.

    Args:
      folder: DIR/NAME.
      split: "train", the only one.
      resolution: Side of the largest level that is wanted.

    Raises:
      UserError: if the pyramid has no such split or level, or is damaged.
    """
    name = folder.name
    sides = [resolution >> k for k in range(resolution.bit_length() - 2)]
    try:
        record, labels = read_description(folder)
        check_split(name, split, {"train": len(labels)})
        if resolution > record["resolution"]:
            check_size(name, (record["resolution"],) * 2, resolution)
        _check_sizes(folder, record["file_bytes"], sides)
    except Damaged as error:
        raise UserError(f"config.data.name = {name!r}: {error}") from error
    levels = {
        side: RecordLevel(folder, side, len(labels), record["channels"])
        for side in sides
    }
    for level in levels.values():
        level.check()
    digest = hashlib.sha256(json.dumps([record["identity"], resolution]).encode())
    return Pyramid(
        name=name,
        levels=levels,
        labels=labels if record["num_classes"] else None,
        num_classes=record["num_classes"],
        fingerprint=digest.hexdigest()[:32],
        class_names=tuple(record["class_names"]),
    )


def read_description(folder: Path) -> tuple[dict[str, Any], np.ndarray]:
    """Returns the contents of pyramid.json and labels.npy of a pyramid DIR/NAME.

    `file_bytes` and `class_names`, which the first versions did not write, are empty
    there.

    Returns:
      The record, see `writing.finish`, and classes int32 [n] in [0, num_classes), or
      any if num_classes is 0.

    Raises:
      Damaged: if a file is not as `prepare_data` wrote it.
    """
    record, labels = _read_record(folder / RECORD), _read_labels(folder / LABELS)
    num_images, num_classes = record["num_images"], record["num_classes"]
    if len(labels) != num_images:
        fault = f"has {len(labels):,} labels of {num_images:,} images"
        raise Damaged(folder / LABELS, fault)
    # The first versions wrote no digest.
    if record["identity"].get("labels", digest_labels(labels)) != digest_labels(labels):
        raise Damaged(folder / LABELS, "is damaged: its labels are not those written")
    if num_classes and not 0 <= labels.min() <= labels.max() < num_classes:
        fault = f"has classes that are not from 0 to {num_classes - 1:,}"
        raise Damaged(folder / LABELS, fault)
    return record, labels


def digest_labels(labels: np.ndarray) -> str:
    """Returns the digest of classes int [n] that the record stores."""
    return hashlib.sha256(labels.astype("<i4").tobytes()).hexdigest()[:32]


def _read_record(path: Path) -> dict[str, Any]:
    try:
        record = json.loads(path.read_text())
    except (OSError, ValueError, RecursionError) as error:
        raise Damaged(path, f"cannot be read ({reason(error)})") from error
    if not isinstance(record, dict):
        raise Damaged(path, "is damaged: it has no fields")
    if not is_intact(record):
        raise Damaged(path, "is damaged: its checksum does not match")
    record = {"file_bytes": {}, "class_names": []} | record
    for field, (kind, is_valid) in _FIELDS.items():
        # Not isinstance: a bool is an int.
        if type(record.get(field)) is not kind or not is_valid(record[field]):
            raise Damaged(path, f"is damaged: its {field!r} is missing or invalid")
    if len(record["class_names"]) not in (0, record["num_classes"]):
        raise Damaged(path, "is damaged: its 'class_names' are not one for each class")
    return record


def _read_labels(path: Path) -> np.ndarray:
    try:
        # Mapped: a damaged header may claim more than the file or the memory has.
        labels = np.lib.format.open_memmap(path, mode="r")
    except Exception as error:  # NumPy raises many kinds for a damaged header.
        raise Damaged(path, f"cannot be read ({reason(error)})") from error
    if labels.ndim != 1 or labels.dtype.kind != "i":
        raise Damaged(path, "has no row of classes")
    return np.array(labels)


def _check_sizes(folder: Path, sizes: dict[str, int], sides: list[int]) -> None:
    """Raises Damaged unless the files of the levels have the recorded sizes."""
    levels = {level_name(side) for side in sides}
    for name, expected in sizes.items():
        if name.partition("/")[0] not in levels:
            continue
        try:
            size = (folder / name).stat().st_size
        except (OSError, ValueError) as error:  # ValueError: a NUL in a name.
            fault = f"cannot be read ({reason(error)})"
            raise Damaged(folder / name, fault) from error
        if size != expected:
            raise Damaged(folder / name, f"has {size:,} bytes, not {expected:,}")
