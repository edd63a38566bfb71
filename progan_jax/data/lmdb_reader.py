"""LMDBs as LSUN publishes them, in their folders or zipped as they are downloaded."""

import functools
import re
import shutil
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from progan_jax.data.decoding import BadImage
from progan_jax.data.readers import Item, Source
from progan_jax.errors import UserError
from progan_jax.files import move_whole

_DATA = "data.mdb"


class LmdbReader(Source):
    """An LMDB of keys to encoded images, in the order of keys."""

    def __init__(self, path: Path, name: str = "", checksum: str = "") -> None:
        """Lists the keys.

        Args:
          path: Folder with data.mdb.
          name: Of the set; that of the folder by default.
          checksum: Of data.mdb, if it is known.

        Raises:
          UserError: if it is no LMDB, or a damaged one.
        """
        import lmdb

        self.name = name or lmdb_name(path)
        self._path, self._checksum = path, checksum
        try:
            with _open_lmdb(path).begin(buffers=False) as transaction:
                self._keys = list(transaction.cursor().iternext(values=False))
        except lmdb.Error as error:
            raise UserError(
                f"lmdb:{path}: it is damaged ({error}); download it again"
            ) from error
        if not self._keys:
            raise UserError(f"{path}: the LMDB is empty; download it again")

    def __len__(self) -> int:
        return len(self._keys)

    def __getitem__(self, index: int) -> Item:
        import lmdb

        key = self._keys[index]
        try:
            with _open_lmdb(self._path).begin(buffers=False) as transaction:
                data = transaction.get(key)
        except lmdb.Error as error:
            raise BadImage(str(error)) from error
        return Item(self.name_of(index), data, 0)

    def name_of(self, index: int) -> str:
        """Returns an image's name without reading it."""
        return self._keys[index].decode(errors="replace")

    def listing(self) -> Iterator[str]:
        """Yields the size of the file, and the keys."""
        yield str((self._path / _DATA).stat().st_size)
        yield from (key.hex() for key in self._keys)

    def times(self) -> Iterator[str]:
        """Yields when the file was changed, in ns; its checksum if it was unpacked."""
        changed = (self._path / _DATA).stat().st_mtime_ns
        yield self._checksum or str(changed)


def lmdb_name(path: Path) -> str:
    """Returns LSUN's name of a category: that of its file without what surrounds it.

    bedroom_train_lmdb.zip and the folder bedroom_train_lmdb are bedroom, cat.zip is
    cat, and bedroom_val_lmdb is bedroom_val.
    """
    return re.sub(r"(_train)?_lmdb$", "", path.name.removesuffix(".zip"))


@functools.cache
def _open_lmdb(path: Path) -> Any:
    """Opens an LMDB; a process may do so only once."""
    import lmdb

    try:
        # Without a lock: nothing is written, and the folder may be read-only.
        opened = lmdb.open(str(path), readonly=True, lock=False, create=False)
    except lmdb.Error as error:
        raise UserError(
            f"lmdb:{path}: cannot be opened ({error}); name the folder that holds "
            f"{_DATA}, or the zip file of it"
        ) from error
    needed = (opened.info()["last_pgno"] + 1) * opened.stat()["psize"]
    size = (path / _DATA).stat().st_size
    if size < needed:  # To read on beyond the end would kill the process.
        raise UserError(
            f"lmdb:{path}: {_DATA} has {size:,} of its {needed:,} bytes; download it "
            "again"
        )
    return opened


def unpack_lmdb(archive: Path, folder: Path) -> Path:
    """Unpacks the LMDB of a zip file, unless that is done, and returns its folder.

    An LMDB is read through a map of its file into memory, and so needs one of its own.
    Of the zip file data.mdb alone is read, and no path in it is followed.

    Args:
      archive: As LSUN is downloaded.
      folder: Where to unpack; what is there of another archive is removed.

    Raises:
      UserError: if it is no such file, is damaged, or there is no room.
      OSError: if it cannot be written.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            member = _find_data(archive, opened)
            target = folder / f"{member.CRC:08x}-{member.file_size}"
            if not (target / _DATA).exists():
                shutil.rmtree(folder, ignore_errors=True)
                target.mkdir(parents=True)
                _check_room(archive, member.file_size, folder)
                _unpack(opened, member, target / _DATA)
            return target
    except OSError:  # A full disk: what takes the room goes.
        shutil.rmtree(folder, ignore_errors=True)
        raise
    except (zipfile.BadZipFile, zlib.error, RuntimeError, EOFError) as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise _no_archive(archive, error) from error


def check_archive(archive: Path) -> str:
    """Returns the checksum of the LMDB in a zip file, as its directory tells it.

    Raises:
      UserError: if it is no zip file of one LMDB.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            return f"{_find_data(archive, opened).CRC:08x}"
    except zipfile.BadZipFile as error:
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
            f"lmdb:{archive}: it holds {len(members) or 'no'} {_DATA}, and must hold "
            "one; name the zip file of one LMDB"
        )
    return members[0]


def _check_room(archive: Path, needed: int, folder: Path) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed:
        shutil.rmtree(folder)
        raise UserError(
            f"lmdb:{archive}: it unpacks to {needed / 2**20:,.1f} MiB, and --out has "
            f"{free / 2**20:,.1f} MiB free; make room, or choose another"
        )


def _unpack(opened: zipfile.ZipFile, member: zipfile.ZipInfo, path: Path) -> None:
    """Writes a file that has its name only when it is whole."""
    unfinished = path.with_name(f".{path.name}.partial")
    with opened.open(member) as source, unfinished.open("wb") as target:
        shutil.copyfileobj(source, target, 2**20)
    move_whole(unfinished, path)
