"""Where two image sets differ, image by image."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from progan_jax.data.stored import Report, StoredSet, draw_rows


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
