"""Files that are complete or absent, and folders that one process works in."""

import csv
import fcntl
import hashlib
import io
import itertools
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

from progan_jax.errors import UserError, warn

CHECKSUM = "checksum"  # The field that seals a record.

# Never deleted: otherwise two processes could lock different files.
LOCK = ".lock"


def local_folder(flag: str, name: str) -> Path:
    """Returns the path of a folder that the system can open.

    Args:
      flag: The flag that names it, for the message.
      name: As the user wrote it.

    Raises:
      UserError: if it is the address of a bucket or such.
    """
    _, separator, rest = name.partition("://")
    if separator:
        raise UserError(
            f"{flag}={name}: only mounted folders can be used; mount it first (gcsfuse "
            f"for gs://, see docs/tpu.md) and give for example {flag}=/mnt/{rest}"
        )
    return Path(name)


def check_utf_8(field: str, path: str) -> None:
    """Refuses a path that is not UTF-8: ArrayRecord and Orbax open no such file.

    Raises:
      UserError: if it is not.
    """
    try:
        path.encode()
    except UnicodeEncodeError as error:
        raise UserError(
            f"{field} = {path!r} is not UTF-8, which the libraries that write arrays "
            "need; rename the folder, or choose another"
        ) from error


def user_cache() -> Path:
    """Returns the user's own cache, in XDG_CACHE_HOME or in ~/.cache; it may not exist.

    Raises:
      RuntimeError: if the user has no home.
    """
    shared = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(shared).expanduser() / "progan_jax"


def write_whole(path: Path, content: str | bytes) -> None:
    """Writes a file beside its place and moves it there.

    Text is UTF-8; what that cannot hold, such as names of files in other encodings, is
    written with backslashes, as on standard error.
    """
    unfinished = path.with_name(f".{path.name}.partial")
    text = isinstance(content, str)
    data = content.encode(errors="backslashreplace") if text else content
    unfinished.write_bytes(data)
    move_whole(unfinished, path)


def write_json(path: Path, value: Any) -> None:
    """Writes JSON that people can read."""
    write_whole(path, json.dumps(value, indent=2) + "\n")


def csv_text(rows: Iterable[Iterable[object]]) -> str:
    """Returns rows as the text of a CSV file; None is an empty cell."""
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerows(rows)
    return buffer.getvalue()


@contextmanager
def writing_to(flag: str, path: str | Path) -> Iterator[None]:
    """Raises UserError for what the system raises while a result is written.

    Args:
      flag: The flag that names the place, for the message.
      path: The file or folder.
    """
    try:
        yield
    except OSError as error:
        raise UserError(f"{flag}={path}: {error}; choose another place") from error


def check_writable(flag: str, path: str | Path) -> None:
    """Makes the folder of a file, and writes there, before long work.

    Args:
      flag: The flag that names the file, for the message.
      path: The file.

    Raises:
      UserError: if no file can be written there.
    """
    with writing_to(flag, path):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=Path(path).parent).close()


def seal(record: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a record of JSON with a checksum of its fields as the last of them."""
    fields = {name: value for name, value in record.items() if name != CHECKSUM}
    return fields | {CHECKSUM: _checksum(fields)}


def is_intact(record: Mapping[str, Any]) -> bool:
    """Returns whether a record has the fields it was sealed with.

    One without a checksum, as earlier versions wrote it, is taken as it is.
    """
    if CHECKSUM not in record:
        # Damage may also lie in the name of the checksum's own field.
        *_, last = ["", *record]
        return SequenceMatcher(None, CHECKSUM, last).ratio() < 0.6
    fields = {name: value for name, value in record.items() if name != CHECKSUM}
    try:
        return record[CHECKSUM] == _checksum(fields)
    except RecursionError:  # Of brackets that could just be read.
        return False


def _checksum(fields: Mapping[str, Any]) -> str:
    """Returns 16 hexadecimal digits that do not depend on order or layout."""
    # As a file would return it: tuples become lists, and keys text.
    read = json.loads(json.dumps(fields))
    return hashlib.sha256(json.dumps(read, sort_keys=True).encode()).hexdigest()[:16]


def read_records(
    path: Path, is_whole: Callable[[dict[str, Any]], bool]
) -> tuple[list[dict[str, Any]], int]:
    """Returns the records of a file that holds one in each line, as JSON.

    Args:
      path: The file; without one there are no records.
      is_whole: Whether a record has the fields that its readers need.

    Returns:
      The records that are complete and as they were sealed, and the number of damaged
      lines, such as one that a kill has cut short.

    Raises:
      UserError: if the file cannot be read.
    """
    try:
        lines = path.read_bytes().split(b"\n") if path.exists() else []
    except OSError as error:
        raise UserError(
            f"{path} cannot be read ({error.strerror}); make it readable, or remove it"
        ) from error
    parsed = [parse_record(line) for line in lines if line.strip()]
    records = [r for r in parsed if r is not None and is_whole(r)]
    return records, len(parsed) - len(records)


def parse_record(line: bytes) -> dict[str, Any] | None:
    """Returns the record of a line of JSON; None if it is not as it was sealed."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) and is_intact(record) else None


def free_name(path: Path) -> Path:
    """Returns the path, or the first of PATH-1, PATH-2, ... that is not in use."""
    names = (path.with_name(f"{path.name}-{n}") for n in itertools.count(1))
    return next(p for p in itertools.chain([path], names) if not os.path.lexists(p))


@contextmanager
def working_folder(parent: Path, prefix: str) -> Iterator[Path]:
    """Yields a new empty folder that is removed afterwards.

    So are those of killed processes with the same prefix; a running process locks its
    own.

    Args:
      parent: The folder in which it is made.
      prefix: Prefix of its name.

    Raises:
      OSError: if it cannot be made.
    """
    for left in parent.glob(f"{prefix}*"):
        if _is_free(left):
            shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(dir=parent, prefix=prefix) as made:
        opened = lock_folder(Path(made))
        try:
            yield Path(made)
        finally:
            os.close(opened)


def _is_free(folder: Path) -> bool:
    """Returns whether no process holds a folder; False where that cannot be known."""
    try:
        opened = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError:
        return False
    try:
        fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    finally:
        os.close(opened)
    return True


def append_line(path: Path, line: str) -> None:
    """Appends a line that other processes may append to as well.

    A last line that a kill has cut short is ended first.
    """
    with path.open("ab+") as file:
        with suppress(OSError):  # Some network file systems have no locks.
            fcntl.flock(file, fcntl.LOCK_EX)
        size = file.seek(0, os.SEEK_END)
        file.seek(max(size - 1, 0))
        start = "\n" if file.read(1) not in (b"", b"\n") else ""
        file.write(f"{start}{line}\n".encode())


def move_whole(unfinished: Path, path: Path) -> None:
    """Gives a file that was written its name in the same folder.

    A kill or a power cut leaves the old file or the new one.
    """
    _sync(unfinished, os.O_RDWR)
    os.replace(unfinished, path)
    with suppress(OSError):  # Some network file systems cannot fsync a directory.
        _sync(path.parent, os.O_RDONLY)


def _sync(path: Path, mode: int) -> None:
    opened = os.open(path, mode)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def lock_folder(folder: Path) -> int:
    """Makes a folder and locks it against other processes of this machine.

    Where the file system has no locks, a warning says so and nothing is locked.

    Returns:
      The file descriptor that holds the lock, until `os.close` or the process's end.

    Raises:
      BlockingIOError: if another process holds it.
      OSError: if it cannot be made or written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    # A file in it, since NFS locks only what is opened for writing.
    opened = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(opened)
        raise
    except OSError as error:
        warn(
            f"{folder}: its file system has no locks ({error.strerror}); two processes "
            "that write into it would not be noticed"
        )
    return opened


def are_identities(value: Any) -> bool:
    """Returns whether a JSON value has name and hash of files; see `Family.files`."""
    if not isinstance(value, dict):
        return False
    files, names = value.values(), ("file", "sha256")
    return all(
        isinstance(file, dict) and all(isinstance(file.get(n), str) for n in names)
        for file in files
    )
