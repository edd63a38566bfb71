"""What an image set holds, whether its levels agree, and where two sets differ.

Images are read in order, a chunk at a time: memory does not grow with the set.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from progan_jax.data.pyramid import halve
from progan_jax.data.stored import StoredLevel, StoredSet
from progan_jax.images import tile, upscale_nearest

_CHUNK_BYTES = 2**26
_CHUNK_IMAGES = 1024
_SHEET = (2048, 1024)  # Width and height of a contact sheet, at most.
_SMALLEST_CELL = 128

Report = Callable[[int], object]  # Takes the number of images that are done with.


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
      num_compared: Images, the first of each set.
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
    rows = _rows(min(map(len, images.levels.values())), max_images)
    for chunk in _chunks(rows, images):
        labels = _inspect_chunk(images, levels, chunk)
        if images.num_classes:
            counts += np.bincount(labels + 1, minlength=len(counts))
        report(len(chunk))
    return Summary(levels, len(rows), counts[1:], int(counts[0]), images.missing)


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


def compare(one: StoredSet, other: StoredSet, report: Report) -> Comparison:
    """Compares two sets image by image, as far as both go.

    Args:
      one: A set.
      other: Another.
      report: Called after every chunk.

    Raises:
      UserError: if an image cannot be read.
    """
    notes = list(_unlike(one, other))
    common = [
        side
        for side in one.levels
        if side in other.levels
        and one.levels[side].shape[1:] == other.levels[side].shape[1:]
    ]
    used = [s.levels[side] for s in (one, other) for side in common]
    num = min(map(len, used), default=0)
    labels, levels = Difference(), {side: Difference() for side in common}
    for rows in _chunks(np.arange(num), one):
        classes = (np.zeros(0),) * 2
        for side, difference in levels.items():
            pixels, classes = zip(
                *(s.levels[side].read(rows) for s in (one, other)), strict=True
            )
            difference.add(rows, *pixels)
        labels.add(rows, *classes)
        report(len(rows))
    return Comparison(num, levels, labels, tuple(notes))


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
    for side in sorted(one.levels.keys() | other.levels.keys(), reverse=True):
        if side not in other.levels:
            yield f"level {side} is not in the other set"
        elif side not in one.levels:
            yield f"level {side} is in the other set only"
        elif one.levels[side].shape[1:] != other.levels[side].shape[1:]:
            shapes = [list(s.levels[side].shape[1:]) for s in (one, other)]
            yield f"level {side} is {shapes[0]}, and {shapes[1]} in the other set"


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
    pixels, _ = level.read(_rows(len(level), columns * rows))
    return tile(upscale_nearest(pixels, factor), min(columns, len(pixels)))


def _rows(length: int, most: int | None) -> np.ndarray:
    """Returns at most `most` indices below `length`, drawn evenly."""
    num = length if most is None else min(length, most)
    return np.linspace(0, length - 1, num).astype(np.int64)


def _chunks(rows: np.ndarray, images: StoredSet) -> Iterator[np.ndarray]:
    """Yields `rows` in pieces whose images take little memory."""
    image_bytes = int(np.prod(images.largest.shape[1:]))
    size = min(max(_CHUNK_BYTES // image_bytes, 1), _CHUNK_IMAGES)
    for start in range(0, len(rows), size):
        yield rows[start : start + size]
