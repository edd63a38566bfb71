"""The sources of prepare_data, opened as its flags say."""

import re
import zipfile
from contextlib import suppress
from pathlib import Path, PurePosixPath

from progan_jax.data.celeba_hq_reader import AlignedReader
from progan_jax.data.checks import check_local
from progan_jax.data.file_reader import BAD_ZIP, FileReader
from progan_jax.data.lmdb_reader import (
    LMDB_FILES,
    LmdbReader,
    check_archive,
    data_file,
    lmdb_name,
    unpack_lmdb,
)
from progan_jax.data.names import counted, printable
from progan_jax.data.readers import DigitsReader, Source, SyntheticReader
from progan_jax.data.shards import Settings
from progan_jax.data.stacked_mnist import StackedMnistReader
from progan_jax.data.tfds_reader import TfdsReader
from progan_jax.data.unfinished import UNFINISHED, alone_in, check_free
from progan_jax.errors import UserError
from progan_jax.runtime.logging import warn
from progan_jax.tools import prepare_flags as given

_LARGE = 2**30  # Bytes of an LMDB.


def open_source(source: str, settings: Settings) -> Source:
    """Opens what the user calls SOURCE, as the flags say it, and prints its remarks.

    Raises:
      UserError: if it cannot be opened, or --strict is set and it holds files that
        cannot be read.
    """
    reader = _open(source, settings)
    if settings.strict and reader.unread:
        name, reason = reader.unread[0]
        raise UserError(
            f"--strict: {source} holds {counted(len(reader.unread), 'file')} of other "
            f"kinds than images and text, the first is {printable(name)} ({reason}); "
            "remove or convert what is not read, or leave --strict out"
        )
    for remark in reader.remarks:
        warn(remark)
    return reader


def _open(source: str, settings: Settings) -> Source:
    kind, _, rest = source.partition(":")
    if source == "digits":
        return DigitsReader(settings.resolution)
    if kind == "synthetic" and rest.isdigit() and int(rest):
        return SyntheticReader(int(rest), settings.resolution)
    if kind == "tfds" and rest:
        return _open_tfds(rest)
    if kind in ("folder", "zip", "lmdb", "celeba_hq", "stacked_mnist") and rest:
        check_local("SOURCE", rest)
        path = Path(rest)
        if not path.exists():
            raise UserError(f"{source}: there is no {path}; name another")
        return _open_path(kind, path, settings)
    raise UserError(
        f"{source!r} is no source; write tfds:NAME, lmdb:PATH, folder:PATH, zip:PATH, "
        "celeba_hq:PATH, stacked_mnist:PATH, digits or synthetic:N"
        + (f"; here {_kind_of(source)}:{source}" if Path(source).exists() else "")
    )


def _open_path(kind: str, path: Path, settings: Settings) -> Source:
    if kind == "lmdb":
        return _open_lmdb(path, settings.resolution)
    if kind == "celeba_hq":
        return _open_celeba_hq(path, settings)
    if kind != "stacked_mnist":
        return _open_files(path)
    if path.is_file():
        raise UserError(f"{kind}:{path} is a file; write {kind}:{path.parent}")
    return StackedMnistReader(path)


def _kind_of(path: Path | str) -> str:
    """Returns the word before the path of an LMDB, or of what else is there."""
    members = []
    with suppress(OSError, *BAD_ZIP):
        members = zipfile.ZipFile(path).namelist() if Path(path).is_file() else []
    there = (Path(path) / "data.mdb").is_file() or Path(path).name in LMDB_FILES
    inside = any(PurePosixPath(name).name in LMDB_FILES for name in members)
    return "lmdb" if there or inside else "folder"


def _open_files(path: Path) -> FileReader:
    try:
        labels = given.LABELS.value
        return FileReader(path, Path(labels) if labels else None)
    except UserError as error:
        if _kind_of(path) == "lmdb":
            raise UserError(f"{path} is an LMDB; write lmdb:{path}") from error
        raise


def _open_tfds(name: str) -> TfdsReader:
    try:
        return TfdsReader(
            name,
            given.DATA_DIR.value,
            given.SPLIT.value,
            given.IMAGE_FEATURE.value,
            given.LABEL_FEATURE.value,
        )
    except UserError as error:
        path = Path(name)
        if path.is_absolute() or any(path.rglob("features.json")):
            raise UserError(
                f"tfds:{name} is a path; write tfds:NAME --data_dir=DIR, or tfds:NAME/"
                "CONFIG, for a set whose folder is DIR/NAME"
            ) from error
        # It speaks of a run's fields: here they are flags.
        words = re.sub(r"config\.data\.name = '(.*?)'", r"tfds:\1", str(error))
        words = re.sub(r"config\.data\.(\w+) = ('.*?')", r"--\1=\2", words)
        raise UserError(words) from error


def _open_celeba_hq(path: Path, settings: Settings) -> AlignedReader:
    if not given.LANDMARKS.value:
        raise UserError(
            "--landmarks is missing: name CelebA's list_landmarks_celeba.txt"
        )
    return AlignedReader(path, Path(given.LANDMARKS.value), settings.resolution)


def _open_lmdb(path: Path, resolution: int) -> LmdbReader:
    if path.name in LMDB_FILES:
        path = path.absolute().parent
    if path.is_dir() or not (path.suffix == ".zip" or zipfile.is_zipfile(path)):
        _announce_check(path)
        return LmdbReader(path, resolution=resolution)
    if given.DRY_RUN.value:
        raise UserError(
            f"--dry_run: the images of {path} cannot be counted before it is unpacked; "
            "unpack it and name the folder, or leave --dry_run out"
        )
    name = lmdb_name(path)
    folder = Path(given.OUT.value or "") / (given.NAME.value or name)
    check_free(folder)
    checksum = check_archive(path)
    with alone_in(folder):
        unpacked = unpack_lmdb(path, folder / UNFINISHED / "lmdb")
    _announce_check(unpacked)
    return LmdbReader(unpacked, name, checksum, resolution)


def _announce_check(path: Path) -> None:
    """Prints that an LMDB is checked, if that takes more than a few seconds."""
    with suppress(OSError):  # The reader says what is wrong.
        size = data_file(path).stat().st_size
        if size >= _LARGE:
            print(f"checking lmdb:{path}, {size / 1e9:,.1f} GB", flush=True)
