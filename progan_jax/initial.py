"""The networks that a run starts from where it is given some: config.init_from.

They are taken once, where the run begins; its first checkpoint has them, and the place
that they came from is not looked at again.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import ml_collections
import numpy as np
from flax import traverse_util

from progan_jax.config import make_networks
from progan_jax.errors import UserError
from progan_jax.loading import locate
from progan_jax.official.snapshots import import_network
from progan_jax.runtime.distributed import is_primary, share
from progan_jax.runtime.mesh import lay_out, local, replicated
from progan_jax.runtime.snapshot import digest, read_snapshot, read_trained
from progan_jax.state import Params, TrainState, parameter_shapes
from progan_jax.stored_config import YOUNGER_FIELDS

_FIELD = "config.init_from"
_SHARED = (
    *("topology", "channels", "num_classes", "fmap_base", "fmap_decay", "fmap_max"),
    "equalized",
)
_OF_G = (
    *("latent_size", "normalize_latents", "normalize_labels", "pixel_norm", "g_norm"),
    *("activation", "g_slope", "tanh"),
)
_OF_D = (
    *("fused_resampling", "d_norm", "d_divisor", "minibatch_stddev"),
    "minibatch_discrimination",
)
_Networks = dict[str, Params]  # By their names in the state.


@dataclass(frozen=True)
class Initial:
    """Networks of a run's first resolution.

    Attributes:
      networks: NumPy arrays of g_params, g_ema and, where it was carried, d_params.
      origin: What the run's snapshots tell of where they come from.
    """

    networks: _Networks
    origin: dict[str, Any]


def open_initial(config: ml_collections.ConfigDict, workdir: Path) -> Initial | None:
    """Returns the networks to start from; None if there are none, or it has started.

    Args:
      config: The run's.
      workdir: Its folder, in which only the primary process looks.

    Raises:
      UserError: if they cannot be read, or are not those of `config.model`.
    """
    checkpoints = workdir / "checkpoints"
    if not config.init_from or not is_primary():
        return None
    if any(path.name.isdigit() for path in checkpoints.glob("*")):
        return None
    source: Any = config.init_from
    path = locate(source, names=(_FIELD, "snapshot"), with_trained=True)
    networks, info, weights = _read_file(path) if path.is_file() else _read_folder(path)
    _check_model(config, info["model"], "d_params" in networks)
    generator, discriminator = make_networks(
        config, config.schedule.start_resolution, per_device_batch=1
    )
    shapes = {"G": parameter_shapes(generator), "D": parameter_shapes(discriminator)}
    taken = {
        key: _take(config, params, shapes[key[0].upper()])
        for key, params in networks.items()
    }
    # Not the whole path, which tells of this machine.
    name = source if "://" in source else path.name
    origin = {"initial": {"name": name, "sha256": weights}}
    if "licence" in info:
        origin["licence"] = info["licence"]
    return Initial(taken, origin)


def start_from(
    state: TrainState, initial: Initial | None, mesh: jax.sharding.Mesh
) -> TrainState:
    """Returns a new state with the given networks in place of its own.

    All processes must come here; `initial` is the primary's.
    """
    fields = ("g_params", "d_params", "g_ema")
    own = {name: jax.device_get(local(getattr(state, name))) for name in fields}
    given = own | (initial.networks if initial else {})

    def place(mine: np.ndarray, theirs: np.ndarray) -> jax.Array:
        return lay_out(share(np.asarray(theirs, mine.dtype)), replicated(mesh))

    return state.replace(**jax.tree.map(place, own, given))


def _read_file(path: Path) -> tuple[_Networks, Mapping[str, Any], str]:
    """Returns networks of a pickle, description, and SHA-256."""
    kinds = {"g_ema": "Gs", "g_params": "G", "d_params": "D"}
    read = {key: import_network(path, kind) for key, kind in kinds.items()}
    info = read["g_ema"][1]
    networks = {key: params for key, (params, _) in read.items()}
    return networks, info, info["source"]["sha256"]


def _read_folder(path: Path) -> tuple[_Networks, Mapping[str, Any], str]:
    """Returns networks of a snapshot, description, and SHA-256 of the average."""
    averaged, info = read_snapshot(path)
    if info.get("network", "G") != "G" or not isinstance(info.get("model"), dict):
        raise UserError(
            f"{_FIELD}={path}: it is no snapshot of a generator; name one that is"
        )
    trained = read_trained(path)
    networks = {"g_ema": averaged, "g_params": trained.get("G", averaged)}
    if "D" in trained:
        networks["d_params"] = trained["D"]
    return networks, info, digest(path)


def _check_model(
    config: ml_collections.ConfigDict, theirs: Mapping[str, Any], with_d: bool
) -> None:
    """Refuses networks of other options, all of these in one line."""
    differing = list(_differences(config.model, theirs, with_d))
    if differing:
        set_to = ", ".join(f"config.model.{n} to {v!r}" for n, v, _ in differing)
        ours = ", ".join(repr(mine) for _, _, mine in differing)
        raise UserError(
            f"{_FIELD} = {config.init_from!r}: its networks are others than this "
            f"run's; set {set_to} (now {ours}), or name other networks"
        )


def _differences(
    model: Any, theirs: Mapping[str, Any], with_d: bool
) -> Iterator[tuple[str, Any, Any]]:
    """Yields name, their value and ours of options that differ, where they matter."""
    for name in (*_SHARED, *_OF_G, *(_OF_D if with_d else ())):
        value = theirs.get(name, YOUNGER_FIELDS.get(f"model.{name}"))
        without = {
            "normalize_labels": not model.num_classes,
            "g_slope": model.activation != "leaky_relu",
        }
        if value != model[name] and not without.get(name, False):
            yield name, value, model[name]


def _take(
    config: ml_collections.ConfigDict,
    params: Params,
    shapes: Mapping[tuple[str, ...], tuple[int, ...]],
) -> Params:
    """Returns the layers of the run's first resolution, by name and shape."""
    found = traverse_util.flatten_dict(params)
    for path, shape in shapes.items():
        there = found[path].shape if path in found else "missing"
        if there != shape:
            start = config.schedule.start_resolution
            raise UserError(
                f"{_FIELD} = {config.init_from!r}: its {'/'.join(path)} is {there}, "
                f"and a run from {start}x{start} on needs {shape}; lower "
                "config.schedule.start_resolution to what they have grown to, or name "
                "other networks"
            )
    return traverse_util.unflatten_dict({path: found[path] for path in shapes})
