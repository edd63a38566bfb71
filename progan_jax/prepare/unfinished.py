"""The folder of a set that is being made: whose it is, and what may go on in it."""

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
    """Refuses a folder that holds anything but unfinished work of ours.

    Raises:
      UserError: if it does.
    """
    if (folder / RECORD).exists():
        raise UserError(
            f"--out: {folder} holds a finished pyramid; train with it, or remove it"
        )
    if (folder / UNFINISHED / _IDENTITY).exists() or not folder.exists():
        return
    # Without an identity nothing was made of images yet.
    if not folder.is_dir() or any(
        p.name not in (UNFINISHED, LOCK) for p in folder.iterdir()
    ):
        raise UserError(
            f"--out: {folder} is in use; choose another folder, or remove that one"
        )


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Keeps others who would prepare the same set out."""
    try:
        held = lock_folder(folder)
    except BlockingIOError as error:
        raise UserError(
            f"--out: {folder}: another process prepares it; wait for that one, or "
            "choose another --name"
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
    """Returns the folder of unfinished work, new or taken up again.

    Args:
      folder: DIR/NAME.
      identity: What tells this work from another, in JSON's types: flags by name;
        `images` and `times`, digests; and `source`, which is not compared.

    Raises:
      UserError: if the folder holds something else.
    """
    check_free(folder)
    unfinished = folder / UNFINISHED
    record = unfinished / _IDENTITY
    try:
        (unfinished / "done").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"--out: {folder} cannot be made ({error.strerror}); choose another folder"
        ) from error
    if not record.exists():
        write_json(record, identity)
    _check_same(folder, _read_identity(folder, record), identity)
    return unfinished


def _read_identity(folder: Path, record: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(record.read_text()))
    except (ValueError, TypeError, RecursionError) as error:
        raise UserError(
            f"--out: {record} is damaged, and with it what {folder} was begun with; "
            f"remove {folder}"
        ) from error


def _check_same(folder: Path, begun: dict[str, Any], now: dict[str, Any]) -> None:
    """Refuses work that was begun with other flags or images; flags come first."""
    for key in (key for key in now if key not in ("source", "images", "times")):
        if begun.get(key) != now[key]:
            raise UserError(
                f"--{key}={_word(now[key])}, was {_word(begun.get(key))} when {folder} "
                "was begun; set the old value, choose another --name, or remove that "
                "folder"
            )
    if all(begun.get(key) == now.get(key) for key in ("images", "times")):
        return
    source = begun.get("source")
    if source != now.get("source"):
        what = f"it was begun with the images of {source}, not of {now.get('source')}"
    else:
        what = f"the images of {source}, or their classes, have changed since its start"
    raise UserError(
        f"--out: {folder} is unfinished, and {what}; remove {folder} to start again, "
        "or choose another --name"
    )


def _word(value: object) -> str:
    return "nothing" if value is None else str(value)


def choose(folder: Path, keep: int | None) -> None:
    """Notes how many images are kept; shards that hold another choice are removed.

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
