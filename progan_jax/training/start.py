"""Start of a run: its images, trained networks, and a fit to real images.

`config.init_from` names networks. They are read once, when the run begins; its first
checkpoint holds them, and their source is not read again. Only minibatch discrimination
is fitted, to the distances between real images. Source: the paper's program, which does
so once, at the start of a run.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import ml_collections
import numpy as np
from flax import traverse_util

from progan_jax.data import sources
from progan_jax.data.index_stream import IndexStream
from progan_jax.data.pyramid import Pyramid
from progan_jax.errors import UserError
from progan_jax.images import to_float
from progan_jax.inference.load import locate
from progan_jax.inference.snapshot import digest, read_snapshot, read_trained
from progan_jax.models.common import (
    Weights,
    carry_shared,
    to_variables,
    weight_shapes,
)
from progan_jax.models.families import DEFAULT, Family, import_networks
from progan_jax.models.options import differences, read_options
from progan_jax.runtime.distributed import is_primary, share
from progan_jax.runtime.mesh import lay_out, local, replicated
from progan_jax.training.config import family_of, make_networks, model_options
from progan_jax.training.state import TrainState
from progan_jax.training.validation import validate_data

_FIELD = "config.init_from"

_Networks = dict[str, Weights]  # "Gs", the average of G; "G"; and "D" if it is there.


@dataclass(frozen=True)
class Initial:
    """Networks of a run's first resolution.

    Attributes:
      networks: NumPy arrays of "Gs", "G" and, if there is one, "D".
      origin: Their source, as the run's snapshots record it.
    """

    networks: _Networks
    origin: dict[str, Any]


def check_initial(config: ml_collections.ConfigDict) -> None:
    """Raises UserError if `config.init_from` names nothing that can be opened."""
    if config.init_from:
        _locate(config)


def _locate(config: Any) -> Path:
    return locate(config.init_from, names=(_FIELD, "snapshot"), with_trained=True)


def open_initial(config: ml_collections.ConfigDict, workdir: Path) -> Initial | None:
    """Returns the networks to start from; None without any, or after the start.

    Args:
      config: Configuration of the run.
      workdir: Its folder, which only the primary process reads.

    Raises:
      UserError: if they cannot be read, or do not match `config.model`.
    """
    checkpoints = workdir / "checkpoints"
    if not config.init_from or not is_primary():
        return None
    if any(path.name.isdigit() for path in checkpoints.glob("*")):
        return None
    source: Any = config.init_from
    path = _locate(config)
    networks, info, weights = _read_file(path) if path.is_file() else _read_folder(path)
    if _is_stem(config, info):
        # A new stage has a D of its own, and the average of the stage before.
        networks = {"Gs": networks["Gs"], "G": networks["Gs"]}
    _check_options(config, info, "D" in networks)
    generator, discriminator = make_networks(
        config, config.schedule.start_resolution, per_device_batch=1
    )
    shapes = {"G": weight_shapes(generator), "D": weight_shapes(discriminator)}
    taken = networks
    if not _is_stem(config, info):
        taken = {
            name: _take(config, weights, shapes[name[0]])
            for name, weights in networks.items()
        }
    # Not the full path, which would reveal this machine's folders.
    name = source if "://" in source else path.name
    origin = {"initial": {"name": name, "sha256": weights}}
    if "licence" in info:
        origin["licence"] = info["licence"]
    return Initial(taken, origin)


def start_from(
    state: TrainState, initial: Initial | None, mesh: jax.sharding.Mesh
) -> TrainState:
    """Returns a new state with the layers of given networks in place of its own.

    All processes must call this; `initial` is the primary's.
    """
    of_state = {"Gs": state.averaged, "G": state.trained.g, "D": state.trained.d}
    own = jax.device_get(local(of_state))
    networks = initial.networks if initial else {}
    given = own | {
        name: carry_shared(own[name], to_variables(of)) for name, of in networks.items()
    }

    def place(mine: np.ndarray, theirs: np.ndarray) -> jax.Array:
        return lay_out(share(np.asarray(theirs, mine.dtype)), replicated(mesh))

    placed = jax.tree.map(place, own, given)
    return state.replace(
        g_ema=carry_shared(state.g_ema, placed["Gs"]["params"]),
        g_ema_stats=placed["Gs"]["stats"],
        g_params=carry_shared(state.g_params, placed["G"]["params"]),
        g_fixed=carry_shared(state.g_fixed, placed["G"]["params"]),
        g_stats=placed["G"]["stats"],
        d_params=placed["D"]["params"],
        d_stats=placed["D"]["stats"],
    )


def open_stem(workdir: Path, name: str) -> Initial:
    """Returns the generator of a run's snapshot, from which a stage restarts.

    Args:
      workdir: The run's folder.
      name: Name of the snapshot.

    Raises:
      UserError: if it cannot be read.
    """
    folder = workdir / "snapshots" / name
    if not folder.is_dir():
        raise UserError(
            f"--workdir={workdir}: snapshot {name} is missing, with whose generator "
            "the next stage begins; restore it"
        )
    averaged, _ = read_snapshot(folder)
    return Initial({"Gs": averaged, "G": averaged}, {})


def restart_from(
    new: TrainState, old: TrainState, stem: Initial | None, mesh: jax.sharding.Mesh
) -> TrainState:
    """Returns the state of a stage that begins on the generator of an earlier one.

    G has the earlier one's layers where its own have their names. Source: Sauer et al.
    2022, section 3.1.

    Args:
      new: State of the stage, with new networks.
      old: State of the run until then, whose count of pairs goes on.
      stem: The earlier generator, on the primary process.
      mesh: Mesh over all processes, which must all call this.
    """
    started = start_from(new, stem, mesh)
    return started.replace(pairs=old.pairs, skipped_in_row=old.skipped_in_row)


def _read_file(path: Path) -> tuple[_Networks, Mapping[str, Any], str]:
    """Returns the networks of a pickle, their description, and the file's SHA-256."""
    networks, info = import_networks(path)
    return {"G": networks["Gs"]} | networks, info, info["source"]["sha256"]


def _read_folder(path: Path) -> tuple[_Networks, Mapping[str, Any], str]:
    """Returns a snapshot's networks, description, and SHA-256 of the averaged G."""
    averaged, info = read_snapshot(path)
    if info.get("network", "G") != "G" or "options" not in info:
        raise UserError(
            f"{_FIELD}={path}: it is not a snapshot of a generator; name one that is"
        )
    trained = read_trained(path)
    return {"Gs": averaged, "G": averaged} | trained, info, digest(path)


def _check_options(
    config: ml_collections.ConfigDict, info: Mapping[str, Any], with_d: bool
) -> None:
    """Raises UserError if the networks have other options, with all of them."""
    theirs, kind = info.get("family", DEFAULT), family_of(config).Options
    if theirs != config.family:
        raise UserError(
            f"{_FIELD} = {config.init_from!r}: its networks are of the family "
            f"{theirs}, and config.family = {config.family!r}; name networks of that "
            "family"
        )
    ours, networks = model_options(config), "GD" if with_d else "G"
    try:
        options = read_options(kind, info["options"])
    except KeyError as error:
        raise UserError(
            f"{_FIELD} = {config.init_from!r}: its description has no field {error}; "
            "name a complete snapshot"
        ) from error
    if family_of(config).RESTARTS:
        side = _check_stage(config, info)
        ours, options = ours.at(side), options.at(side)
    found = list(differences(ours, options, networks))
    if found := [each for each in found if ours.matters(each[0])]:
        set_to = ", ".join(f"config.model.{name} to {v!r}" for name, _, v in found)
        now = ", ".join(repr(mine) for _, mine, _ in found)
        raise UserError(
            f"{_FIELD} = {config.init_from!r}: its networks differ from this "
            f"run's; set {set_to} (now {now}), or name other networks"
        )


def _is_stem(config: ml_collections.ConfigDict, info: Mapping[str, Any]) -> bool:
    """Returns whether networks are of the stage before the run's first one."""
    side = info.get("stage", {}).get("resolution")
    return family_of(config).RESTARTS and side != config.schedule.start_resolution


def _check_stage(config: ml_collections.ConfigDict, info: Mapping[str, Any]) -> int:
    """Returns the resolution of the networks' stage.

    Raises:
      UserError: if it is neither the run's first one nor the one before.
    """
    sides, start = model_options(config).sides, config.schedule.start_resolution
    side, place = info["stage"]["resolution"], sides.index(start)
    allowed = sides[max(place - 1, 0) : place + 1]
    if side not in allowed:
        raise UserError(
            f"{_FIELD} = {config.init_from!r}: its networks are of {side}x{side}, and "
            f"a run from {start}x{start} on begins with those of "
            f"{' or '.join(f'{r}x{r}' for r in allowed)}; name such, or change "
            "config.model.stages and config.schedule.start_resolution"
        )
    return side


def _take(
    config: ml_collections.ConfigDict,
    weights: Weights,
    shapes: Mapping[tuple[str, ...], tuple[int, ...]],
) -> Weights:
    """Returns the layers of the run's first resolution, by name and shape."""
    found = traverse_util.flatten_dict(weights)
    for path, shape in shapes.items():
        there = found[path].shape if path in found else "missing"
        if there != shape:
            start = config.schedule.start_resolution
            raise UserError(
                f"{_FIELD} = {config.init_from!r}: its {'/'.join(path)} is {there}, "
                f"and a run from {start}x{start} on needs {shape}; lower "
                "config.schedule.start_resolution to the resolution that they have "
                "reached, or name other networks"
            )
    return traverse_util.unflatten_dict({path: found[path] for path in shapes})


def images_to_fit(
    config: ml_collections.ConfigDict, pyramid: Pyramid | None
) -> np.ndarray | None:
    """Returns the first images of the run, or None if there is nothing to fit.

    Args:
      config: Configuration of the run, whose seed orders the images.
      pyramid: The set; None for a state that never trains on one.

    Returns:
      uint8 [N, r, r, C] at the run's first resolution; the family chooses N.
    """
    if pyramid is None:
        return None
    options, seed = model_options(config), int(config.seed)  # type: ignore[arg-type]
    num = family_of(config).num_to_fit(options, pyramid.num_images)
    if not num:
        return None
    indices, _ = IndexStream(seed, pyramid.num_images, mirror=False).take(0, num)
    return pyramid.levels[config.schedule.start_resolution][indices]


def fit_to_reals(
    state: TrainState, reals: jax.Array, discriminator: Any, family: Family
) -> TrainState:
    """Fits a new state's D to real images uint8 [N, r, r, C], as a single batch."""
    fitted = family.fit(discriminator, state.d_params, to_float(reals))
    return state.replace(d_params=fitted)


def open_set(config: ml_collections.ConfigDict) -> Pyramid:
    """Opens the image set of a run, at its final resolution.

    Raises:
      UserError: if it is missing, or the networks do not fit its images and labels.
    """
    data: Any = config.data
    pyramid = sources.load(
        data.name,
        data.data_dir,
        data.split,
        config.model.resolution,
        data.max_memory_mib,
    )
    validate_data(config, pyramid)
    return pyramid
