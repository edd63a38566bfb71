"""A prepared pyramid on disk: its places, its levels, and the checks that open it.

DIR/NAME/r004/1.0.0 ... DIR/NAME/r1024/1.0.0    one TFDS set for each level
DIR/NAME/pyramid.json                           written last: the pyramid is whole

A level is used like the array of an in-memory pyramid, but holds nothing: what is asked
for is read, without TensorFlow. Of the images, names and sizes of files are checked: a
copy that was broken off is noticed at the start of a run, not at the stage that needs
the missing file. Of the record and the labels, which say what the images are, every bit
is.
"""

import hashlib
import json
import re
from collections.abc import Callable, Iterable
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
from progan_jax.errors import UserError
from progan_jax.files import is_intact

VERSION = "1.0.0"

RECORD = "pyramid.json"

LABELS = "labels.npy"

UNFINISHED = ".partial"  # Holds the work of a pyramid that is not whole yet.


def level_name(resolution: int) -> str:
    """Returns the folder of a level, such as "r032"."""
    return f"r{resolution:03d}"


_Opened = tuple[Records, Decoder]

_OPENING = Lock()


class RecordLevel:
    """Images on disk; `level[indices]` reads them as uint8 [n, r, r, C].

    Attributes:
      shape: (n, r, r, C).
      nbytes: Bytes of all images as pixels.
    """

    dtype = np.dtype(np.uint8)

    def __init__(
        self, folder: Path, resolution: int, num_images: int, channels: int
    ) -> None:
        """Describes the level.

        Args:
          folder: DIR/NAME of the pyramid.
          resolution: Of the level.
          num_images: Of the set.
          channels: 1 or 3.
        """
        self.shape = (num_images, resolution, resolution, channels)
        self.nbytes = int(np.prod(self.shape, dtype=np.int64))
        self._folder = folder / level_name(resolution) / VERSION
        self._opened: _Opened | None = None

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
            except (BadImage, ValueError) as error:  # ValueError: of another shape.
                raise UserError(
                    f"{self._folder}: image {flat[row]} is damaged ({error}); prepare "
                    "the set again"
                ) from error
        return images.reshape(*indices.shape, *self.shape[1:])

    def check(self) -> None:
        """Checks what the level's files of TFDS say of it; no image is read.

        Raises:
          UserError: if they cannot be read, or are of other images.
        """
        builder = open_folder(self._folder)
        image = find_feature(builder.info.features, "image")
        shape = getattr(image, "shape", None) or ()
        kind = getattr(image, "np_dtype", None)
        sides = zip(shape, self.shape[1:], strict=False)
        fits = len(shape) == 3 and all(side in (None, own) for side, own in sides)
        if kind != self.dtype or not fits:
            fault = "is damaged: its images are of another kind"
            raise Damaged(self._folder / "features.json", fault)
        splits = builder.info.splits
        if "train" not in splits or splits["train"].num_examples != len(self):
            fault = "is damaged: it counts other images"
            raise Damaged(self._folder / "dataset_info.json", fault)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_opened": None}

    def _open(self) -> _Opened:
        """Opens the files, once in each process."""
        # Threads that import TFDS at once can wait for each other for ever.
        with _OPENING:
            if self._opened is None:
                self._opened = _open(self._folder, self.shape[-1])
            return self._opened


def _open(folder: Path, channels: int) -> _Opened:
    builder = open_folder(folder)
    decode = make_decoder(builder.info.features, channels)
    return open_records(builder, "train"), decode


# What the record of a pyramid must hold: of which type, and within which range.
_FIELDS: dict[str, tuple[type, Callable[[Any], bool]]] = {
    "identity": (dict, lambda i: not any(type(v) in (dict, list) for v in i.values())),
    "resolution": (int, lambda side: side >= 4 and side.bit_count() == 1),
    "channels": (int, lambda channels: channels in (1, 3)),
    "num_images": (int, lambda number: number > 0),
    "num_classes": (int, lambda number: number >= 0),
    "file_bytes": (dict, lambda sizes: all(type(n) is int for n in sizes.values())),
}


class Damaged(UserError):
    """A file of a pyramid is missing or damaged."""

    def __init__(self, path: Path, fault: str) -> None:
        """Names the file, its fault and the fix."""
        super().__init__(f"{path} {fault}; copy the set again, or prepare it again")


def is_pyramid(folder: Path) -> bool:
    """Returns whether `prepare_data` has written a pyramid DIR/NAME.

    Raises:
      Damaged: if only its levels are there.
      UserError: if it is not finished.
    """
    if (folder / RECORD).exists():
        return True
    if (folder / UNFINISHED).exists():
        raise UserError(
            f"{folder}: the pyramid is not finished; give the prepare_data command "
            f"that began it again, with --out={folder.parent}"
        )
    levels = [path.parts[-3] for path in folder.glob(f"r*/{VERSION}/features.json")]
    if any(re.fullmatch(r"r\d{3,4}", level) for level in levels):
        raise Damaged(folder / RECORD, "is missing, and its levels are there")
    return False


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
        record, labels = read_description(folder)
        check_split(name, split, {"train": len(labels)})
        if resolution > record["resolution"]:
            check_size(name, (record["resolution"],) * 2, resolution)
        _check_files(folder, record, sides)
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
    """Returns what pyramid.json and labels.npy hold of a pyramid DIR/NAME.

    What earlier programs left out is there, and empty: `file_bytes` and the names of
    the classes, `class_names`.

    Returns:
      The record, see `_FIELDS`, and classes int32 [n]: from 0 to num_classes - 1, or
      any if num_classes is 0.

    Raises:
      Damaged: if one of them is not what `prepare_data` wrote.
    """
    record, labels = _read_record(folder / RECORD), _read_labels(folder / LABELS)
    num_images, num_classes = record["num_images"], record["num_classes"]
    if len(labels) != num_images:
        fault = f"holds {len(labels):,} labels of {num_images:,} images"
        raise Damaged(folder / LABELS, fault)
    # Not there in pyramids of the first programs.
    if record["identity"].get("labels", digest_labels(labels)) != digest_labels(labels):
        raise Damaged(folder / LABELS, "is damaged: its labels are not those written")
    if num_classes and not 0 <= labels.min() <= labels.max() < num_classes:
        beyond = labels[(labels < 0) | (labels >= num_classes)][0]
        fault = f"holds class {beyond}, which is not from 0 to {num_classes - 1:,}"
        raise Damaged(folder / LABELS, fault)
    return record, labels


def digest_labels(labels: np.ndarray) -> str:
    """Returns a digest of classes int [n], by which a pyramid knows its own."""
    return hashlib.sha256(labels.astype("<i4").tobytes()).hexdigest()[:32]


def _read_record(path: Path) -> dict[str, Any]:
    record = _read_json(path)
    if not is_intact(record):
        raise Damaged(path, "is damaged: its checksum does not fit")
    record = {"file_bytes": {}, "class_names": []} | record
    for field, (kind, is_fitting) in _FIELDS.items():
        # Not isinstance: true is no number.
        if type(record.get(field)) is not kind or not is_fitting(record[field]):
            raise Damaged(path, f"is damaged: it has no fitting {field!r}")
    names = record["class_names"]
    texts = isinstance(names, list) and all(isinstance(name, str) for name in names)
    if not texts or (names and len(names) != record["num_classes"]):
        raise Damaged(path, "is damaged: its 'class_names' are no names of its classes")
    return record


def _read_labels(path: Path) -> np.ndarray:
    try:
        # Mapped: a damaged header may claim more than there is, or memory can hold.
        labels = np.lib.format.open_memmap(path, mode="r")
    except Exception as error:  # Whatever a damaged header brings about.
        raise Damaged(path, f"cannot be read ({_reason(error)})") from error
    if labels.ndim != 1 or labels.dtype.kind != "i":
        raise Damaged(path, "holds no row of classes")
    return np.array(labels)


def _check_files(folder: Path, record: dict[str, Any], sides: list[int]) -> None:
    """Raises Damaged unless names and sizes are those of a whole pyramid."""
    for side in sides:
        for path in _level_files(folder / level_name(side) / VERSION):
            size = record["file_bytes"].get(str(path.relative_to(folder)))
            _check_file(path, size)


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
    except (OSError, ValueError, RecursionError) as error:
        raise Damaged(path, f"cannot be read ({_reason(error)})") from error
    if not isinstance(value, dict):
        raise Damaged(path, "is damaged: it holds no fields")
    return value


def _reason(error: Exception) -> str:
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(text.split())[:200].rstrip(".")
