"""The number of the checkpoint that a run wrote last, by which a loss is noticed."""

import os
import re
from pathlib import Path

from progan_jax.files import parse_record, seal, write_json

DAMAGED = "damaged"  # Folder for checkpoints that cannot be read.
_STEP = re.compile(r"0|[1-9][0-9]*")


def list_steps(checkpoints: Path) -> list[int]:
    """Returns the numbers of the checkpoints in their folder, newest first."""
    names = os.listdir(checkpoints) if checkpoints.exists() else []
    return sorted(map(int, filter(_STEP.fullmatch, names)), reverse=True)


def list_misnamed(checkpoints: Path) -> list[str]:
    """Returns the names of folders that are not taken for checkpoints.

    Unfinished and damaged checkpoints are ignored.
    """
    if not checkpoints.exists():
        return []
    return sorted(
        path.name
        for path in checkpoints.iterdir()
        if path.is_dir()
        and not _STEP.fullmatch(path.name)
        and path.name != DAMAGED
        and ".orbax-checkpoint-tmp" not in path.name
    )


def note_newest(checkpoints: Path, nimg: int) -> None:
    """Notes that a checkpoint is on the disk.

    Args:
      checkpoints: Their folder; the note is written beside it.
      nimg: Number of images shown, the checkpoint's name.
    """
    write_json(_note(checkpoints), seal({"newest": nimg}))


def is_noted(checkpoints: Path) -> bool:
    """Returns whether a checkpoint was ever noted, even if the note is damaged."""
    return _note(checkpoints).exists()


def read_newest(checkpoints: Path) -> int | None:
    """Returns the nimg of the checkpoint that was noted last.

    None if there is no note, as before the first checkpoint and in runs of earlier
    versions, or if it is damaged.
    """
    try:
        note = parse_record(_note(checkpoints).read_bytes()) or {}
    except OSError:
        return None
    return note["newest"] if type(note.get("newest")) is int else None


def _note(checkpoints: Path) -> Path:
    return checkpoints.with_name(f"{checkpoints.name}.json")
