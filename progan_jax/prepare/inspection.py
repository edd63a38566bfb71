"""Inspection of an image set on disk, and comparison of two.

Unlike `data.sources`, which opens what a run trains on, it opens each level by itself,
with the number of images in its own files.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from progan_jax.data.checks import check_features
from progan_jax.data.prepared import (
    LABELS,
    RECORD,
    VERSION,
    is_pyramid,
    level_name,
    read_description,
)
from progan_jax.data.pyramid import halve
from progan_jax.data.records import (
    class_names,
    make_decoder,
    newest_version,
    open_folder,
    open_records,
)
from progan_jax.errors import UserError, reason
from progan_jax.images import tile, upscale_nearest
from progan_jax.prepare.readers import spaced

_CHUNK_BYTES = 2**26

_CHUNK_IMAGES = 1024

_SHEET = (2048, 1024)  # Largest width and height of a contact sheet.

_SMALLEST_CELL = 128

Report = Callable[[int], object]  # Takes the number of images just read.


class StoredLevel:
    """The images of one TFDS set, all of one size.

    Attributes:
      folder: Folder of the set.
      shape: (n, h, w, C).
      num_bytes: Size of its files.
      class_names: Names of the ClassLabel feature `label`; () without it.
    """

    def __init__(self, folder: Path, split: str) -> None:
        """Opens the set.

        Args:
          folder: With features.json.
          split: Split of the set.

        Raises:
          UserError: if it cannot be read, or has no images.
        """
        self.folder = folder
        builder = open_folder(folder)
        features = builder.info.features
        if split not in builder.info.splits:
            raise UserError(
                f"--split={split}: {folder} has {', '.join(builder.info.splits)}; "
                "choose one of these"
            )
        check_features(str(folder), features)
        self._records = open_records(builder, split)
        self._decode = make_decoder(features, features["image"].shape[-1] or 3)
        self.class_names = class_names(features)
        files = [Path(path) for path in builder.info.splits[split].filepaths]
        try:
            self.num_bytes = sum(path.stat().st_size for path in files)
        except OSError as error:
            raise _unreadable(Path(error.filename), error) from error
        self.shape: tuple[int, ...] = (len(self._records),)
        self.shape += self.read(np.arange(1))[0].shape[1:]

    def __len__(self) -> int:
        return self.shape[0]

    def read(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns images uint8 [n, h, w, C] and their classes int64 [n].

        Raises:
          UserError: if an image is damaged, or differs in size from the first.
        """
        try:
            records = self._records.__getitems__(rows.tolist())
            images, labels = zip(*map(self._decode, records), strict=True)
        except UserError:
            raise
        except Exception as error:  # Libraries raise many kinds for damaged bytes.
            raise _unreadable(self.folder, error) from error
        expected = self.shape[1:] or images[0].shape
        for row, image in zip(rows, images, strict=True):
            if image.shape != expected:
                raise UserError(
                    f"{self.folder}: image {row} is {list(image.shape)}, and the first "
                    f"{list(expected)}; make them one size by prepare_data"
                )
        return np.stack(images), np.array(labels)


def _unreadable(path: Path, error: Exception) -> UserError:
    return UserError(f"{path}: cannot be read ({reason(error)}); prepare it again")


@dataclass(frozen=True)
class StoredSet:
    """An image set on disk.

    Attributes:
      folder: As the user named it.
      levels: By side, the largest first.
      missing: Sides of missing levels.
      num_classes: 0 without labels.
      class_names: In the order of the class numbers; () if they are not known.
      labels: Classes int32 [n] of labels.npy, with which runs train; None for a TFDS
        set.
    """

    folder: Path
    levels: Mapping[int, StoredLevel]
    missing: tuple[int, ...]
    num_classes: int
    class_names: tuple[str, ...]
    labels: np.ndarray | None

    @property
    def largest(self) -> StoredLevel:
        """The largest level."""
        return self.levels[max(self.levels)]

    def read(self, side: int, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns images of a level, and the classes with which runs train."""
        pixels, stored = self.levels[side].read(rows)
        return pixels, stored if self.labels is None else self.labels[rows]

    def chunks(self, rows: np.ndarray) -> Iterator[np.ndarray]:
        """Yields `rows` in pieces whose images need little memory."""
        image_bytes = int(np.prod(self.largest.shape[1:]))
        size = min(max(_CHUNK_BYTES // image_bytes, 1), _CHUNK_IMAGES)
        for start in range(0, len(rows), size):
            yield rows[start : start + size]


def open_stored(folder: Path, split: str = "train") -> StoredSet:
    """Opens a prepared pyramid DIR/NAME, or the newest version of a TFDS set.

    Raises:
      UserError: if the folder is neither, or it is damaged.
    """
    if is_pyramid(folder):
        return _open_pyramid(folder, split)
    version = folder if (folder / "features.json").exists() else newest_version(folder)
    if version is None:
        raise UserError(
            f"{folder}: it has neither a prepared set ({RECORD}) nor a TFDS set "
            "(features.json); name DIR/NAME of one"
        )
    level = StoredLevel(version, split)
    names = level.class_names
    return StoredSet(folder, {level.shape[1]: level}, (), len(names), names, None)


def _open_pyramid(folder: Path, split: str) -> StoredSet:
    record, labels = read_description(folder)
    side = record["resolution"]
    levels, missing = {}, []
    for r in (side >> k for k in range(side.bit_length() - 2)):
        path = folder / level_name(r) / VERSION
        if (path / "features.json").exists():
            levels[r] = StoredLevel(path, split)
        else:
            missing.append(r)
    if not levels:
        raise UserError(f"{folder}: all its levels are missing; prepare it again")
    if len(labels) != len(levels[max(levels)]):
        raise UserError(
            f"{folder}: {LABELS} has {len(labels):,} labels, and level {max(levels)} "
            f"{len(levels[max(levels)]):,} images; prepare it again"
        )
    names = tuple(record["class_names"])
    return StoredSet(
        folder, levels, tuple(missing), record["num_classes"], names, labels
    )


@dataclass
class LevelSummary:
    """Counts of one level.

    Attributes:
      num_images: Number of images in its files.
      num_bytes: Size of its files.
      histogram: Number of pixels by channel and value, int64 [C, 256].
      num_not_mean: Number of images that are not the rounded 2x2 mean of the level
        above; None without a level above.
      num_wrong_labels: Number of images whose class is not that of the set.
    """

    num_images: int
    num_bytes: int
    histogram: np.ndarray
    num_not_mean: int | None = None
    num_wrong_labels: int = 0

    @property
    def mean(self) -> np.ndarray:
        """Mean of each channel, float64 [C] in [0, 1]."""
        return self.histogram @ _VALUES / self.histogram.sum(axis=1)

    @property
    def stddev(self) -> np.ndarray:
        """Standard deviation of each channel, float64 [C]."""
        squares = (_VALUES - self.mean[:, None]) ** 2
        variance = (self.histogram * squares).sum(axis=1) / self.histogram.sum(axis=1)
        return np.sqrt(variance)


_VALUES = np.arange(256) / 255


@dataclass(frozen=True)
class Summary:
    """Counts of a set.

    Attributes:
      levels: By side, the largest first.
      num_inspected: Number of images that were read.
      label_counts: Number of images of each class among them, int64 [L].
      num_unlabelled: Number of images without a class among them.
      missing: Sides of missing levels.
    """

    levels: Mapping[int, LevelSummary]
    num_inspected: int
    label_counts: np.ndarray
    num_unlabelled: int
    missing: tuple[int, ...]

    def faults(self) -> Iterator[str]:
        """Yields what is wrong with the set, a line each."""
        for side in self.missing:
            yield f"level {side} is missing"
        largest = max(self.levels)
        expected = self.levels[largest].num_images
        for side, level in self.levels.items():
            if level.num_images != expected:
                yield (
                    f"level {side} has {level.num_images:,} images, and level "
                    f"{largest} {expected:,}"
                )
            if level.num_not_mean:
                yield (
                    f"level {side}: {level.num_not_mean:,} images are not the rounded "
                    f"2x2 mean of level {side * 2}"
                )
            if level.num_wrong_labels:
                yield f"level {side}: {level.num_wrong_labels:,} labels are wrong"


def inspect(images: StoredSet, max_images: int | None, report: Report) -> Summary:
    """Counts a set, and checks its levels against each other.

    Args:
      images: The set.
      max_images: Number of images to read, evenly spaced; None reads all.
      report: Called after every chunk.

    Raises:
      UserError: if an image cannot be read, or its class is out of range.
    """
    levels = {
        side: LevelSummary(
            len(level), level.num_bytes, np.zeros((level.shape[-1], 256), np.int64)
        )
        for side, level in images.levels.items()
    }
    # The first place is for the -1 of images without a class.
    counts = np.zeros(images.num_classes + 1, np.int64)
    rows = spaced(min(map(len, images.levels.values())), max_images)
    for chunk in images.chunks(rows):
        above, labels = None, None if images.labels is None else images.labels[chunk]
        for side, summary in levels.items():
            pixels, classes = images.levels[side].read(chunk)
            labels = classes if labels is None else labels
            summary.num_wrong_labels += int((classes != labels).sum())
            for channel, histogram in enumerate(summary.histogram):
                values = pixels[..., channel].reshape(-1)
                histogram += np.bincount(values, minlength=256)
            if above is not None and above.shape[1] == 2 * side:
                differ = (halve(above) != pixels).any(axis=(1, 2, 3))
                summary.num_not_mean = (summary.num_not_mean or 0) + int(differ.sum())
            above = pixels
        if images.num_classes and labels is not None:
            beyond = labels[(labels < -1) | (labels >= images.num_classes)]
            if len(beyond):
                raise UserError(
                    f"{images.folder}: an image has class {beyond[0]}, and the set has "
                    f"classes from 0 to {images.num_classes - 1:,}; prepare it again"
                )
            counts += np.bincount(labels + 1, minlength=len(counts))
        report(len(chunk))
    return Summary(levels, len(rows), counts[1:], int(counts[0]), images.missing)


def contact_sheet(level: StoredLevel) -> np.ndarray:
    """Returns evenly spaced images of a level side by side, uint8 [H, W, C].

    Small images are enlarged by repeating their pixels.
    """
    h, w = level.shape[1:3]
    factor = max(_SMALLEST_CELL // max(h, w), 1)
    columns, rows = (
        max(size // (side * factor), 1)
        for size, side in zip(_SHEET, (w, h), strict=True)
    )
    pixels, _ = level.read(spaced(len(level), columns * rows))
    return tile(upscale_nearest(pixels, factor), min(columns, len(pixels)))


@dataclass
class Difference:
    """Difference of two sequences of images or labels.

    Attributes:
      num_differ: How many of them differ.
      largest: Largest absolute difference of two values.
      first: Index of the first one that differs, or None.
    """

    num_differ: int = 0
    largest: int = 0
    first: int | None = None

    def add(self, rows: np.ndarray, one: np.ndarray, other: np.ndarray) -> None:
        """Compares values [n, ...] of the images `rows`."""
        gaps = np.abs(one.astype(np.int32) - other.astype(np.int32))
        gaps = gaps.reshape(len(rows), -1).max(axis=1)
        differ = np.flatnonzero(gaps)
        if len(differ):
            self.num_differ += len(differ)
            self.largest = max(self.largest, int(gaps.max()))
            self.first = int(rows[differ[0]]) if self.first is None else self.first


@dataclass(frozen=True)
class Comparison:
    """Differences of two sets.

    Attributes:
      num_compared: Number of images.
      levels: By side, for the common levels of one shape.
      labels: Difference of the classes.
      notes: Differences of the sets, not of their images, a line each.
    """

    num_compared: int
    levels: dict[int, Difference]
    labels: Difference
    notes: tuple[str, ...]

    @property
    def equal(self) -> bool:
        """Whether the sets are the same."""
        differences = [*self.levels.values(), self.labels]
        return not self.notes and not any(d.num_differ for d in differences)


def compare(
    one: StoredSet, other: StoredSet, max_images: int | None, report: Report
) -> Comparison:
    """Compares two sets image by image, up to the length of the shorter one.

    Args:
      one: A set.
      other: Another.
      max_images: Number of images to compare, evenly spaced; None compares all.
      report: Called after every chunk.

    Raises:
      UserError: if an image cannot be read.
    """
    sets = one, other
    common = [
        side
        for side, level in one.levels.items()
        if side in other.levels and level.shape[1:] == other.levels[side].shape[1:]
    ]
    used = [s.levels[side] for s in sets for side in common]
    used += [s.largest for s in sets if common]
    all_rows = spaced(min(map(len, used), default=0), max_images)
    labels, levels = Difference(), {side: Difference() for side in common}
    for rows in one.chunks(all_rows):
        for side, difference in levels.items():
            (pixels, classes), others = (s.read(side, rows) for s in sets)
            difference.add(rows, pixels, others[0])
            if side == common[0]:
                labels.add(rows, classes, others[1])
        report(len(rows))
    return Comparison(len(all_rows), levels, labels, tuple(_unlike(one, other)))


def _unlike(one: StoredSet, other: StoredSet) -> Iterator[str]:
    """Yields the differences of two sets that are not of single images."""
    for what, mine, others in (
        ("images", len(one.largest), len(other.largest)),
        ("classes", one.num_classes, other.num_classes),
    ):
        if mine != others:
            yield f"there are {mine:,} {what}, and {others:,} in the other set"
    names = one.class_names, other.class_names
    if all(names) and len(names[0]) == len(names[1]):
        differing = [k for k, name in enumerate(names[0]) if name != names[1][k]]
        for k in differing[:1]:
            yield (
                f"{len(differing)} classes have other names: {k} is {names[0][k]}, and "
                f"{names[1][k]} in the other set"
            )
    for side in sorted(one.levels.keys() | other.levels.keys(), reverse=True):
        shapes = [
            list(s.levels[side].shape[1:]) if side in s.levels else "missing"
            for s in (one, other)
        ]
        if shapes[0] != shapes[1]:
            yield f"level {side} is {shapes[0]}, and {shapes[1]} in the other set"
