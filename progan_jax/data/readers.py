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
      label: Its class; 0 without classes.
    """

    name: str
    data: bytes | np.ndarray
    label: int


class Reader(Protocol):
    """A sequence of images.

    Attributes:
      name: Of the set, part of a path.
      num_classes: 0 without classes.
    """

    name: str
    num_classes: int

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Item:
        """Reads an image; BadImage if it is to be left out."""
        ...

    def name_of(self, index: int) -> str:
        """Returns an image's name without reading it."""
        ...


class Source(Reader, Protocol):
    """A reader that can tell whether its images are still the same ones."""

    def listing(self) -> Iterable[str]:
        """Yields what is known of the images without reading them.

        Names, classes, sizes, checksums: what a copy of the source shares.
        """
        ...

    def times(self) -> Iterable[str]:
        """Yields when files were changed, where `listing` has no checksums of them."""
        ...


class DigitsReader:
    """The handwritten digits of the package, scaled to a side; see `sources`."""

    name, num_classes = "digits", 10

    def __init__(self, resolution: int) -> None:
        """Loads the digits; `resolution` is their side."""
        from progan_jax.data.sources import load_digits

        pyramid = load_digits(resolution)
        self._images, self._labels = pyramid.levels[resolution][:], pyramid.labels

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> Item:
        label = int(self._labels[index]) if self._labels is not None else 0
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


class SyntheticReader:
    """Noise, for benchmarks: image i is a function of i alone."""

    name, num_classes = "synthetic", 0

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


class Subset:
    """Some images of another reader."""

    def __init__(self, reader: Source, indices: Sequence[int]) -> None:
        """Takes the images of these indices, in their order."""
        self.name, self.num_classes = reader.name, reader.num_classes
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
