"""Import of the authors' pickled Progressive GAN networks as snapshots.

Their program pickles G, D and Gs, the moving average of G. Each is stored with its
name, the name of the function that builds it, that function's options and its
variables. The source text of the function is stored too, but it is not read.

Variables are renamed and converted to our layout:
  - their names contain the level of detail, counted from the final resolution, and ours
    the resolution;
  - their images are [N, C, H, W], which determines the order of the inputs or outputs
    of the dense layers at 4x4;
  - their kernels of fused upsampling are those of a transposed convolution,
    [kh, kw, out, in], rotated by 180 degrees.
"""

import hashlib
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from flax import traverse_util

from progan_jax.errors import UserError
from progan_jax.models.common import (
    NETWORKS,
    Weights,
    stage_resolutions,
    weight_shapes,
)
from progan_jax.models.layers import num_features
from progan_jax.models.progan.networks import Discriminator, Generator
from progan_jax.models.progan.options import Options
from progan_jax.weights.stored_arrays import StoredArray
from progan_jax.weights.unpickling import Record, shorten

Place = tuple[str, ...]  # Path of a parameter in our tree.

LEVEL = "lod"  # Name of the variable that holds a network's level of detail.


def convert_variables(
    network: Generator | Discriminator,
    variables: Mapping[str, np.ndarray],
    fused: bool,
) -> dict[Place, np.ndarray]:
    """Returns our parameters by their paths, float32.

    Args:
      network: Our network, of the final resolution.
      variables: Their variables by name, including `LEVEL`.
      fused: Whether their resampling convolutions are fused, which changes names.

    Raises:
      ValueError: if a variable is missing, unknown, of another shape, or not finite.
    """
    ours = weight_shapes(network)
    names = {their_name(network, path, fused): path for path in ours}
    if missing := sorted({*names, LEVEL} - variables.keys()):
        raise ValueError(f"{len(missing)} variables are missing, such as {missing[0]}")
    if left := sorted(variables.keys() - names.keys() - {LEVEL}):
        raise ValueError(f"{len(left)} variables have no place, such as {left[0]}")
    return {
        path: _convert_variables(name, variables[name], network, ours[path])
        for name, path in names.items()
    }


def their_name(network: Generator | Discriminator, path: Place, fused: bool) -> str:
    """Returns their name for one of our parameters."""
    block, *layers, kind = path
    side = int(block.rpartition("x")[2])
    kind = {"kernel": "weight", "bias": "bias"}[kind]
    if not layers:
        level = (network.resolution // side).bit_length() - 1
        return f"{'To' if block.startswith('to') else 'From'}RGB_lod{level}/{kind}"
    layer = layers[0].capitalize()
    if fused and isinstance(network, Generator) and layer == "Conv0":
        layer = "Conv0_up"
    if fused and isinstance(network, Discriminator) and layer == "Conv1":
        layer = "Conv1_down"
    return f"{side}x{side}/{layer}/{kind}"


def _convert_variables(
    name: str,
    array: np.ndarray,
    network: Generator | Discriminator,
    shape: tuple[int, ...],
) -> np.ndarray:
    theirs = shape[:2] + shape[:1:-1] if name.endswith("Conv0_up/weight") else shape
    if array.shape != theirs:
        raise ValueError(f"{name} is of shape {array.shape}, not of {theirs}")
    with np.errstate(over="ignore"):
        array = array.astype(np.float32)
    if not np.isfinite(array).all():
        raise ValueError(f"{name} has numbers that are not finite")
    return np.ascontiguousarray(
        _to_our_layout(name, array, isinstance(network, Generator))
    )


def _to_our_layout(name: str, array: np.ndarray, of_generator: bool) -> np.ndarray:
    if name.endswith("Conv0_up/weight"):
        return array[::-1, ::-1].swapaxes(2, 3)
    if name == "4x4/Dense/weight" and of_generator:
        return _channels_last(array)
    if name == "4x4/Dense0/weight":
        return _channels_last(array.T).T
    return array


def _channels_last(array: np.ndarray) -> np.ndarray:
    """Reorders the columns of [n, c * 4 * 4] as [n, 4 * 4 * c]."""
    pixels = array.reshape(len(array), -1, 4, 4)
    return pixels.transpose(0, 2, 3, 1).reshape(array.shape)


RECORD_CLASSES: tuple[str, ...] = ("tfutil.Network",)

_FUNCTIONS = {"G": "G_paper", "D": "D_paper", "Gs": "G_paper"}


@dataclass(frozen=True)
class OfficialNetwork:
    """A network as stored by the authors' program.

    Attributes:
      kind: "G", "D" or "Gs".
      options: Arguments of the function that differ from its defaults.
      variables: Arrays by their names, such as "8x8/Conv0_up/weight".
    """

    kind: str
    options: Mapping[str, Any]
    variables: Mapping[str, np.ndarray]


def recognises(value: Any) -> bool:
    """Returns whether a pickle's value is a tuple of this family's networks."""
    if not isinstance(value, tuple) or len(value) != len(NETWORKS):
        return False
    state = value[0].state if isinstance(value[0], Record) else None
    function = state.get("build_func_name") if isinstance(state, dict) else None
    # Comparing other types, such as deeply nested tuples, may never end.
    return type(function) is str and function == _FUNCTIONS["G"]


def _find_network(path: Path, value: Any, kind: str) -> OfficialNetwork:
    try:
        if len(value) != len(NETWORKS):
            raise ValueError(f"{len(value)} values instead of three")
        return _to_network(kind, value[NETWORKS.index(kind)])
    except Exception as error:  # A file may hold a value of any type anywhere.
        raise UserError(
            f"{path} does not hold the authors' networks (G, D, Gs): "
            f"{shorten(error)}; name one that their program wrote"
        ) from error


def _to_network(kind: str, record: Any) -> OfficialNetwork:
    if not isinstance(record, Record):
        raise ValueError(f"{kind} is not a network")
    for field in ("build_func_name", "static_kwargs", "variables"):
        if field not in record.state:
            raise ValueError(f"{kind} has no {field}")
    state, function = record.state, record.state["build_func_name"]
    # Printing or hashing other types, such as deeply nested tuples, may never end.
    if type(function) is not str or function != _FUNCTIONS[kind]:
        built = function if type(function) is str else "what is no function"
        raise ValueError(f"{kind} is built by {built}, not by {_FUNCTIONS[kind]}")
    names = [name for name, _ in state["variables"]]
    if any(type(name) is not str for name in names):
        raise ValueError(f"{kind} has a variable without a name")
    if len(set(names)) < len(names):
        raise ValueError(f"{kind} has two variables of one name")
    variables = {name: array.numbers for name, array in state["variables"]}
    options = {name: _plain(value) for name, value in state["static_kwargs"].items()}
    return OfficialNetwork(kind, options, variables)


def _plain(value: Any) -> Any:
    """Returns an option as a Python number or string."""
    if isinstance(value, StoredArray):
        return value.numbers.item()
    if type(value) is int and abs(value) >= 2**63:
        raise ValueError("an option is out of range")
    if value is not None and type(value) not in (str, bool, int, float):
        raise ValueError("an option is neither a number nor a text")
    return value


LICENCE = {
    "name": "CC BY-NC 4.0",
    "url": "https://creativecommons.org/licenses/by-nc/4.0/",
    "holder": "NVIDIA Corporation (Karras et al. 2018)",
}

# Options of their functions G_paper and D_paper that we read, with their defaults.
_DEFAULTS = {
    "num_channels": 1,
    "resolution": 32,
    "label_size": 0,
    "fmap_base": 8192,
    "fmap_decay": 1.0,
    "fmap_max": 512,
    "latent_size": None,
    "normalize_latents": True,
    "use_wscale": True,
    "use_pixelnorm": True,
    "pixelnorm_epsilon": 1e-8,
    "use_leakyrelu": True,
    "mbstd_group_size": 4,
    "fused_scale": True,
}


def import_value(
    path: Path, value: Any, kind: str, level: float | None
) -> tuple[Weights, dict[str, Any]]:
    """Returns the weights and the description of one of a pickle's networks.

    Args:
      path: The pickle, for its name and its checksum.
      value: What `unpickling.read_pickle` read from it.
      kind: See `families.import_network`.
      level: Level of detail (their lod), 0 for the final resolution; by default the
        network's own. Layers of higher resolutions are checked, then dropped.

    Returns:
      Nested float32 NumPy arrays, and a snapshot's description with the licence.

    Raises:
      UserError: if there are no such networks, or their variables do not fit their
        options.
    """
    network = _find_network(path, value, kind)
    try:
        params, info = _convert(network, level)
    except UserError:
        raise
    except Exception as error:  # Options of a wrong type may fail anywhere.
        raise UserError(
            f"{path}: {kind} cannot be imported: {shorten(error)}; name a float32 "
            "network of G_paper or D_paper as their program wrote it"
        ) from error
    with path.open("rb") as file:
        checksum = hashlib.file_digest(file, "sha256").hexdigest()
    info["source"] |= {"file": path.name, "sha256": checksum}
    return params, info


def _convert(
    network: OfficialNetwork, level: float | None
) -> tuple[dict[str, Any], dict[str, Any]]:
    options = _to_options(network.options)
    module = Discriminator if network.kind == "D" else Generator
    final = module(options.resolution, options)
    fused = options.fused_resampling
    arrays = convert_variables(final, network.variables, fused)
    own = float(network.variables[LEVEL])
    side, alpha = _stage(options.resolution, own, level)
    grown = {f"x{r}" for r in stage_resolutions(side)}
    taken = {p: a for p, a in arrays.items() if "x" + p[0].rpartition("x")[2] in grown}
    return traverse_util.unflatten_dict(taken), {
        "family": "progan",
        "network": "D" if network.kind == "D" else "G",
        "options": asdict(options),
        "stage": {"resolution": side, "alpha": alpha},
        "licence": LICENCE,
        "source": {
            "network": network.kind,
            "function": _FUNCTIONS[network.kind],
            "options": dict(network.options),
        },
    }


def _to_options(theirs: Mapping[str, Any]) -> Options:
    of = _DEFAULTS | dict(theirs)
    if of["pixelnorm_epsilon"] != _DEFAULTS["pixelnorm_epsilon"]:
        raise ValueError(
            f"pixelnorm_epsilon = {of['pixelnorm_epsilon']} must be 1e-08 here"
        )
    widths = {name: of[name] for name in ("fmap_base", "fmap_decay", "fmap_max")}
    side = of["resolution"]
    if type(side) is not int or side not in stage_resolutions(1024):
        raise ValueError(f"resolution = {side} must be a power of two from 4 to 1024")
    return Options(
        resolution=side,
        channels=of["num_channels"],
        latent_size=of["latent_size"] or num_features(0, **widths),
        num_classes=of["label_size"],
        fused_resampling=bool(of["fused_scale"]),
        equalized=bool(of["use_wscale"]),
        normalize_latents=bool(of["normalize_latents"]),
        normalize_labels=True,
        pixel_norm=bool(of["use_pixelnorm"]),
        activation="leaky_relu" if of["use_leakyrelu"] else "relu",
        minibatch_stddev=of["mbstd_group_size"] > 1,
        mbstd_group_size=of["mbstd_group_size"],
        **widths,
    )


def _stage(final: int, own: float, wanted: float | None) -> tuple[int, float]:
    """Returns the resolution and alpha of a level of detail."""
    most, level = math.log2(final / 4), own if wanted is None else wanted
    if not 0 <= level <= most:
        problem = f"{LEVEL} = {level:g} must lie in [0, {most:g}]"
        if wanted is None:
            raise ValueError(problem)
        raise UserError(f"{problem} for a network of {final}x{final}; change it")
    # The fraction of their lod is the weight of the old layers, alpha that of the new.
    return final >> math.floor(level), 1 - level % 1
