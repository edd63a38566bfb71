"""Readers: the images of a source as a sequence; those of digits, noise and subsets.

A reader is picklable: it has names and positions, and a worker process opens its files
when it reads.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from progan_jax.data.decoding import BadImage


@dataclass(frozen=True)
class Item:
    """One image of a source.

    Attributes:
      name: Name that is shown to the user.
      data: A file's bytes, or pixels uint8 [h, w, C].
      label: Class; 0 in a set without classes, -1 for an image without a class in a set
        with classes.
    """

    name: str
    data: bytes | np.ndarray
    label: int


class Reader:
    """A sequence of images.

    Attributes:
      name: Name of the set, part of a path.
      num_classes: 0 without classes.
      class_names: In the order of the class numbers; () if they are not known.
      labels: Class of each image, int [n]; None if it is known only after reading.
      unread: Names of files that are not images of a kind that is read, and reasons.
      remarks: Warnings for the user before the source is read.
    """

    name: str
    num_classes: int = 0
    class_names: tuple[str, ...] = ()
    labels: np.ndarray | None = None
    unread: tuple[tuple[str, str], ...] = ()
    remarks: tuple[str, ...] = ()

    def __len__(self) -> int:
        raise NotImplementedError

    def __getitem__(self, index: int) -> Item:
        """Reads an image; raises BadImage if it is to be skipped."""
        raise NotImplementedError

    def name_of(self, index: int) -> str:
        """Returns an image's name without reading it."""
        return str(index)

    def listing(self) -> Iterable[str]:
        """Yields what is known of the images without reading them.

        Names, classes, sizes, checksums: what a copy of the source shares. Nothing for
        images that never change.
        """
        return ()

    def times(self) -> Iterable[str]:
        """Yields modification times of files of which `listing` has no checksums."""
        return ()


class DigitsReader(Reader):
    """The handwritten digits of the package, scaled to a side; see `sources`."""

    name = "digits"

    def __init__(self, resolution: int) -> None:
        """Loads the digits; `resolution` is their side."""
        from progan_jax.data.sources import load_digits

        pyramid = load_digits(resolution)
        self._images, self.labels = pyramid.levels[resolution][:], pyramid.labels
        self.num_classes, self.class_names = pyramid.num_classes, pyramid.class_names

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> Item:
        label = int(self.labels[index]) if self.labels is not None else 0
        return Item(self.name_of(index), self._images[index], label)


class SyntheticReader(Reader):
    """Noise, for benchmarks: image i is a function of i alone."""

    name = "synthetic"

    def __init__(self, num_images: int, resolution: int) -> None:
        """Describes `num_images` RGB images of side `resolution`."""
        self._num_images, self._resolution = num_images, resolution

    def __len__(self) -> int:
        return self._num_images

    def __getitem__(self, index: int) -> Item:
        generator = np.random.Philox(key=index)
        count = self._resolution**2 * 3
        pixels = np.frombuffer(generator.random_raw(-(-count // 8)).tobytes(), np.uint8)
        shape = (self._resolution, self._resolution, 3)
        return Item(self.name_of(index), pixels[:count].reshape(shape), 0)


class Subset(Reader):
    """Some images of another reader; `listing` and `times` are of all its images."""

    def __init__(self, reader: Reader, indices: Sequence[int]) -> None:
        """Takes the images of these indices, in their order."""
        self.name, self.num_classes = reader.name, reader.num_classes
        self.class_names, self.unread = reader.class_names, reader.unread
        self.listing, self.times = reader.listing, reader.times
        self.indices = indices
        self._reader = reader

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> Item:
        return self._reader[self.indices[index]]

    def name_of(self, index: int) -> str:
        """Returns an image's name without reading it."""
        return self._reader.name_of(self.indices[index])


def spaced(length: int, most: int | None) -> np.ndarray:
    """Returns at most `most` indices below `length`, evenly spaced; all if None."""
    number = length if most is None else min(length, most)
    return np.linspace(0, length - 1, number).astype(np.int64)


def spread(reader: Reader, num_images: int) -> Sequence[int]:
    """Returns the indices of `num_images` images, chosen evenly among the classes.

    The classes take turns, each with its first image that is left. If classes are known
    only after reading, the first images are chosen.
    """
    if reader.labels is None:
        return range(min(num_images, len(reader)))
    by_class = np.argsort(reader.labels, kind="stable")
    counts = np.bincount(reader.labels)
    turns = np.empty(len(reader), np.int64)
    first = np.repeat(np.cumsum(counts) - counts, counts)
    turns[by_class] = np.arange(len(reader)) - first
    return np.sort(np.lexsort((reader.labels, turns))[:num_images]).tolist()


def fingerprint(reader: Reader) -> str:
    """Returns a digest of the listing of a source and of sixteen of its images."""
    digest = _digest([str(len(reader)), *reader.listing()])
    for index in np.linspace(0, len(reader) - 1, 16).astype(int):
        try:
            item = reader[int(index)]
        except BadImage as error:
            digest.update(str(error).encode())
            continue
        data = item.data if isinstance(item.data, bytes) else item.data.tobytes()
        name = f"{item.name} {item.label}".encode(errors="surrogateescape")
        digest.update(name + data)
    return digest.hexdigest()[:32]


def digest_times(reader: Reader) -> str:
    """Returns a digest of the modification times of a source's files."""
    return _digest(reader.times()).hexdigest()[:32]


def _digest(lines: Iterable[str]) -> Any:
    digest = hashlib.sha256()
    for line in lines:
        digest.update(line.encode(errors="surrogateescape") + b"\0")
    return digest
