"""The folder of a run: its record in config.json, and its owner."""

import copy
import json
import os
import shlex
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import ml_collections

from progan_jax.configs import base
from progan_jax.data.names import first_few
from progan_jax.errors import UserError, warn
from progan_jax.files import (
    CHECKSUM,
    are_identities,
    is_intact,
    lock_folder,
    seal,
    write_json,
)
from progan_jax.inference.snapshot import parse_moment
from progan_jax.models.families import Files
from progan_jax.runtime.command_line import list_fields
from progan_jax.runtime.environment import environment
from progan_jax.runtime.logging import last_nimg
from progan_jax.runtime.newest import (
    is_noted,
    list_misnamed,
    list_steps,
    read_newest,
)
from progan_jax.training.config import (
    get_field,
    make_schedule,
    stddev_groups,
)
from progan_jax.training.stored_config import complete_config, is_free

CONFIG = "config.json"

# Fields of config.json besides the checksum.
_KINDS = {
    "config": dict,
    "data_fingerprint": str,
    "stddev_groups": dict,
    "starts": list,
    "frozen_files": dict,
}

# Deepest nesting in config.json; the versions in "starts" are the deepest of ours.
_DEPTH = 8


class RunFolder:
    """A folder that this process alone trains in.

    Attributes:
      path: Where it is.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        # While it is open, no other folder can get its inode.
        self._opened = os.open(path, os.O_RDONLY)

    def check(self) -> None:
        """Raises UserError if the folder or its config.json is gone."""
        try:
            (self.path / CONFIG).stat()
            same = os.path.samestat(self.path.stat(), os.fstat(self._opened))
        except OSError:
            same = False
        if not same:
            raise UserError(
                f"--workdir={self.path}: the folder or its {CONFIG} was deleted, "
                "moved or unmounted while the run trained in it, so the run ends; "
                "restore it and run the same command to continue, or remove what is "
                "left of it to start from scratch"
            )

    def close(self) -> None:
        """Closes the folder."""
        os.close(self._opened)


@contextmanager
def exclusive(workdir: Path) -> Iterator[RunFolder]:
    """Creates the folder and keeps other processes of this machine out of it.

    Raises:
      UserError: if the folder cannot be created, or another process trains in it.
    """
    try:
        lock = lock_folder(workdir)
    except BlockingIOError as error:
        raise UserError(
            f"--workdir={workdir}: another process trains in it; stop that one, or "
            "choose another folder"
        ) from error
    except OSError as error:
        raise _unwritable(workdir, error) from error
    folder = RunFolder(workdir)
    try:
        yield folder
    finally:
        folder.close()
        os.close(lock)


def open_workdir(
    config: ml_collections.ConfigDict,
    workdir: Path,
    fingerprint: str,
    num_devices: int,
    files: Files | None = None,
) -> None:
    """Records a new run, or checks that the folder's run has this configuration.

    Args:
      config: Configuration of the run.
      workdir: An existing folder.
      fingerprint: Fingerprint of the image set.
      num_devices: Number of devices that the batches are split over; it may change, but
        not the groups of the minibatch statistic that follow from it.
      files: What the family's `files` returned. They may have moved, but not changed.

    Raises:
      UserError: if the folder holds another run or something else; nothing is changed.
    """
    path = workdir / CONFIG
    groups = {str(r): g for r, g in stddev_groups(config, num_devices).items()}
    record: dict[str, Any] = {
        "data_fingerprint": fingerprint,
        "stddev_groups": groups,
        "starts": [],
    }
    if path.exists():
        record = read_record(workdir, "--workdir")
        _check_same_run(config, workdir, record, fingerprint, groups)
        _check_same_files(workdir, record["frozen_files"], files or {})
    else:
        check_unused(workdir)
    record["config"], record["frozen_files"] = config.to_dict(), files or {}
    record["starts"].append(environment())
    try:
        write_json(path, seal(record))
    except OSError as error:
        raise _unwritable(workdir, error) from error


def check_unused(workdir: Path) -> None:
    """Raises UserError if a folder has files, and is not that of a run."""
    if (workdir / CONFIG).exists() or not workdir.is_dir():
        return
    if any(not entry.name.startswith(".") for entry in workdir.iterdir()):
        raise UserError(
            f"--workdir={workdir}: it is in use and holds no {CONFIG} of a run; "
            "choose a new or an empty folder"
        )


def read_config(
    workdir: Path, flag: str, otherwise: ml_collections.ConfigDict | None = None
) -> Any:
    """Returns the configuration that a run was last started with.

    Args:
      workdir: The run's folder.
      flag: The flag by which the user named it.
      otherwise: Has the free fields that are not recorded; see `complete_config`.

    Raises:
      UserError: if the folder is not a run's, or the file is damaged.
    """
    return complete_config(read_record(workdir, flag)["config"], otherwise)


def read_record(workdir: Path, flag: str) -> dict[str, Any]:
    """Returns the contents of a run's config.json: "config", "starts" and more.

    Args:
      workdir: The run's folder.
      flag: The flag by which the user named it.

    Raises:
      UserError: if the folder is not a run's, or the file is damaged.
    """
    try:
        text = (workdir / CONFIG).read_text(encoding="utf-8")
        record = json.loads(text, parse_constant=_refuse_constant)
        _check_record(record)
    except FileNotFoundError as error:
        raise UserError(
            f"{flag}={workdir}: it is not the folder of a run: {CONFIG} cannot be read "
            f"({error.strerror}); name a run's workdir"
        ) from error
    except (OSError, ValueError, RecursionError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(
            f"{flag}={workdir}: its {CONFIG} cannot be read ({reason}); restore the "
            "file, or name another folder"
        ) from error
    record.pop(CHECKSUM, None)
    return record


def check_begun(config: ml_collections.ConfigDict, workdir: Path) -> None:
    """Checks, before anything is opened, that a run in the folder can continue.

    Raises:
      UserError: if it was begun with another configuration, or would lose something
        that it has recorded.
    """
    if (workdir / CONFIG).exists():
        begun = read_config(workdir, "--workdir")
        check_same_config(config, workdir, begun)
        _check_progress(config, workdir, begun)


def config_of_run(
    config: ml_collections.ConfigDict, given: Collection[str], workdir: Path
) -> ml_collections.ConfigDict:
    """Returns a run's own configuration, with the fields that the command line sets.

    Args:
      config: The command's: a file with the command line's changes. It is returned as
        it is if there is no run in the folder, or none on this host.
      given: Fields that the command line sets.
      workdir: The run's folder.

    Raises:
      UserError: if the run's config.json is damaged, or a field that a run keeps is
        given another value.
    """
    if not (workdir / CONFIG).exists():
        return config
    begun = read_config(workdir, "--workdir", config)
    # The number of devices is this machine's.
    of_command = {*given, "runtime.num_devices"}
    config = _in_family(config, begun.family, of_command)
    taken = list_fields(config).keys() - of_command
    for field in taken & list_fields(begun).keys():
        config.update_from_flattened_dict({field: get_field(begun, field)})
    check_same_config(config, workdir, begun)
    return config


def _in_family(
    config: ml_collections.ConfigDict, family: str, given: Collection[str]
) -> ml_collections.ConfigDict:
    """Returns a copy of a configuration, or the given fields among another family's.

    A command without a recipe has the fields of the default family.
    """
    if config.family == family or "family" in given:
        return copy.deepcopy(config)
    other = base.get_config(family)
    with other.unlocked():
        for field in given:
            other.update_from_flattened_dict({field: get_field(config, field)})
    return other


def check_same_config(
    config: ml_collections.ConfigDict, workdir: Path, begun: ml_collections.ConfigDict
) -> None:
    """Checks that a run's configuration is still the one that it was begun with.

    Args:
      config: Configuration as it is now.
      workdir: The run's folder, for the message.
      begun: Configuration that the run was begun with.

    Raises:
      UserError: if a field that a run keeps differs.
    """
    kept = list_fields(begun)
    for field, value in list_fields(config).items():
        before = kept.get(field)
        if value != before and not is_free(field):
            raise UserError(
                f"config.{field} = {value!r}, but the run in {workdir} was begun with "
                f"{before!r}, and a run keeps its configuration; choose another "
                "--workdir, or continue with "
                + shlex.quote(f"--config.{field}={before}")
            )


def _unwritable(workdir: Path, error: OSError) -> UserError:
    return UserError(
        f"--workdir={workdir}: cannot be written ({error.strerror}); choose another"
    )


def _check_same_run(
    config: ml_collections.ConfigDict,
    workdir: Path,
    record: dict[str, Any],
    fingerprint: str,
    groups: dict[str, int],
) -> None:
    """Raises UserError if the folder's record is that of another run."""
    check_same_config(config, workdir, complete_config(record["config"]))
    if record["data_fingerprint"] != fingerprint:
        raise UserError(
            f"config.data.name = {config.data.name!r}: its images are not those that "
            f"the run in {workdir} was begun with; choose another --workdir, or "
            "restore them"
        )
    begun_groups = record["stddev_groups"]
    for resolution, group in groups.items():
        if group != begun_groups.get(resolution):
            raise UserError(
                "config.runtime.num_devices: on this number of devices the minibatch "
                f"statistic at {resolution}x{resolution} has groups of {group} "
                f"image(s), and the run in {workdir} was begun with "
                f"{begun_groups.get(resolution)}; use as many devices as at its start"
            )


def _check_same_files(workdir: Path, begun: Files, files: Files) -> None:
    """Raises UserError if a frozen network has other weights than at the start."""
    for name, now in files.items():
        # Runs of earlier versions have none on record.
        before = begun.get(name, now)
        if before["sha256"] != now["sha256"]:
            raise UserError(
                f"--workdir={workdir}: the weights of {name} are read from "
                f"{now['file']} with SHA-256 {now['sha256']}, and the run was begun "
                f"with {before['file']} with SHA-256 {before['sha256']}; name that "
                "file, or choose another --workdir"
            )


def _check_progress(
    config: ml_collections.ConfigDict, workdir: Path, begun: ml_collections.ConfigDict
) -> None:
    """Raises UserError if continuing would lose something that the run has recorded."""
    checkpoints = workdir / "checkpoints"
    row = last_nimg(workdir / "stats.jsonl")
    shown = max(read_newest(checkpoints) or 0, row)
    if make_schedule(config).end_nimg() < shown:
        raise UserError(
            f"config.schedule.total_kimg = {config.schedule.total_kimg:g}, but the run "
            f"in {workdir} has reached {_kimg(shown)} kimg, and its log is never "
            f"truncated; set {_kimg(shown)} or more, or choose another --workdir"
        )
    if misnamed := list_misnamed(checkpoints):
        warn(
            f"{checkpoints} holds {first_few(misnamed)}, which is ignored: the name of "
            "a checkpoint is its number of images, such as 256; if it is a checkpoint, "
            "rename it before you continue"
        )
    if steps := list_steps(checkpoints):
        _warn_of_gap(workdir, begun, steps[0], row)
        return
    # Before its first checkpoint a run has an empty checkpoints folder; a run that
    # starts from other networks saves them there at image 0.
    first = 0 if begun.init_from else _next_save(begun, 0)
    pictured = _last_picture(workdir)
    is_past_first = max(row, pictured) > first
    if is_noted(checkpoints) or not os.path.lexists(checkpoints) or is_past_first:
        _refuse_loss(workdir, max(shown, pictured))


def _refuse_loss(workdir: Path, shown: int) -> None:
    """Raises UserError if a run without a checkpoint has a record."""
    parts = ("stats.jsonl", "snapshots", "grids")
    if there := [name for name in parts if _has_content(workdir / name)]:
        reached = f" that has reached {_kimg(shown)} kimg" if shown else ""
        raise UserError(
            f"--workdir={workdir} holds {', '.join(there)} of a run{reached}, and no "
            f"checkpoint to continue from; restore {workdir / 'checkpoints'}, or "
            f"choose another --workdir, where --config.init_from={workdir} starts from "
            "what was trained here"
        )


def _warn_of_gap(
    workdir: Path, begun: ml_collections.ConfigDict, newest: int, row: int
) -> None:
    """Warns if rows show that there was a checkpoint after the newest one.

    The row of a tick is written before its checkpoint, and the next row only once that
    checkpoint is on the disk. So the last row does not prove that its own checkpoint
    was written; the note in checkpoints.json does, but runs of earlier versions have
    none.
    """
    due, checkpoints = _next_save(begun, newest), workdir / "checkpoints"
    may_be_cut = row == due and not is_noted(checkpoints)
    # A noted checkpoint that is missing is reported where checkpoints are read.
    if (row > due or may_be_cut) and (read_newest(checkpoints) or 0) <= newest:
        cause = "a kill cut it short, or it was" if may_be_cut else "it was"
        warn(
            f"{workdir / 'stats.jsonl'} has rows up to {_kimg(row)} kimg, and the "
            f"checkpoint of {_kimg(due)} kimg is not in {checkpoints}: {cause} "
            f"deleted, moved or renamed; continuing from {newest}"
        )


def _next_save(config: ml_collections.ConfigDict, nimg: int) -> int:
    return make_schedule(config).next_save(nimg, config.train.checkpoint_ticks)


def _last_picture(workdir: Path) -> int:
    """Returns the nimg of the last snapshot or grid; 0 without any."""
    snapshots = [path.name for path in (workdir / "snapshots").glob("*_r*")]
    grids = (workdir / "grids").glob("fakes_*_r*.png")
    names = [*snapshots, *(path.stem.removeprefix("fakes_") for path in grids)]
    moments = filter(None, map(parse_moment, names))
    return max((round(1000 * kimg) for kimg, _ in moments), default=0)


def _kimg(nimg: int) -> str:
    return f"{nimg / 1000:.10g}"


def _has_content(path: Path) -> bool:
    if path.is_dir():
        return any(path.iterdir())
    return path.exists() and path.stat().st_size > 0


def _refuse_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is not a JSON number")


def _check_record(record: Any) -> None:
    """Raises ValueError if a field that every reader relies on is missing or wrong."""
    if not isinstance(record, dict):
        raise ValueError("it holds no record")
    if not _is_shallow(record, _DEPTH):
        raise ValueError(f"it is nested more than {_DEPTH} deep")
    if not is_intact(record):
        raise ValueError(
            f"its {CHECKSUM} differs; if you have changed it on purpose, delete that "
            "line"
        )
    for name, kind in _KINDS.items():
        value = record.setdefault(name, kind())
        if not isinstance(value, kind):
            raise ValueError(
                f"it has {name} = {str(value)[:40]} and needs a {kind.__name__} there"
            )
    starts = record["starts"]
    if not all(isinstance(start, dict) for start in starts):
        raise ValueError(f"it has starts = {str(starts)[:40]} and needs records there")
    if not are_identities(files := record["frozen_files"]):
        raise ValueError(f"it has frozen_files = {str(files)[:40]} and no hashes there")
    if not record["config"]:
        raise ValueError("it has no config")
    complete_config(record["config"])


def _is_shallow(value: Any, most: int) -> bool:
    """Returns whether a JSON value is nested at most `most` levels deep."""
    if not isinstance(value, dict | list):
        return True
    inner = value.values() if isinstance(value, dict) else value
    return most > 0 and all(_is_shallow(v, most - 1) for v in inner)
