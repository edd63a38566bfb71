"""A reader of image files in a folder or a zip file, with their classes."""

import os
import stat
import struct
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, Any

import numpy as np

from progan_jax.data.decoding import MAX_BYTES, BadImage, check_bytes
from progan_jax.data.names import counted, first_few, normal, printable
from progan_jax.errors import UserError
from progan_jax.prepare.classes import (
    Classes,
    classes_of_folders,
    classes_of_json,
    classes_of_table,
    common_folder,
    split_path,
)
from progan_jax.prepare.listing import HEAD, KINDS, Listing, files_below, sort_files
from progan_jax.prepare.readers import Item, Reader

_DATASET = "dataset.json"  # Labels in the sets of StyleGAN2-ADA's dataset_tool.py.

# Largest size of that file: JSON takes up to 25 times its size in memory.
_BYTES_PER_IMAGE, _BYTES_BESIDE = 2**10, 2**24

# What zipfile raises for archives and members that are damaged, encrypted, compressed
# by an unknown method, or named in no known encoding.
BAD_ZIP = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    NotImplementedError,
    RuntimeError,
    ValueError,
)

# Python unpacks members of other methods in steps of any size: 4 kB may become 4 GB.
DEFLATED = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


class FileReader(Reader):
    """Image files below a folder or in a zip file, in the order of their names.

    Classes are those of a CSV file, or of a dataset.json beside the images, or else the
    first folders below the one that contains all images.
    """

    def __init__(self, path: Path, labels: Path | None = None) -> None:
        """Lists the files.

        Args:
          path: A folder or a zip file.
          labels: CSV of two columns, file and class (a whole number), without a header.

        Raises:
          UserError: if there are no images, or the labels are of other files.
        """
        self.name = normal(path.name.removesuffix(".zip"))
        self._path, self._zip = path, None
        self._is_zip = path.is_file()
        remarks: list[str] = []
        listing = sort_files(self._list(remarks), self._read_head)
        self._names, self.unread = listing.images, tuple(listing.others)
        if not self._names:
            raise UserError(
                f"{path}: it has no {KINDS} files; name a folder or a zip file of "
                "images"
            )
        dataset = None if labels else _find_dataset(listing)
        classes = self._classes(labels, dataset)
        self.labels = self._labels = np.array(classes.labels, np.int32)
        self.num_classes, self.class_names = classes.num_classes, classes.names
        left_out = [n for n in listing.texts if n != dataset]
        left_out += [name for name, _ in listing.others]
        remarks = [classes.remark, *remarks, _remark_left_out(left_out)]
        self.remarks = tuple(f"{path}: {remark}" for remark in remarks if remark)

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, index: int) -> Item:
        name = self._names[index]
        return Item(name, self._read(name), int(self._labels[index]))

    def name_of(self, index: int) -> str:
        """Returns an image's name without reading it."""
        return self._names[index]

    def listing(self) -> Iterator[str]:
        """Yields name, class and size of each file, and its checksum in a zip file."""
        if self._is_zip:
            with _open_zip(self._path) as archive:
                known = {m.filename: (m.file_size, m.CRC) for m in archive.infolist()}
        else:
            known = {name: (_stat(self._path / name)[0],) for name in self._names}
        for name, label in zip(self._names, self._labels.tolist(), strict=True):
            yield f"{name} {label} {known[name]}"

    def times(self) -> Iterator[str]:
        """Yields the modification time of each file of a folder, in ns."""
        if not self._is_zip:
            for name in self._names:
                yield str(_stat(self._path / name)[1])

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_zip": None}

    def _list(self, remarks: list[str]) -> Iterable[str]:
        """Returns the names of all files; adds warnings of those left out."""
        try:
            if not self._is_zip:
                repeated: list[tuple[str, str]] = []
                names = list(files_below(self._path, repeated))
                remarks.append(_remark_links(repeated))
                return names
            with _open_zip(self._path) as archive:
                names = [n for n in archive.namelist() if not n.endswith("/")]
            # As when the file is unpacked, the last of a name replaces the others.
            kept = {tuple(split_path(name)): name for name in names}
            remarks.append(_remark_replaced(names, list(kept.values())))
            return kept.values()
        except (OSError, *BAD_ZIP) as error:
            raise UserError(
                f"{self._path} cannot be read ({error}); name a folder or a whole zip "
                "file of images"
            ) from error

    def _classes(self, table: Path | None, dataset: str | None) -> Classes:
        """Returns the classes, from a CSV file or the dataset.json if there is one."""
        if table is not None:
            return classes_of_table(table, self._names)
        if dataset is None:
            return classes_of_folders(self._names, str(self._path))
        where, folder = f"{self._path}/{dataset}", common_folder([dataset])
        most = min(MAX_BYTES, _BYTES_BESIDE + _BYTES_PER_IMAGE * len(self))
        try:
            data = self._read(dataset, most)
        except BadImage as error:
            raise UserError(
                f"{where}: cannot be read ({error}); remove it to take folders as "
                "classes, or give --labels=FILE.csv"
            ) from error
        return classes_of_json(data, self._names, folder, where)

    def _read_head(self, name: str) -> bytes:
        with self._opened(name) as (file, size):
            head = file.read(min(size, HEAD))
        if self._zip and stat.S_ISLNK(self._zip.getinfo(name).external_attr >> 16):
            raise BadImage("it is a link, and zip files are not unpacked")
        return head

    def _read(self, name: str, most: int = MAX_BYTES) -> bytes:
        """Returns a file; raises BadImage if it cannot be read or is too large."""
        with self._opened(name) as (file, size):
            check_bytes(size, most)
            return file.read(size)

    @contextmanager
    def _opened(self, name: str) -> Iterator[tuple[IO[bytes], int]]:
        """Opens a file and yields it with its size, beyond which it is not read.

        Raises:
          BadImage: if it cannot be read, then or while it is open.
        """
        try:
            if self._is_zip:
                self._zip = self._zip or _open_zip(self._path)
                member = self._zip.getinfo(name)
                if member.compress_type not in DEFLATED:
                    raise BadImage("it is packed by another method than deflate")
                # Members are read, never unpacked: their paths lead nowhere.
                with self._zip.open(member) as file:
                    yield file, member.file_size
                return
            path = self._path / name
            # Opening a pipe would wait for its writer, and a device may never end.
            if not stat.S_ISREG(path.stat().st_mode):
                raise BadImage("it is a pipe, a socket or a device")
            with path.open("rb") as file:
                yield file, os.fstat(file.fileno()).st_size
        except OSError as error:
            raise BadImage(error.strerror or str(error)) from error
        except BAD_ZIP as error:
            raise BadImage(str(error)) from error


def _open_zip(path: Path) -> zipfile.ZipFile:
    try:
        # macOS writes UTF-8 without the flag for it.
        return zipfile.ZipFile(path, metadata_encoding="utf-8")
    except UnicodeDecodeError:
        return zipfile.ZipFile(path)


def _stat(path: Path) -> tuple[int, int]:
    """Returns size and modification time; -1s for a bad image without them."""
    try:
        found = path.stat()
    except OSError:
        return -1, -1
    return found.st_size, found.st_mtime_ns


def _find_dataset(listing: Listing) -> str | None:
    """Returns the topmost dataset.json above all images; None without one."""
    folder = common_folder(listing.images)
    found = [
        name
        for name in listing.texts
        if split_path(name)[-1] == _DATASET and folder.startswith(common_folder([name]))
    ]
    return min(found, key=len, default=None)


def _remark_replaced(names: Sequence[str], kept: Sequence[str]) -> str:
    """Returns a warning of members of a zip file with another's name, or ""."""
    replaced = [*(Counter(names) - Counter(kept)).elements()]
    if not replaced:
        return ""
    return (
        f"not read: {counted(len(replaced), 'file')} with the name of a later one in "
        f"the zip file, such as {printable(replaced[0])}"
    )


def _remark_links(repeated: Sequence[tuple[str, str]]) -> str:
    """Returns a warning of links that are not followed, or ""."""
    if not repeated:
        return ""
    link, folder = map(printable, repeated[0])
    return (
        f"not followed: {counted(len(repeated), 'link')} to folders that are read "
        f"anyway, such as {link} to {folder}"
    )


def _remark_left_out(names: Sequence[str]) -> str:
    """Returns a warning that counts files that are not images, by suffix, or ""."""
    suffixes = (PurePosixPath(name).suffix.lower() for name in names)
    counts = Counter(suffix or "without suffix" for suffix in suffixes).most_common()
    shown = first_few([f"{number:,} {suffix}" for suffix, number in counts], 8)
    remark = f"only {KINDS} are read, not {counted(len(names), 'file')}: {shown}"
    return remark if names else ""
