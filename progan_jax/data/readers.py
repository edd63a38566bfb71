"""Where images come from: folders, zip files, digits, noise; and what a reader is.

A reader is a sequence of images that a worker process can open anew: it holds names
and positions, and opens files when it is read.
"""

import csv
import hashlib
import re
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

import numpy as np

from progan_jax.data.decoding import BadImage
from progan_jax.errors import UserError

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")


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


class FileReader:
    """Image files below a folder or in a zip file, in the order of their names.

    Classes are the first folders below, sorted, if there is more than one, or those of
    a CSV file.
    """

    def __init__(self, path: Path, labels: Path | None = None) -> None:
        """Lists the files.

        Args:
          path: A folder or a zip file.
          labels: CSV of two columns, file and class (a whole number), without a header.

        Raises:
          UserError: if there are no images, or the CSV speaks of other files.
        """
        self.name = path.name.removesuffix(".zip")
        self._path, self._zip = path, None
        self._is_zip = path.is_file()
        self._names = sorted(n for n in self._list() if _is_image(n))
        if not self._names:
            raise UserError(
                f"{path}: it holds no {', '.join(SUFFIXES)}; name a folder or a zip "
                "file of images"
            )
        if labels is not None:
            self._labels = _read_labels(labels, self._names)
        else:
            self._labels = _labels_of_folders(self._names)
        self.num_classes = max(self._labels) + 1 if any(self._labels) else 0

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, index: int) -> Item:
        name = self._names[index]
        return Item(name, self._read(name), self._labels[index])

    def name_of(self, index: int) -> str:
        """Returns an image's name without reading it."""
        return self._names[index]

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_zip": None}

    def _list(self) -> list[str]:
        try:
            if not self._is_zip:
                files = (p for p in self._path.rglob("*") if p.is_file())
                return [p.relative_to(self._path).as_posix() for p in files]
            with zipfile.ZipFile(self._path) as archive:
                return archive.namelist()
        except (OSError, zipfile.BadZipFile) as error:
            raise UserError(f"{self._path}: cannot be read ({error})") from error

    def _read(self, name: str) -> bytes:
        # Members of a zip file are read, never unpacked: their paths lead nowhere.
        if not self._is_zip:
            return (self._path / name).read_bytes()
        if self._zip is None:
            self._zip = zipfile.ZipFile(self._path)
        return self._zip.read(name)


def _is_image(name: str) -> bool:
    path = PurePosixPath(name)
    hidden = any(re.match(r"\.[^.]|__MACOSX$", part) for part in path.parts)
    return path.suffix.lower() in SUFFIXES and not hidden


def _labels_of_folders(names: Sequence[str]) -> list[int]:
    folders = [name.split("/")[0] if "/" in name else "" for name in names]
    known = sorted(set(folders))
    if len(known) < 2 or "" in known:
        return [0] * len(names)
    return [known.index(folder) for folder in folders]


def _read_labels(path: Path, names: Sequence[str]) -> list[int]:
    """Reads file,class for every image, and for no other."""
    try:
        with path.open(newline="") as file:
            rows = [row for row in csv.reader(file) if row]
        labels = {name: int(label) for name, label in rows}
    except (OSError, ValueError) as error:
        raise UserError(
            f"--labels={path}: cannot be read ({error}); write lines file,class with "
            "classes from 0 on"
        ) from error
    for kind, wrong in (
        ("speaks of no image of the source", labels.keys() - set(names)),
        ("is missing", set(names) - labels.keys()),
    ):
        if wrong:
            raise UserError(
                f"--labels={path}: {sorted(wrong)[0]!r} {kind} ({len(wrong)} such "
                "file(s)); correct the file"
            )
    if min(labels.values()) < 0:
        raise UserError(
            f"--labels={path}: classes must be at least 0; correct the file"
        )
    return [labels[name] for name in names]


class DigitsReader:
    """scikit-learn's handwritten digits, scaled to a side; see `sources`."""

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


class Subset:
    """Some images of another reader."""

    def __init__(self, reader: Reader, indices: Sequence[int]) -> None:
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


def fingerprint(reader: Reader) -> str:
    """Returns a digest of the number of images and of sixteen of them."""
    digest = hashlib.sha256(f"{reader.name} {len(reader)}".encode())
    for index in np.linspace(0, len(reader) - 1, 16).astype(int):
        try:
            item = reader[int(index)]
        except BadImage as error:
            digest.update(str(error).encode())
            continue
        data = item.data if isinstance(item.data, bytes) else item.data.tobytes()
        digest.update(f"{item.name} {item.label}".encode() + data)
    return digest.hexdigest()[:32]
