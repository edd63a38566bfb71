"""The resolution pyramid of an image set, in memory.

Source: the authors' datasets also store every image at every resolution.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

_SMALLEST = 4  # Side of the last level, where training starts.

_CHUNK = 4096  # Images converted to float at a time, to bound the memory.


class Level(Protocol):
    """Images of one resolution: an array, or what is indexed like one."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Returns (n, r, r, C)."""
        ...

    @property
    def nbytes(self) -> int:
        """Returns the number of bytes of all pixels."""
        ...

    def __len__(self) -> int: ...

    def __getitem__(self, indices: Any) -> np.ndarray: ...


@dataclass(frozen=True)
class Pyramid:
    """An image set at every resolution.

    Attributes:
      name: Name of the set.
      levels: By resolution, uint8 [n, r, r, C]; arrays, or levels on disk, which are
        read when indexed.
      labels: Classes int32 [n], or None.
      num_classes: 0 without labels.
      fingerprint: Hexadecimal digest of the largest level and the labels, by which a
        resumed run notices a changed set.
      class_names: In the order of the class numbers; () without labels or names.
    """

    name: str
    levels: Mapping[int, Level]
    labels: np.ndarray | None
    num_classes: int
    fingerprint: str
    class_names: tuple[str, ...] = ()

    @property
    def resolution(self) -> int:
        """Side of the largest level in pixels."""
        return max(self.levels)

    @property
    def channels(self) -> int:
        """1 (grey) or 3 (RGB)."""
        return self.levels[self.resolution].shape[-1]

    @property
    def num_images(self) -> int:
        """Number of images."""
        return len(self.levels[self.resolution])

    @property
    def label_counts(self) -> tuple[int, ...]:
        """Number of images of each class; () without labels."""
        if self.labels is None:
            return ()
        return tuple(np.bincount(self.labels, minlength=self.num_classes).tolist())


def build_pyramid(
    name: str,
    images: np.ndarray,
    labels: np.ndarray | None,
    num_classes: int,
    class_names: tuple[str, ...] = (),
) -> Pyramid:
    """Builds every level of an image set, down to 4x4.

    Args:
      name: Name of the set.
      images: uint8 [n, r, r, C], r a power of two of at least 4.
      labels: Classes int32 [n] in [0, num_classes), or None.
      num_classes: 0 without labels.
      class_names: See `Pyramid`.
    """
    side = images.shape[1]
    levels: dict[int, Any] = {side: images}
    while side > _SMALLEST:
        levels[side // 2] = halve(levels[side])
        side //= 2
    digest = _digest(images, labels)
    return Pyramid(name, levels, labels, num_classes, digest, class_names)


def halve(images: np.ndarray) -> np.ndarray:
    """Returns the 2x2 means of uint8 [n, h, w, C], rounded half to even.

    Source: TFRecordExporter.add_image of the authors' dataset_tool.py, which computes
    the next level from the means before rounding; see docs/fidelity.md.
    """
    n, h, w, c = images.shape
    halved = np.empty((n, h // 2, w // 2, c), np.uint8)
    for start in range(0, n, _CHUNK):
        chunk = images[start : start + _CHUNK].astype(np.float32)
        # Sums of four bytes, and their quarters, are exact in float32.
        rows = chunk[:, 0::2] + chunk[:, 1::2]
        halved[start : start + _CHUNK] = np.rint(
            (rows[:, :, 0::2] + rows[:, :, 1::2]) * np.float32(0.25)
        )
    return halved


def _digest(images: np.ndarray, labels: np.ndarray | None) -> str:
    digest = hashlib.sha256(np.ascontiguousarray(images).data)
    if labels is not None:
        digest.update(np.ascontiguousarray(labels, np.int32).data)
    return digest.hexdigest()[:32]
