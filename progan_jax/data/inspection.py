"""What an image set holds, and whether its levels agree; and how it looks."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from progan_jax.data.pyramid import halve
from progan_jax.data.stored import Report, StoredLevel, StoredSet, draw_rows
from progan_jax.errors import UserError
from progan_jax.images import tile, upscale_nearest

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
