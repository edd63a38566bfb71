"""What an image set on disk holds, how it looks, and where two sets differ.

Unlike `data.sources`, which opens what a run trains on, this takes nothing for granted:
each level is opened by itself, with the number of images that its own files hold.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

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
    class_label,
    make_decoder,
    names_of_classes,
    newest_version,
    open_folder,
    open_records,
)
from progan_jax.errors import UserError
from progan_jax.images import tile, upscale_nearest

_CHUNK_BYTES = 2**26

_CHUNK_IMAGES = 1024

Report = Callable[[int], object]  # Takes the number of images that are done with.


class StoredLevel:
    """The images of one TFDS set, all of one size.

    Attributes:
      folder: Of the set.
      shape: (n, h, w, C).
      num_bytes: Of its files.
      class_names: Of the ClassLabel feature `label`; () without it.
    """

    def __init__(self, folder: Path, split: str) -> None:
        """Opens the set.

        Args:
          folder: That holds features.json.
          split: Of the set.

        Raises:
          UserError: if it cannot be read, or holds no images.
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
        self.class_names = names_of_classes(class_label(features))
        self.num_bytes = self._count_bytes(builder.info.splits[split].filepaths)
        first = self._read_records([0])[0][0]
        self.shape = (len(self._records), *first.shape)

    def __len__(self) -> int:
        return self.shape[0]

    def read(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns images uint8 [n, h, w, C] and their classes int64 [n].

        Raises:
          UserError: if an image is damaged, or of another size than the first.
        """
        decoded = self._read_records(rows.tolist())
        for row, (image, _) in zip(rows, decoded, strict=True):
            if image.shape != self.shape[1:]:
                raise UserError(
                    f"{self.folder}: image {row} is {list(image.shape)}, and the first "
                    f"{list(self.shape[1:])}; make them one size by prepare_data"
                )
        images, labels = zip(*decoded, strict=True)
        return np.stack(images), np.array(labels)

    def _count_bytes(self, paths: Sequence[Any]) -> int:
        try:
            return sum(Path(path).stat().st_size for path in paths)
        except OSError as error:
            raise _unreadable(self.folder, error) from error

    def _read_records(self, rows: list[int]) -> list[tuple[np.ndarray, int]]:
        try:
            return [self._decode(r) for r in self._records.__getitems__(rows)]
        except UserError:
            raise
        except Exception as error:  # Whatever damaged bytes bring about.
            raise _unreadable(self.folder, error) from error


def _unreadable(folder: Path, error: Exception) -> UserError:
    reason = " ".join(str(error).split())[:200]
    return UserError(f"{folder}: cannot be read ({reason}); prepare it again")


@dataclass(frozen=True)
class StoredSet:
    """An image set on disk.

    Attributes:
      folder: That the user named.
      levels: By side, the largest first.
      missing: Sides of the levels that should be there.
      num_classes: 0 without labels.
      class_names: In the order of the class numbers; () where they are not known.
      labels: Classes int32 [n] that training takes; None of a TFDS set.
    """

    folder: Path
    levels: Mapping[int, StoredLevel]
    missing: tuple[int, ...]
    num_classes: int
    class_names: tuple[str, ...]
    labels: np.ndarray | None

    @property
    def largest(self) -> StoredLevel:
        """Returns the largest level."""
        return self.levels[max(self.levels)]

    def read(self, side: int, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns images of a level, and the classes that training takes for them."""
        pixels, stored = self.levels[side].read(rows)
        return pixels, stored if self.labels is None else self.labels[rows]

    def chunks(self, rows: np.ndarray) -> Iterator[np.ndarray]:
        """Yields `rows` in pieces whose images take little memory."""
        image_bytes = int(np.prod(self.largest.shape[1:]))
        size = min(max(_CHUNK_BYTES // image_bytes, 1), _CHUNK_IMAGES)
        for start in range(0, len(rows), size):
            yield rows[start : start + size]


def draw_rows(length: int, most: int | None) -> np.ndarray:
    """Returns at most `most` indices below `length`, drawn evenly; all if None."""
    num = length if most is None else min(length, most)
    return np.linspace(0, length - 1, num).astype(np.int64)


def open_stored(folder: Path, split: str = "train") -> StoredSet:
    """Opens a prepared pyramid DIR/NAME, or a TFDS set, in its newest version.

    Raises:
      UserError: if the folder is neither, or it is damaged.
    """
    if is_pyramid(folder):
        return _open_pyramid(folder, split)
    version = folder if (folder / "features.json").exists() else newest_version(folder)
    if version is None:
        raise UserError(
            f"{folder}: it holds neither a prepared set ({RECORD}) nor a TFDS set "
            "(features.json); name DIR/NAME of one"
        )
    level = StoredLevel(version, split)
    names = level.class_names
    return StoredSet(folder, {level.shape[1]: level}, (), len(names), names, None)


def _open_pyramid(folder: Path, split: str) -> StoredSet:
    record, labels = read_description(folder)
    side, num_classes = record["resolution"], record["num_classes"]
    names = tuple(record["class_names"])
    folders = {
        side >> k: folder / level_name(side >> k) / VERSION
        for k in range(side.bit_length() - 2)
    }
    there = {
        r: path for r, path in folders.items() if (path / "features.json").exists()
    }
    if not there:
        raise UserError(f"{folder}: none of its levels is there; prepare it again")
    levels = {r: StoredLevel(path, split) for r, path in there.items()}
    if len(labels) != len(levels[max(levels)]):
        raise UserError(
            f"{folder}: {LABELS} holds {len(labels):,} labels, and level {max(levels)} "
            f"{len(levels[max(levels)]):,} images; prepare it again"
        )
    missing = tuple(r for r in folders if r not in there)
    return StoredSet(folder, levels, missing, num_classes, names, labels)


_SHEET = (2048, 1024)  # Width and height of a contact sheet, at most.

_SMALLEST_CELL = 128


@dataclass
class LevelSummary:
    """What was counted of one level.

    Attributes:
      num_images: That the level holds.
      num_bytes: Of its files.
      histogram: Pixels of each channel and byte, int64 [C, 256]; sums of it are exact.
      num_not_mean: Images that are not the rounded 2x2 mean of the level above; None of
        a level that has none above it.
      num_wrong_labels: Images whose class is not the one that the set has for them.
    """

    num_images: int
    num_bytes: int
    histogram: np.ndarray
    num_not_mean: int | None = None
    num_wrong_labels: int = 0

    @property
    def mean(self) -> np.ndarray:
        """Returns the mean of each channel, float64 [C] in [0, 1]."""
        return self.histogram @ _BYTES / self.histogram.sum(axis=1)

    @property
    def stddev(self) -> np.ndarray:
        """Returns the standard deviation of each channel, float64 [C]."""
        squares = (_BYTES - self.mean[:, None]) ** 2
        variance = (self.histogram * squares).sum(axis=1) / self.histogram.sum(axis=1)
        return np.sqrt(variance)


_BYTES = np.arange(256) / 255


@dataclass(frozen=True)
class Summary:
    """What was counted of a set.

    Attributes:
      levels: By side, the largest first.
      num_inspected: Images that were looked at.
      label_counts: Images of each class among them, int64 [L].
      num_unlabelled: Images among them without a class.
      missing: Sides of the levels that should be there.
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
                    f"level {side} holds {level.num_images:,} images, and level "
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
      max_images: Look only at so many, drawn evenly; None looks at all.
      report: Called after every chunk.

    Raises:
      UserError: if an image cannot be read.
    """
    levels = {
        side: LevelSummary(
            len(level), level.num_bytes, np.zeros((level.shape[-1], 256), np.int64)
        )
        for side, level in images.levels.items()
    }
    # One place more, and first, for the -1 of images without a class.
    counts = np.zeros(images.num_classes + 1, np.int64)
    rows = draw_rows(min(map(len, images.levels.values())), max_images)
    for chunk in images.chunks(rows):
        labels = _inspect_chunk(images, levels, chunk)
        if images.num_classes:
            _check_classes(images, labels)
            counts += np.bincount(labels + 1, minlength=len(counts))
        report(len(chunk))
    return Summary(levels, len(rows), counts[1:], int(counts[0]), images.missing)


def _check_classes(images: StoredSet, labels: np.ndarray) -> None:
    beyond = labels[(labels < -1) | (labels >= images.num_classes)]
    if len(beyond):
        raise UserError(
            f"{images.folder}: an image has class {beyond[0]}, and the set has classes "
            f"from 0 to {images.num_classes - 1:,}; prepare it again"
        )


def _inspect_chunk(
    images: StoredSet, levels: Mapping[int, LevelSummary], rows: np.ndarray
) -> np.ndarray:
    """Adds some images to the counts of all levels; returns their classes."""
    above, expected = None, images.labels[rows] if images.labels is not None else None
    for side, summary in levels.items():
        pixels, labels = images.levels[side].read(rows)
        for channel, histogram in enumerate(summary.histogram):
            histogram += np.bincount(pixels[..., channel].reshape(-1), minlength=256)
        if above is not None and above.shape[1] == 2 * side:
            differ = (halve(above) != pixels).any(axis=(1, 2, 3))
            summary.num_not_mean = (summary.num_not_mean or 0) + int(differ.sum())
        expected = labels if expected is None else expected
        summary.num_wrong_labels += int((labels != expected).sum())
        above = pixels
    assert expected is not None, "a set has a level"
    return expected


def contact_sheet(level: StoredLevel) -> np.ndarray:
    """Returns images drawn evenly from a level, side by side, uint8 [H, W, C].

    Small ones are enlarged by repeating their pixels; of large ones there are fewer.
    """
    h, w = level.shape[1:3]
    factor = max(_SMALLEST_CELL // max(h, w), 1)
    columns, rows = (
        max(size // (side * factor), 1)
        for size, side in zip(_SHEET, (w, h), strict=True)
    )
    pixels, _ = level.read(draw_rows(len(level), columns * rows))
    return tile(upscale_nearest(pixels, factor), min(columns, len(pixels)))


@dataclass
class Difference:
    """Where two sequences of images or labels differ.

    Attributes:
      num_differ: How many do.
      largest: Largest absolute difference of two values.
      first: Index of the first one that differs; None if none does.
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
    """How two sets differ.

    Attributes:
      num_compared: Images.
      levels: By side, of the common levels of one shape.
      labels: Of the classes.
      notes: What makes the sets unlike as a whole, a line each.
    """

    num_compared: int
    levels: dict[int, Difference] = field(default_factory=dict)
    labels: Difference = field(default_factory=Difference)
    notes: tuple[str, ...] = ()

    @property
    def equal(self) -> bool:
        """Whether the sets are the same."""
        differences = [*self.levels.values(), self.labels]
        return not self.notes and not any(d.num_differ for d in differences)


def compare(
    one: StoredSet, other: StoredSet, max_images: int | None, report: Report
) -> Comparison:
    """Compares two sets image by image, as far as both go.

    Args:
      one: A set.
      other: Another.
      max_images: Compare only so many, drawn evenly; None compares all.
      report: Called after every chunk.

    Raises:
      UserError: if an image cannot be read.
    """
    sets = one, other
    common = [
        side
        for side in one.levels
        if side in other.levels
        and one.levels[side].shape[1:] == other.levels[side].shape[1:]
    ]
    used = [s.levels[side] for s in sets for side in common]
    used += [s.largest for s in sets if common]
    all_rows = draw_rows(min(map(len, used), default=0), max_images)
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
    """Yields what makes two sets unlike as a whole."""
    counts = len(one.largest), len(other.largest)
    if counts[0] != counts[1]:
        yield f"there are {counts[0]:,} images, and {counts[1]:,} in the other set"
    if one.num_classes != other.num_classes:
        yield (
            f"there are {one.num_classes} classes, and {other.num_classes} in the "
            "other set"
        )
    names = one.class_names, other.class_names
    if all(names) and len(names[0]) == len(names[1]):
        differing = [k for k, name in enumerate(names[0]) if name != names[1][k]]
        for k in differing[:1]:
            yield (
                f"{len(differing)} classes have other names: {k} is {names[0][k]}, and "
                f"{names[1][k]} in the other set"
            )
    for side in sorted(one.levels.keys() | other.levels.keys(), reverse=True):
        if side not in other.levels:
            yield f"level {side} is not in the other set"
        elif side not in one.levels:
            yield f"level {side} is in the other set only"
        elif one.levels[side].shape[1:] != other.levels[side].shape[1:]:
            shapes = [list(s.levels[side].shape[1:]) for s in (one, other)]
            yield f"level {side} is {shapes[0]}, and {shapes[1]} in the other set"
