"""A reader of LMDBs as LSUN publishes them, unpacked or in their zip files."""

import os
import re
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import lmdb
from lmdb.verify import VerifyError, verify

from progan_jax.data.decoding import BadImage, check_bytes
from progan_jax.errors import UserError
from progan_jax.files import move_whole
from progan_jax.prepare.file_reader import BAD_ZIP, DEFLATED
from progan_jax.prepare.lmdb_sizes import choose_sizes
from progan_jax.prepare.readers import Item, Reader

_DATA = "data.mdb"

LMDB_FILES = (_DATA, "lock.mdb")


class LmdbReader(Reader):
    """The images of an LMDB, in the order of their keys, each in one size."""

    def __init__(
        self, path: Path, name: str = "", checksum: str = "", resolution: int = 1
    ) -> None:
        """Checks the file and lists the keys.

        The check reads at least a page of every image.

        Args:
          path: Folder with data.mdb, or such a file itself.
          name: Name of the set; that of the folder by default.
          checksum: Checksum of data.mdb, if it is known.
          resolution: Wanted side, by which a size is chosen; see `choose_sizes`.

        Raises:
          UserError: if it is not an LMDB, is damaged or empty, or has named databases.
        """
        self.name = name or lmdb_name(path)
        self._path = path / _DATA if path.is_dir() else path
        self._checksum = checksum
        self._environment: lmdb.Environment | None = None
        try:
            _check(path, self._path)
            self._keys, remark = choose_sizes(self._list_keys(), self._read, resolution)
        except (lmdb.Error, BadImage) as error:
            raise UserError(f"lmdb:{path}: {error}; download it again") from error
        except OSError as error:
            raise UserError(
                f"lmdb:{path}: {self._path.name} cannot be read ({error.strerror}); "
                f"name the folder of {_DATA}, or its zip file"
            ) from error
        if not self._keys:
            raise UserError(f"lmdb:{path}: the LMDB is empty; download it again")
        self.remarks = (f"lmdb:{path}: {remark}",) if remark else ()

    def __len__(self) -> int:
        return len(self._keys)

    def __getitem__(self, index: int) -> Item:
        return Item(self.name_of(index), self._read(self._keys[index]), 0)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_environment": None}

    def name_of(self, index: int) -> str:
        """Returns an image's name without reading it."""
        return self._keys[index].decode(errors="replace")

    def listing(self) -> Iterator[str]:
        """Yields the size of the file, and the keys of its images."""
        yield str(self._path.stat().st_size)
        yield from (key.hex() for key in self._keys)

    def times(self) -> Iterator[str]:
        """Yields the modification time in ns, or the checksum if it was zipped."""
        yield self._checksum or str(self._path.stat().st_mtime_ns)

    def _list_keys(self) -> list[bytes]:
        with self._begin() as transaction:
            return [bytes(key) for key in transaction.cursor().iternext(values=False)]

    def _read(self, key: bytes) -> bytes:
        """Returns the value of a key; raises BadImage if it is missing or too large."""
        try:
            with self._begin() as transaction:
                value = transaction.get(key)
                if value is None:  # Because of a damaged key in a branch page.
                    raise BadImage("the LMDB does not find its key")
                check_bytes(len(value))
                return bytes(value)
        except lmdb.Error as error:
            raise BadImage(str(error)) from error

    def _begin(self) -> lmdb.Transaction:
        if self._environment is None:
            self._environment = _open(self._path)
        return self._environment.begin(buffers=True)


def _check(path: Path, file: Path) -> None:
    """Checks a file before LMDB's library maps it, which a damaged one would crash.

    Args:
      path: As the user named it.
      file: That file, or data.mdb in that folder.

    Raises:
      UserError: if it is damaged, or has named databases.
      OSError: if it cannot be read.
      lmdb.Error: if it cannot be opened.
    """
    try:
        findings = verify(str(file), subdir=False)
    except (VerifyError, RecursionError) as error:  # Of databases within databases.
        raise UserError(
            f"lmdb:{path}: {error}; download it again, or name an LMDB"
        ) from error
    if findings:
        # Also if a transaction replaced a value by a shorter one; a copy is then sound.
        raise UserError(
            f"lmdb:{path}: it is damaged ({findings[0]}); download it again, or copy "
            "your own by: python -m lmdb -r -e OLD -E NEW rewrite"
        )
    with _open(file) as environment:
        needed = (environment.info()["last_pgno"] + 1) * environment.stat()["psize"]
        size = file.stat().st_size
        if size < needed:  # Only the first page of a large value was checked.
            raise UserError(
                f"lmdb:{path}: it has {size:,} of its {needed:,} bytes; download it "
                "again"
            )
        if environment.dbs():
            raise UserError(
                f"lmdb:{path}: it has named databases, which are not read; name an "
                "LMDB whose values are images"
            )


def _open(file: Path) -> lmdb.Environment:
    # Without a lock: nothing is written, and the folder may be read-only.
    return lmdb.open(
        os.fsencode(file),
        subdir=False,
        readonly=True,
        lock=False,
        readahead=False,
        max_dbs=1,  # So that `dbs` finds named databases.
    )


def lmdb_name(path: Path) -> str:
    """Returns LSUN's category by the name of its folder or zip file.

    bedroom_train_lmdb and bedroom_train_lmdb.zip are bedroom, cat.zip is cat, and
    bedroom_val_lmdb is bedroom_val.
    """
    return re.sub(r"((_train)?_lmdb|\.l?mdb)$", "", path.name.removesuffix(".zip"))


def unpack_lmdb(archive: Path, folder: Path) -> Path:
    """Unpacks the LMDB of a zip file, unless that is done, and returns its folder.

    LMDB maps its file into memory, so it cannot be read from the archive. Only data.mdb
    is unpacked, and no path in the archive is followed.

    Args:
      archive: As LSUN is downloaded.
      folder: Where to unpack; an LMDB of another archive there is removed.

    Raises:
      UserError: if it is not such a file, is damaged, or the disk is too small for it.
      OSError: if it cannot be written.
    """
    target = folder / check_archive(archive)
    if (target / _DATA).exists():
        return target
    shutil.rmtree(folder, ignore_errors=True)
    target.mkdir(parents=True)
    unfinished = target / f".{_DATA}.partial"
    try:
        with zipfile.ZipFile(archive) as opened:
            member = _find_data(archive, opened)
            _check_room(archive, member.file_size, target)
            with opened.open(member) as source, unfinished.open("wb") as copy:
                shutil.copyfileobj(source, copy, 2**20)
        move_whole(unfinished, target / _DATA)
    except (UserError, OSError, *BAD_ZIP) as error:
        shutil.rmtree(folder, ignore_errors=True)
        if isinstance(error, UserError | OSError):  # A full disk, above all.
            raise
        raise _no_archive(archive, error) from error
    return target


def _check_room(archive: Path, needed: int, folder: Path) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise UserError(
            f"lmdb:{archive}: it unpacks to {needed / 2**20:,.1f} MiB, and --out has "
            f"{free / 2**20:,.1f} MiB free; make room, or choose another"
        )


def check_archive(archive: Path) -> str:
    """Returns the checksum of the LMDB in a zip file, from the file's directory.

    Raises:
      UserError: if it is not a zip file of one LMDB.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            return f"{_find_data(archive, opened).CRC:08x}"
    except (OSError, *BAD_ZIP) as error:
        raise _no_archive(archive, error) from error


def _no_archive(archive: Path, error: Exception) -> UserError:
    return UserError(
        f"lmdb:{archive}: cannot be unpacked ({error}); download it again, or name "
        "the folder of an LMDB"
    )


def _find_data(archive: Path, opened: zipfile.ZipFile) -> zipfile.ZipInfo:
    members = [m for m in opened.infolist() if PurePosixPath(m.filename).name == _DATA]
    if len(members) != 1:
        raise UserError(
            f"lmdb:{archive}: it has {len(members) or 'no'} {_DATA}, and must have "
            "one; name the zip file of one LMDB"
        )
    if members[0].compress_type not in DEFLATED:
        raise UserError(
            f"lmdb:{archive}: it is packed by another method than deflate; unpack it, "
            "and name the folder"
        )
    return members[0]
