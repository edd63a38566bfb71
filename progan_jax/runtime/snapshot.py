"""Snapshots: the averaged generator for use, as safetensors and JSON.

A discriminator is kept in the same way where one is imported; its weights have another
name. A run's snapshot can carry the networks that are trained as well, G and D.
"""

import hashlib
import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from flax import traverse_util
from safetensors.numpy import load_file, save

from progan_jax.errors import UserError

_NAME = re.compile(r"\d{6,}_r\d{3,}")
INFO = "snapshot.json"
WEIGHTS = {"G": "generator.safetensors", "D": "discriminator.safetensors"}
# The averaged generator lies beside these.
TRAINED = {"G": "trained_generator.safetensors", "D": WEIGHTS["D"]}
_VERSION = 1  # Of the description; those of the first runs have none.
_GROUPS = ("config", "dataset", "initial", "source")  # Of the description, if there.
CARRIES = "carries_trained"  # Field of the description: whether G and D are there.
BEST = "best"  # File beside the snapshots that holds the name of one.


def write_snapshot(
    folder: Path,
    params: dict[str, Any],
    info: dict[str, Any],
    trained: dict[str, Any] | None = None,
) -> None:
    """Writes a snapshot folder; a kill leaves all of it or nothing under its name.

    Args:
      folder: Named <kimg:06d>_r<resolution:03d>; an old one of that name is replaced.
      params: Nested dictionary of NumPy arrays.
      info: Description that JSON can hold: resolution, alpha, model, ...; where its
        "network" is "D", the parameters are a discriminator's.
      trained: Parameters of the networks in training, "G" and "D", to be carried, too.
    """
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    _save(partial / _weights(info), params)
    for network, of_network in (trained or {}).items():
        _save(partial / TRAINED[network], of_network)
    described = {"version": _VERSION} | info | ({CARRIES: True} if trained else {})
    (partial / INFO).write_text(json.dumps(described, indent=2) + "\n")
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)


def read_snapshot(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Returns the parameters as nested NumPy arrays, and the description.

    Raises:
      UserError: if the folder holds no whole snapshot.
    """
    info = read_info(folder)
    return _load(folder / _weights(info)), info


def read_trained(folder: Path) -> dict[str, Any]:
    """Returns the networks in training that a snapshot carries, "G" and "D", or none.

    Raises:
      UserError: if they should be there and cannot be read.
    """
    if not read_info(folder).get(CARRIES):
        return {}
    return {network: _load(folder / name) for network, name in TRAINED.items()}


def read_info(folder: Path) -> dict[str, Any]:
    """Returns a snapshot's description alone.

    Raises:
      UserError: if it cannot be read, or is of a version to come.
    """
    try:
        info = json.loads((folder / INFO).read_text())
        _check_info(info)
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(
            f"snapshot {folder} cannot be read ({error}); name another"
        ) from error
    if info.get("version", _VERSION) > _VERSION:
        raise UserError(
            f"snapshot {folder} is of version {info['version']}, and this progan_jax "
            f"knows {_VERSION}; install a newer one"
        )
    return info


def _check_info(info: Any) -> None:
    """Raises ValueError where what every reader takes for granted is not there."""
    if not isinstance(info, dict):
        raise ValueError(f"{INFO} holds no description")
    version, network = info.get("version", _VERSION), info.get("network", "G")
    if type(version) is not int or version < 1:
        raise ValueError(f"{INFO} has version = {version!r}")
    if network not in list(WEIGHTS):
        raise ValueError(f"{INFO} has network = {network!r}")
    for name in _GROUPS:
        if not isinstance(info.get(name, {}), dict):
            raise ValueError(f"{INFO} has a field {name} that holds no fields")
    if "config" in info and not isinstance(info.get("nimg"), int | float):
        raise ValueError(f"{INFO} does not tell nimg, the images that were shown")
    licence = info.get("licence", {"name": ""})
    if not isinstance(licence, dict) or not isinstance(licence.get("name"), str):
        raise ValueError(f"{INFO} has a licence without a name")


def digest(folder: Path) -> str:
    """Returns the SHA-256 of a snapshot's weights, in hex."""
    with (folder / _weights(read_info(folder))).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def find_snapshot(
    run: Path, name: str | None = None, flags: tuple[str, str] = ("RUN", "--snapshot")
) -> Path:
    """Returns the folder of a run's newest snapshot, or of the named one.

    Args:
      run: Folder of a run, or a snapshot's own folder.
      name: Such as "000100_r032", or "best" for that which snapshots/best names.
      flags: By which the user gave run and name.

    Raises:
      UserError: if there is no such run or snapshot, or it cannot be read.
    """
    try:
        return _find_snapshot(run, name, flags)
    except (
        OSError,
        ValueError,
    ) as error:  # A pointer that is no text, a NUL in a name.
        reason = getattr(error, "strerror", None) or error
        raise UserError(
            f"{flags[0]}={run} cannot be read ({reason}); mend that, or name another"
        ) from error


def _find_snapshot(run: Path, name: str | None, flags: tuple[str, str]) -> Path:
    if (run / INFO).exists():
        if name not in (None, run.absolute().name):
            raise UserError(
                f"{flags[1]}={name}: {run} is one snapshot itself; leave it out, or "
                "name the run's folder"
            )
        return run
    if not run.is_dir():
        raise UserError(
            f"{flags[0]}={run}: there is no such folder; name a run's workdir"
        )
    there = list_snapshots(run)
    if not there:
        if (run / "config.json").exists():
            problem = (
                "it holds no snapshot yet; let the run reach the end of a stage or "
                "config.train.snapshot_ticks ticks"
            )
        else:
            problem = f"it is no run, nor a snapshot, for want of {INFO}; name another"
        raise UserError(f"{flags[0]}={run}: {problem}")
    if name is None:
        return there[-1]
    pointer = run / "snapshots" / BEST
    wanted = pointer.read_text().strip() if name == BEST and pointer.exists() else name
    for folder in there:
        if folder.name == wanted:
            return folder
    names = ", ".join(folder.name for folder in there)
    raise UserError(
        f"{flags[1]}={name}: {run} has no such snapshot; choose from {names}"
    )


def list_snapshots(run: Path) -> list[Path]:
    """Returns a run's snapshot folders, oldest first."""
    folders = [f for f in (run / "snapshots").glob("*_r*") if _NAME.fullmatch(f.name)]
    return sorted(folders, key=lambda f: tuple(map(int, f.name.split("_r"))))


def snapshot_resolution(name: str) -> int:
    """Returns the stage resolution in a snapshot's name."""
    return int(name.split("_r")[1])


def _save(path: Path, params: dict[str, Any]) -> None:
    flat = traverse_util.flatten_dict(params, sep="/")
    arrays = {name: np.ascontiguousarray(array) for name, array in flat.items()}
    # Its save_file shuts out everyone but the owner, whatever the umask says.
    path.write_bytes(save(arrays))


def _load(path: Path) -> dict[str, Any]:
    try:
        return traverse_util.unflatten_dict(load_file(path), sep="/")
    except Exception as error:  # safetensors raises a type of its own.
        raise UserError(
            f"snapshot {path.parent} cannot be read ({error}); name another"
        ) from error


def _weights(info: dict[str, Any]) -> str:
    return WEIGHTS["D" if info.get("network") == "D" else "G"]
