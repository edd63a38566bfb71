"""Image files in a folder or a zip file, with their classes."""

import csv
import os
import re
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from progan_jax.data.decoding import BadImage
from progan_jax.data.readers import Item
from progan_jax.errors import UserError

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")

# What zipfile raises for members that are damaged, encrypted or strangely compressed.
_BAD_MEMBER = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    NotImplementedError,
    RuntimeError,
)


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
                return list(_files_below(self._path))
            with zipfile.ZipFile(self._path) as archive:
                return archive.namelist()
        except (OSError, zipfile.BadZipFile) as error:
            raise UserError(
                f"{self._path}: cannot be read ({error}); name a folder or a zip file "
                "of images that can"
            ) from error

    def _read(self, name: str) -> bytes:
        try:
            if not self._is_zip:
                return (self._path / name).read_bytes()
            if self._zip is None:
                self._zip = zipfile.ZipFile(self._path)
            # Members are read, never unpacked: their paths lead nowhere.
            return self._zip.read(name)
        except OSError as error:
            raise BadImage(error.strerror or str(error)) from error
        except _BAD_MEMBER as error:
            raise BadImage(str(error)) from error


def _files_below(folder: Path) -> Iterator[str]:
    """Yields the paths of files below a folder; OSError if one cannot be listed."""

    def fail(error: OSError) -> None:
        raise error

    for root, _, names in os.walk(folder, onerror=fail):
        for path in (Path(root, name) for name in names):
            # A link that leads nowhere is a bad image, not none.
            if path.is_file() or path.is_symlink():
                yield path.relative_to(folder).as_posix()


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
            rows = [
                (name, int(label)) for name, label in filter(None, csv.reader(file))
            ]
    except (OSError, ValueError) as error:
        raise UserError(
            f"--labels={path}: cannot be read ({error}); write lines file,class with "
            "classes from 0 on"
        ) from error
    labels = dict(rows)
    counts = Counter(name for name, _ in rows)
    for kind, wrong in (
        ("stands there more than once", {n for n in counts if counts[n] > 1}),
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
