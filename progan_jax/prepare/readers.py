"""What a reader is; and those of digits, of noise, and of some images of another.

A reader is a sequence of images that a worker process can open anew: it holds names
and positions, and opens files when it is read.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from progan_jax.data.decoding import BadImage


@dataclass(frozen=True)
class Item:
    """One image of a source.

    Attributes:
      name: By which the user knows it.
      data: A file's bytes, or pixels uint8 [h, w, C].
      label: Its class; 0 without classes, -1 of an image without one in a set with
        classes.
    """

    name: str
    data: bytes | np.ndarray
    label: int


class Reader(Protocol):
    """A sequence of images.

    Attributes:
      name: Of the set, part of a path.
      num_classes: 0 without classes.
      class_names: In the order of the class numbers; () where they are not known.
    """

    name: str
    num_classes: int = 0
    class_names: tuple[str, ...] = ()

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Item:
        """Reads an image; BadImage if it is to be left out."""
        ...

    def name_of(self, index: int) -> str:
        """Returns an image's name without reading it."""
        ...


class Source(Reader, Protocol):
    """A reader that can tell whether its images are still the same ones.

    Attributes:
      labels: Class of each image, int [n]; None if it is not known before it is read.
      unread: Names of files that are no images of a kind that is read, and reasons.
      remarks: What the user should know of it before it is read.
    """

    labels: np.ndarray | None = None
    unread: tuple[tuple[str, str], ...] = ()
    remarks: tuple[str, ...] = ()

    def listing(self) -> Iterable[str]:
        """Yields what is known of the images without reading them.

        Names, classes, sizes, checksums: what a copy of the source shares.
        """
        ...

    def times(self) -> Iterable[str]:
        """Yields when files were changed, where `listing` has no checksums of them."""
        ...


class DigitsReader(Source):
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

    def name_of(self, index: int) -> str:
        """Returns an image's name without reading it."""
        return str(index)

    def listing(self) -> Iterable[str]:
        """Yields nothing: they never change."""
        return ()

    def times(self) -> Iterable[str]:
        """Yields nothing: they never change."""
        return ()


class SyntheticReader(Source):
    """Noise, for benchmarks: image i is a function of i alone."""

    name = "synthetic"

    def __init__(self, num_images: int, resolution: int) -> None:
        """Describes the set: so many RGB images of that side."""
        self._num_images, self._resolution = num_images, resolution

    def __len__(self) -> int:
        return self._num_images

    def __getitem__(self, index: int) -> Item:
        generator = np.random.Philox(key=index)
        count = self._resolution**2 * 3
        pixels = np.frombuffer(generator.random_raw(-(-count // 8)).tobytes(), np.uint8)
        shape = (self._resolution, self._resolution, 3)
        return Item(self.name_of(index), pixels[:count].reshape(shape), 0)

    def name_of(self, index: int) -> str:
        """Returns an image's name without reading it."""
        return str(index)

    def listing(self) -> Iterable[str]:
        """Yields nothing: they never change."""
        return ()

    def times(self) -> Iterable[str]:
        """Yields nothing: they never change."""
        return ()


class Subset(Source):
    """Some images of another reader."""

    def __init__(self, reader: Source, indices: Sequence[int]) -> None:
        """Takes the images of these indices, in their order."""
        self.name, self.num_classes = reader.name, reader.num_classes
        self.class_names, self.unread = reader.class_names, reader.unread
        self.indices = indices
        self._reader = reader

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> Item:
        return self._reader[self.indices[index]]

    def name_of(self, index: int) -> str:
        """Returns an image's name without reading it."""
        return self._reader.name_of(self.indices[index])

    def listing(self) -> Iterable[str]:
        """Yields that of the other reader: of all its images."""
        return self._reader.listing()

    def times(self) -> Iterable[str]:
        """Yields those of the other reader: of all its files."""
        return self._reader.times()


def spread(reader: Source, num_images: int) -> Sequence[int]:
    """Returns which images to take of a source: as many of each class as there are.

    The classes take turns, each with its first image that is left. Where classes are
    not known before images are read, the first images are taken.
    """
    if reader.labels is None:
        return range(min(num_images, len(reader)))
    by_class = np.argsort(reader.labels, kind="stable")
    counts = np.bincount(reader.labels)
    turns = np.empty(len(reader), np.int64)
    first = np.repeat(np.cumsum(counts) - counts, counts)
    turns[by_class] = np.arange(len(reader)) - first
    return np.sort(np.lexsort((reader.labels, turns))[:num_images]).tolist()


def fingerprint(reader: Source) -> str:
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


def digest_times(reader: Source) -> str:
    """Returns a digest of when the files of a source were changed."""
    return _digest(reader.times()).hexdigest()[:32]


def _digest(lines: Iterable[str]) -> Any:
    digest = hashlib.sha256()
    for line in lines:
        digest.update(line.encode(errors="surrogateescape") + b"\0")
    return digest
