"""The folder of a run: whose it is, and whether it has room."""

import json
import os
import shlex
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ml_collections

from progan_jax.config import (
    get_field,
    make_networks,
    make_schedule,
    stddev_groups,
)
from progan_jax.costs import stage_cost
from progan_jax.errors import UserError
from progan_jax.files import lock_folder, write_json
from progan_jax.runtime.environment import environment

# Fields that may change between restarts: they alter where and how a run is carried
# out, or how long it goes on, but no image that it has shown.
_FREE_FIELDS = (
    "data.data_dir",
    "data.feed",
    "data.resident_gib",
    "data.max_memory_mib",
    "data.stream_workers",
    "schedule.microbatch",
    "model.remat",
    "schedule.total_kimg",
    "train.grid_ticks",
    "train.snapshot_ticks",
    "train.snapshot_networks",
    "train.checkpoint_ticks",
    "train.keep_checkpoints",
    "train.max_skipped",
    "runtime.pairs_per_dispatch",
    "runtime.compile_ahead",
    "runtime.num_devices",
)
# Fields that the first runs lack, with the value that they acted by.
YOUNGER_FIELDS = {
    "init_from": "",
    "data.dequantise": False,
    "data.truncate_labels": False,
    "loss.noise_coefficient": 0.0,
    "model.d_divisor": 1,
    "model.d_norm": "none",
    "model.g_norm": "none",
    "model.g_slope": 0.2,
    "model.minibatch_discrimination": 0,
    "model.remat": "none",
    "model.topology": "progan",
    "runtime.compile_ahead": "auto",
    "runtime.deterministic": False,
    "train.grid_by_class": False,
    "train.snapshot_networks": False,
}


@contextmanager
def exclusive(workdir: Path) -> Iterator[None]:
    """Makes the folder and keeps other processes of this machine out of it.

    Raises:
      UserError: if the folder cannot be made, or another process trains in it.
    """
    try:
        folder = lock_folder(workdir)
    except BlockingIOError as error:
        raise UserError(
            f"--workdir={workdir}: another process trains in it; stop that one, or "
            "choose another folder"
        ) from error
    except OSError as error:
        raise _unwritable(workdir, error) from error
    try:
        yield
    finally:
        os.close(folder)


def open_workdir(
    config: ml_collections.ConfigDict,
    workdir: Path,
    fingerprint: str,
    num_devices: int,
) -> None:
    """Records a new run, or checks that the folder is of a run of this configuration.

    Args:
      config: The run's.
      workdir: An existing folder.
      fingerprint: Of the data set.
      num_devices: Devices that the batches are split over; they may change, but not
        the groups of the minibatch statistic that follow from them.

    Raises:
      UserError: if the folder holds another run or something else; nothing is changed.
    """
    path = workdir / "config.json"
    groups = {str(r): g for r, g in stddev_groups(config, num_devices).items()}
    record: dict[str, Any] = {
        "data_fingerprint": fingerprint,
        "stddev_groups": groups,
        "starts": [],
    }
    if path.exists():
        record = _check_same_run(config, workdir, path, fingerprint, groups)
    elif any(not entry.name.startswith(".") for entry in workdir.iterdir()):
        raise UserError(
            f"--workdir={workdir}: it is in use and holds no config.json of a run; "
            "choose a new or an empty folder"
        )
    record["config"] = config.to_dict()
    record["starts"].append(environment())
    try:
        write_json(path, record)
    except OSError as error:
        raise _unwritable(workdir, error) from error


def read_config(workdir: Path, flag: str) -> Any:
    """Returns the configuration that a run was last started with.

    Args:
      workdir: The run's folder.
      flag: By which the user named it.

    Raises:
      UserError: if the folder is not a run's.
    """
    path = workdir / "config.json"
    try:
        return complete_config(json.loads(path.read_text())["config"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{flag}={workdir}: it is no folder of a run: config.json cannot be read "
            f"({error}); name a run's workdir"
        ) from error


def complete_config(fields: Mapping[str, Any]) -> Any:
    """Returns a configuration that was stored, with the fields that are younger."""
    config: Any = ml_collections.ConfigDict(fields)
    for field, value in YOUNGER_FIELDS.items():
        group, _, name = field.rpartition(".")
        inner = config[group] if group else config
        if name not in inner:
            inner[name] = value
    return config


def check_same_config(
    config: ml_collections.ConfigDict, workdir: Path, begun: ml_collections.ConfigDict
) -> None:
    """Checks that a run's configuration is still that which it was begun with.

    Args:
      config: As it is now.
      workdir: The run's folder, for the message.
      begun: As it was.

    Raises:
      UserError: if a field differs that a run keeps.
    """
    for field in _leaves(config):
        value = get_field(config, field)
        before = _get(begun, field)
        free = field in _FREE_FIELDS or field.startswith("eval.")
        if value != before and not free:
            raise UserError(
                f"config.{field} = {value!r}, but the run in {workdir} was begun with "
                f"{before!r}, and a run keeps its configuration; choose another "
                "--workdir, or go on with " + shlex.quote(f"--config.{field}={before}")
            )


def check_disk(
    config: ml_collections.ConfigDict, workdir: Path, num_devices: int
) -> None:
    """Checks that the run's checkpoints and snapshots fit on the disk.

    Raises:
      UserError: if they do not.
    """
    schedule = make_schedule(config)
    last = schedule.stages()[-1].resolution
    per_device = schedule.batch_size[last] // num_devices
    cost = stage_cost(*make_networks(config, last, per_device), per_device)
    # One more than is kept while a new one is written.
    checkpoints = (config.train.keep_checkpoints + 1) * cost.state_bytes
    ticks = schedule.ticks_until(schedule.end_nimg())
    carried = cost.g_params
    if config.train.snapshot_networks:
        carried += cost.g_params + cost.d_params
    snapshots = 4 * carried * (ticks // config.train.snapshot_ticks + 1)
    parent = next(
        p for p in (workdir.absolute(), *workdir.absolute().parents) if p.exists()
    )
    free = shutil.disk_usage(parent).free
    # What a run that goes on has written is not written again.
    written = sum(f.stat().st_size for f in workdir.rglob("*") if f.is_file())
    needed = max(checkpoints + snapshots - written, cost.state_bytes)
    if free < needed:
        raise UserError(
            f"--workdir={workdir}: its disk has {_mib(free)} free and the run needs "
            f"about {_mib(needed)} ({config.train.keep_checkpoints} + 1 checkpoints of "
            f"{_mib(cost.state_bytes)}, and snapshots); free some, choose another "
            "folder, or lower config.train.keep_checkpoints"
        )


def _unwritable(workdir: Path, error: OSError) -> UserError:
    return UserError(
        f"--workdir={workdir}: cannot be written ({error.strerror}); choose another"
    )


def _check_same_run(
    config: ml_collections.ConfigDict,
    workdir: Path,
    path: Path,
    fingerprint: str,
    groups: dict[str, int],
) -> dict[str, Any]:
    """Returns the folder's record, if it is of a run of this configuration."""
    try:
        recorded = json.loads(path.read_text())
        begun = ml_collections.ConfigDict(recorded["config"])
        begun_fingerprint = recorded["data_fingerprint"]
        begun_groups = dict(recorded["stddev_groups"])
        recorded["starts"] = list(recorded["starts"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"--workdir={workdir}: its config.json cannot be read ({error}); choose "
            "another folder, or restore the file"
        ) from error
    check_same_config(config, workdir, begun)
    if begun_fingerprint != fingerprint:
        raise UserError(
            f"config.data.name = {config.data.name!r}: its images are not those that "
            f"the run in {workdir} was begun with; choose another --workdir, or "
            "restore them"
        )
    for resolution, group in groups.items():
        if group != begun_groups.get(resolution):
            raise UserError(
                "config.runtime.num_devices: on this number of devices the minibatch "
                f"statistic at {resolution}x{resolution} has groups of {group} "
                f"image(s), and the run in {workdir} was begun with "
                f"{begun_groups.get(resolution)}; use as many devices as at its start"
            )
    return recorded


def _leaves(config: ml_collections.ConfigDict, prefix: str = "") -> list[str]:
    leaves = []
    for name, value in config.items():
        if isinstance(value, ml_collections.ConfigDict):
            leaves += _leaves(value, f"{prefix}{name}.")
        else:
            leaves.append(prefix + name)
    return leaves


def _get(config: ml_collections.ConfigDict, field: str) -> object:
    """Returns a field, or what runs did before there was such a field."""
    try:
        return get_field(config, field)
    except (KeyError, TypeError):
        return YOUNGER_FIELDS.get(field)


def _mib(num_bytes: int) -> str:
    return f"{num_bytes / 2**20:,.0f} MiB"
