"""LMDBs as LSUN publishes them, in their folders or zipped as they are downloaded."""

import re
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from progan_jax.data.decoding import MAX_BYTES, BadImage
from progan_jax.data.file_reader import BAD_ZIP, DEFLATED
from progan_jax.data.lmdb_file import DamagedLmdb, LmdbFile
from progan_jax.data.lmdb_sizes import choose_sizes
from progan_jax.data.readers import Item, Source
from progan_jax.errors import UserError
from progan_jax.files import move_whole

_DATA = "data.mdb"
LMDB_FILES = (_DATA, "lock.mdb")


class LmdbReader(Source):
    """The images of an LMDB, in the order of keys; of several sizes one is read."""

    def __init__(
        self, path: Path, name: str = "", checksum: str = "", resolution: int = 1
    ) -> None:
        """Lists the keys.

        Args:
          path: Folder with data.mdb, or such a file itself.
          name: Of the set; that of the folder by default.
          checksum: Of data.mdb, if it is known.
          resolution: Wanted side, by which a size is chosen; see `choose_sizes`.

        Raises:
          UserError: if it is no LMDB, or a damaged one.
        """
        self.name = name or lmdb_name(path)
        self._path = path / _DATA if path.is_dir() else path
        self._checksum = checksum
        try:
            self._file = LmdbFile(self._path)
            self._positions, remark = choose_sizes(self._file, resolution)
        except DamagedLmdb as error:
            raise UserError(
                f"lmdb:{path}: {error}; download it again, or name an LMDB"
            ) from error
        except OSError as error:
            raise UserError(
                f"lmdb:{path}: {self._path.name} cannot be read ({error.strerror}); "
                f"name the folder that holds {_DATA}, or the zip file of it"
            ) from error
        if not self._positions:
            raise UserError(f"lmdb:{path}: the LMDB is empty; download it again")
        self.remarks = (f"lmdb:{path}: {remark}",) if remark else ()

    def __len__(self) -> int:
        return len(self._positions)

    def __getitem__(self, index: int) -> Item:
        try:
            data = self._file.read(self._positions[index], MAX_BYTES)
        except DamagedLmdb as error:
            raise BadImage(str(error)) from error
        except OSError as error:
            raise BadImage(error.strerror or str(error)) from error
        return Item(self.name_of(index), data, 0)

    def name_of(self, index: int) -> str:
        """Returns an image's name without reading it."""
        return self._file.keys[self._positions[index]].decode(errors="replace")

    def listing(self) -> Iterator[str]:
        """Yields the size of the file, and the keys of its images."""
        yield str(self._path.stat().st_size)
        yield from (self._file.keys[k].hex() for k in self._positions)

    def times(self) -> Iterator[str]:
        """Yields when the file was changed, in ns; its checksum if it was unpacked."""
        yield self._checksum or str(self._path.stat().st_mtime_ns)


def lmdb_name(path: Path) -> str:
    """Returns LSUN's name of a category: that of its file without what surrounds it.

    bedroom_train_lmdb.zip and the folder bedroom_train_lmdb are bedroom, cat.zip is
    cat, and bedroom_val_lmdb is bedroom_val.
    """
    return re.sub(r"((_train)?_lmdb|\.l?mdb)$", "", path.name.removesuffix(".zip"))


def unpack_lmdb(archive: Path, folder: Path) -> Path:
    """Unpacks the LMDB of a zip file, unless that is done, and returns its folder.

    An LMDB is read at any position, and a zip file only in order. Of the zip file
    data.mdb alone is read, and no path in it is followed.

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
    except BAD_ZIP as error:
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
            f"lmdb:{archive}: it holds {len(members) or 'no'} {_DATA}, and must hold "
            "one; name the zip file of one LMDB"
        )
    if members[0].compress_type not in DEFLATED:
        raise UserError(
            f"lmdb:{archive}: it is packed by another method than deflate; unpack it, "
            "and name the folder"
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
