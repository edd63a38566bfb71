"""Snapshot folders: the averaged generator as safetensors, with a description in JSON.

An imported discriminator is stored in the same way under another file name. A run's
snapshots can also carry the networks in training, G and D.
"""

import hashlib
import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from flax import traverse_util
from safetensors.numpy import load, save

from progan_jax.errors import UserError
from progan_jax.files import (
    CHECKSUM,
    are_identities,
    is_intact,
    parse_record,
    seal,
    write_whole,
)
from progan_jax.models.common import Weights

# Kimg and resolution. Earlier versions wrote integer kimg, rounded down.
_NAME = re.compile(r"(\d{6,}(?:\.\d{3})?)_r(\d{3,})")

INFO = "snapshot.json"

WEIGHTS = {"G": "generator.safetensors", "D": "discriminator.safetensors"}

# Networks in training, beside the averaged generator.
TRAINED = {"G": "trained_generator.safetensors", "D": WEIGHTS["D"]}

_VERSION = 2  # Of the description. Those of the first runs have no version.

HASHES = "sha256"  # Field of the description: the SHA-256 of each file of weights.

# Optional fields of the description that hold fields themselves.
_GROUPS = ("config", "dataset", "initial", "options", "source", "stage", HASHES)

_OF_STAGE = ("resolution", "alpha", "nimg")

# Fields that version 1 had at the top level, where now a group holds them.
_GROUPED = ("architecture", "model", *_OF_STAGE)

_RESTORE = "restore it from a copy, or choose another"

CARRIES = "carries_trained"  # Field of the description: whether G and D are stored.

BEST = "best"  # File in snapshots/ that holds the name of the best one.


def write_snapshot(
    folder: Path,
    weights: Weights,
    info: Mapping[str, Any],
    trained: Mapping[str, Weights] | None = None,
) -> None:
    """Writes a snapshot folder atomically: after a kill it is complete or absent.

    Args:
      folder: Named by `moment_name`; an existing one is replaced.
      weights: Nested dictionary of NumPy arrays; see `models.common.to_weights`.
      info: Description, of JSON's types: stage, options, ... If its "network" is "D",
        the weights are a discriminator's.
      trained: Weights of the networks in training, "G" and "D", to be stored, too.
    """
    networks = {_weights(info): weights}
    networks |= {TRAINED[name]: of for name, of in (trained or {}).items()}
    partial = folder.with_name(f".{folder.name}.partial")
    # Killed processes may have left some; only one process writes into a run.
    for left in (partial, *folder.parent.glob(".[0-9]*_r[0-9]*.partial")):
        shutil.rmtree(left, ignore_errors=True)
    partial.mkdir(parents=True)
    hashes = {name: _save(partial / name, of) for name, of in networks.items()}
    _describe(partial, info, hashes)
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)


def copy_snapshot(
    source: Path, folder: Path, info: Mapping[str, Any], with_trained: bool
) -> None:
    """Copies a generator's weights byte for byte and writes another description.

    Args:
      source: A snapshot's folder.
      folder: An empty folder.
      info: The new description.
      with_trained: Whether G and D in training are copied, too.

    Raises:
      UserError: if the SHA-256 of a file of weights is not the recorded one.
    """
    own, hashes = read_info(source), {}
    for name in (WEIGHTS["G"], *(TRAINED.values() if with_trained else ())):
        data = _read(source / name, own)
        (folder / name).write_bytes(data)
        hashes[name] = _sha256(data)
    _describe(folder, info, hashes)


def read_snapshot(folder: Path) -> tuple[Weights, dict[str, Any]]:
    """Returns the weights as nested NumPy arrays, and the description.

    Raises:
      UserError: if the snapshot is missing, incomplete or damaged.
    """
    info = read_info(folder)
    return _load(folder / _weights(info), info), info


def read_trained(folder: Path) -> dict[str, Weights]:
    """Returns the weights of the networks in training, "G" and "D", or {}.

    Raises:
      UserError: if the description names them and they cannot be read.
    """
    info = read_info(folder)
    if not info.get(CARRIES):
        return {}
    return {network: _load(folder / name, info) for network, name in TRAINED.items()}


def read_info(folder: Path) -> dict[str, Any]:
    """Returns a snapshot's description, in the form of the present version.

    Raises:
      UserError: if it cannot be read, or is of a newer version.
    """
    try:
        info = json.loads((folder / INFO).read_text())
        if isinstance(info, dict) and not is_intact(info):
            raise _changed(folder / INFO)
        info = _in_present_form(info)
        _check_info(info)
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(
            f"snapshot {folder} cannot be read ({error}); {_RESTORE}"
        ) from error
    if info.get("version", 1) > _VERSION:
        raise UserError(
            f"snapshot {folder} is of version {info['version']}, and this progan_jax "
            f"reads up to {_VERSION}; install a newer one"
        )
    if info.get("version", 1) > 1 and CHECKSUM not in info:
        raise UserError(
            f"snapshot {folder} has no {CHECKSUM} in its {INFO}, which version "
            f"{info['version']} requires; {_RESTORE}"
        )
    return info


def _in_present_form(info: Any) -> Any:
    """Returns a description with the groups `options` and `stage`.

    Version 1 has `model` for `options`, and the fields of the stage at the top level.
    """
    if not isinstance(info, dict) or "stage" in info:
        return info
    kept = {name: value for name, value in info.items() if name not in _GROUPED}
    stage = {name: info[name] for name in _OF_STAGE if name in info}
    options = {"options": info["model"]} if "model" in info else {}
    return kept | options | {"stage": stage}


def _check_info(info: Any) -> None:
    """Raises ValueError if a field has a type that no reader expects."""
    if not isinstance(info, dict):
        raise ValueError(f"{INFO} is not a description")
    version, network = info.get("version", 1), info.get("network", "G")
    if type(version) is not int or version < 1:
        raise ValueError(f"{INFO} has version = {version!r}")
    if network not in list(WEIGHTS):
        raise ValueError(f"{INFO} has network = {network!r}")
    if not isinstance(info.get("family", ""), str):
        raise ValueError(f"{INFO} has family = {info['family']!r}")
    for name in _GROUPS:
        if not isinstance(info.get(name, {}), dict):
            raise ValueError(f"{INFO} has a field {name} that is not an object")
    if "config" in info and not isinstance(info["stage"].get("nimg"), int | float):
        raise ValueError(f"{INFO} has no nimg, the number of images shown")
    if not are_identities(info.get("frozen_files", {})):
        raise ValueError(f"{INFO} has frozen_files without names or hashes")
    licence = info.get("licence", {"name": ""})
    if not isinstance(licence, dict) or not isinstance(licence.get("name"), str):
        raise ValueError(f"{INFO} has a licence without a name")


def digest(folder: Path) -> str:
    """Returns the SHA-256 of a snapshot's weights, in hex.

    It is the recorded one if there is one; `read_snapshot` compares that to the file.
    """
    info = read_info(folder)
    name = _weights(info)
    return info.get(HASHES, {}).get(name) or _sha256(_read(folder / name, info))


def find_snapshot(
    run: Path, name: str | None = None, flags: tuple[str, str] = ("RUN", "--snapshot")
) -> Path:
    """Returns the folder of a run's newest snapshot, or of the named one.

    Args:
      run: Folder of a run, or a snapshot's own folder.
      name: Such as "000100.032_r032", or "best" for the one named in snapshots/best.
      flags: Names by which the user gave run and name, for the messages.

    Raises:
      UserError: if there is no such run or snapshot, or it cannot be read.
    """
    try:
        return _find_snapshot(run, name, flags)
    except OSError as error:
        raise UserError(
            f"{flags[0]}={run} cannot be read ({error.strerror}); make it readable, or "
            "choose another"
        ) from error


def _find_snapshot(run: Path, name: str | None, flags: tuple[str, str]) -> Path:
    if (run / INFO).exists():
        if name not in (None, run.absolute().name):
            raise UserError(
                f"{flags[1]}={name}: {run} is itself a snapshot; leave it out, or name "
                "the run's folder"
            )
        return run
    if not run.is_dir():
        raise UserError(
            f"{flags[0]}={run}: there is no such folder; name a run's workdir"
        )
    there = list_snapshots(run)
    if not there:
        problem = f"it is neither a run nor a snapshot: it has no {INFO}; name one"
        if (run / "config.json").exists():
            problem = (
                "it holds no snapshot yet; let the run reach the end of a stage or "
                "config.train.snapshot_ticks ticks"
            )
        raise UserError(f"{flags[0]}={run}: {problem}")
    if name is None:
        return there[-1]
    wanted = _read_best(run) if name == BEST else name
    for folder in there:
        if folder.name == wanted:
            return folder
    names = ", ".join(folder.name for folder in there)
    raise UserError(
        f"{flags[1]}={name}: {run} has no such snapshot; choose from {names}"
    )


def write_best(run: Path, name: str) -> None:
    """Writes the name of a run's best snapshot, with a checksum."""
    write_whole(run / "snapshots" / BEST, json.dumps(seal({"snapshot": name})) + "\n")


def _read_best(run: Path) -> str:
    """Returns the name of the best snapshot; BEST if none was written.

    Raises:
      UserError: if the file is damaged.
    """
    path = run / "snapshots" / BEST
    if not path.exists():
        return BEST
    data = path.read_bytes()
    name = data.decode(errors="replace").strip()
    if not parse_moment(name):  # Earlier versions wrote the name alone.
        name = (parse_record(data) or {}).get("snapshot")
    if not isinstance(name, str):
        raise UserError(
            f"{path} has changed since it was written (its checksum differs); "
            "--mode=eval writes it again"
        )
    return name


def list_snapshots(run: Path) -> list[Path]:
    """Returns a run's snapshot folders, oldest first."""
    found = [
        (moment, folder)
        for folder in (run / "snapshots").glob("*_r*")
        if (moment := parse_moment(folder.name))
    ]
    return [folder for _, folder in sorted(found)]


def moment_name(nimg: int, resolution: int) -> str:
    """Returns the name of a moment of a run, such as "000040.016_r032".

    Names are unique, and their alphabetical order is that of time.
    """
    return f"{nimg / 1000:010.3f}_r{resolution:03d}"


def parse_moment(name: str) -> tuple[float, int] | None:
    """Returns kimg and resolution of such a name; None for any other text."""
    match = _NAME.fullmatch(name)
    return match and (float(match[1]), int(match[2]))


def _describe(folder: Path, info: Mapping[str, Any], hashes: dict[str, str]) -> None:
    """Writes the description, with the SHA-256 of the weights and its own checksum."""
    of_file = ("version", CARRIES, HASHES)  # Those of the files that are written now.
    described = {
        "version": _VERSION,
        **{name: value for name, value in info.items() if name not in of_file},
        **({CARRIES: True} if TRAINED["G"] in hashes else {}),
        HASHES: hashes,
    }
    (folder / INFO).write_text(json.dumps(seal(described), indent=2) + "\n")


def _save(path: Path, weights: Weights) -> str:
    """Writes weights and returns their SHA-256."""
    flat = traverse_util.flatten_dict(weights, sep="/")
    # Unlike ascontiguousarray, this leaves scalars as they are.
    arrays = {name: np.asarray(array, order="C") for name, array in flat.items()}
    data = save(arrays)
    path.write_bytes(data)  # safetensors' save_file would ignore the umask.
    return _sha256(data)


def _load(path: Path, info: Mapping[str, Any]) -> Weights:
    """Returns the weights of a file as nested arrays."""
    data = _read(path, info)
    try:
        return traverse_util.unflatten_dict(load(data), sep="/")
    except Exception as error:  # safetensors has its own exception type.
        raise UserError(
            f"snapshot {path.parent} cannot be read ({path.name}: {error}); {_RESTORE}"
        ) from error


def _read(path: Path, info: Mapping[str, Any]) -> bytes:
    """Returns the bytes of a file of weights, compared to the recorded SHA-256."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(
            f"snapshot {path.parent} cannot be read ({path.name}: {error.strerror}); "
            f"{_RESTORE}"
        ) from error
    hashed = info.get("version", 1) > 1
    if hashed and info.get(HASHES, {}).get(path.name) != _sha256(data):
        raise _changed(path)
    return data


def _changed(path: Path) -> UserError:
    return UserError(
        f"snapshot {path.parent}: {path.name} has changed since it was written (its "
        f"checksum differs); {_RESTORE}"
    )


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _weights(info: Mapping[str, Any]) -> str:
    return WEIGHTS["D" if info.get("network") == "D" else "G"]
