"""The folder of a set in preparation: who may work in it, and on what."""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from progan_jax.data.prepared import RECORD, UNFINISHED
from progan_jax.errors import UserError
from progan_jax.files import LOCK, lock_folder, write_json

_IDENTITY = "identity.json"


def check_free(folder: Path) -> None:
    """Raises UserError if a folder has anything but our own unfinished work."""
    if (folder / RECORD).exists():
        raise UserError(
            f"--out: {folder} has a finished pyramid; train with it, or remove it"
        )
    if (folder / UNFINISHED / _IDENTITY).exists() or not folder.exists():
        return
    if not folder.is_dir() or any(
        p.name not in (UNFINISHED, LOCK) for p in folder.iterdir()
    ):
        raise UserError(
            f"--out: {folder} is in use; choose another folder, or remove that one"
        )


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Locks a folder against other processes that would prepare the same set."""
    try:
        held = lock_folder(folder)
    except BlockingIOError as error:
        raise UserError(
            f"--out: another process prepares {folder}; wait for it, or choose another "
            "--name"
        ) from error
    except OSError as error:
        raise UserError(
            f"--out: {folder} cannot be made ({error.strerror}); choose another folder"
        ) from error
    try:
        yield
    finally:
        os.close(held)


def begin(folder: Path, identity: dict[str, Any]) -> Path:
    """Returns the folder of unfinished work, new or resumed.

    Args:
      folder: DIR/NAME.
      identity: What must not change before the work is finished, in JSON's types: flags
        by name; `images` and `times`, digests; and `source`, which is not compared.

    Raises:
      UserError: if the folder has anything else.
    """
    check_free(folder)
    unfinished = folder / UNFINISHED
    record = unfinished / _IDENTITY
    (unfinished / "done").mkdir(parents=True, exist_ok=True)
    if not record.exists():
        write_json(record, identity)
    try:
        begun = dict(json.loads(record.read_text()))
    except (ValueError, TypeError, RecursionError) as error:
        raise UserError(
            f"--out: {record} is damaged; remove {folder} to start again"
        ) from error
    _check_same(folder, begun, identity)
    return unfinished


def _check_same(folder: Path, begun: dict[str, Any], now: dict[str, Any]) -> None:
    """Raises UserError for work begun with other flags or images; flags come first."""
    for key in (key for key in now if key not in ("source", "images", "times")):
        if begun.get(key) != now[key]:
            raise UserError(
                f"--{key}={now[key]}, and {folder} was begun with {begun.get(key)}; "
                "set the old value, choose another --name, or remove that folder"
            )
    if any(begun.get(key) != now.get(key) for key in ("images", "times")):
        raise UserError(
            f"--out: {folder} was begun with other images, of {begun.get('source')}; "
            f"they, their classes or their times have changed; remove {folder} to "
            "start again, or choose another --name"
        )


def choose(folder: Path, keep: int | None) -> None:
    """Records how many images are kept, and removes shards of another choice.

    Scores do not depend on it, and stay.
    """
    record = folder / UNFINISHED / "keep.json"
    if record.exists() and record.read_text() == f"{json.dumps(keep)}\n":
        return
    shutil.rmtree(folder / UNFINISHED / "done")
    for level in (*folder.glob("r[0-9]*"), *(folder / UNFINISHED).glob("r[0-9]*")):
        shutil.rmtree(level)
    (folder / UNFINISHED / "done").mkdir()
    write_json(record, keep)
