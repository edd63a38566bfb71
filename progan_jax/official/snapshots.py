"""From a network of the authors' to a snapshot of ours: parameters and description."""

import hashlib
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flax import traverse_util

from progan_jax.errors import UserError
from progan_jax.networks.layers import num_features
from progan_jax.networks.progan import Discriminator, Generator, stage_resolutions
from progan_jax.official.networks import OfficialNetwork, read_network
from progan_jax.official.unpickling import shorten
from progan_jax.official.variables import LEVEL, convert_variables
from progan_jax.runtime.snapshot import write_snapshot

LICENCE = {
    "name": "CC BY-NC 4.0",
    "url": "https://creativecommons.org/licenses/by-nc/4.0/",
    "holder": "NVIDIA Corporation (Karras et al. 2018)",
}
# Options of their functions, with their defaults; the others tell how a graph is laid
# out (structure), computed (dtype), or are the other network's.
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


def import_network(
    path: Path, kind: str, level: float | None = None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Returns the parameters and the description of one of a file's networks.

    Args:
      path: A pickle of (G, D, Gs) that the authors' program wrote.
      kind: "Gs", the averaged generator; "G" or "D".
      level: Level of detail, their lod, from 0 for the final resolution; the network's
        own by default. Layers of finer ones are checked and left out.

    Returns:
      What `snapshot.write_snapshot` takes: nested NumPy arrays, float32, and a
      description in which the licence stands.

    Raises:
      UserError: if the file cannot be read, asks for code to be run, or holds another
        network than its options speak of.
    """
    network = read_network(path, kind)
    try:
        params, info = _convert(network, level)
    except UserError:
        raise
    except Exception as error:  # Options of a wrong type fail anywhere.
        raise UserError(
            f"{path}: {kind} cannot be taken over: {shorten(error)}; name a float32 "
            "network of G_paper or D_paper as their program wrote it"
        ) from error
    with path.open("rb") as file:
        checksum = hashlib.file_digest(file, "sha256").hexdigest()
    info["source"] |= {"file": path.name, "sha256": checksum}
    return params, info


def import_snapshot(
    path: Path,
    folder: Path,
    kind: str = "Gs",
    level: float | None = None,
    with_trained: bool = False,
) -> dict[str, Any]:
    """Writes a snapshot of a file's networks and returns its description.

    Args:
      path: See `import_network`.
      folder: The snapshot's.
      kind: See `import_network`.
      level: See `import_network`.
      with_trained: Whether G and D come along.

    Raises:
      UserError: as for `import_network`.
      OSError: if the snapshot cannot be written.
    """
    params, info = import_network(path, kind, level)
    others = ("G", "D") if with_trained else ()
    trained = {other: import_network(path, other, level)[0] for other in others}
    write_snapshot(folder, params, info, trained)
    return info


def _convert(
    network: OfficialNetwork, level: float | None
) -> tuple[dict[str, Any], dict[str, Any]]:
    model = _model(network.options)
    whole, fused = _ours(network.kind, model), _fused(network.options)
    arrays = convert_variables(whole, network.variables, fused)
    own = float(network.variables[LEVEL])
    side, alpha = _stage(model["resolution"], own, level)
    grown = {f"x{r}" for r in stage_resolutions(side)}
    taken = {p: a for p, a in arrays.items() if "x" + p[0].rpartition("x")[2] in grown}
    return traverse_util.unflatten_dict(taken), {
        "architecture": "progan",
        "network": "D" if network.kind == "D" else "G",
        "resolution": side,
        "alpha": alpha,
        "model": model,
        "licence": LICENCE,
        "source": {
            "network": network.kind,
            "function": network.function,
            "options": dict(network.options),
        },
    }


def _model(options: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the options as fields of `config.model`."""
    of = _DEFAULTS | dict(options)
    if of["pixelnorm_epsilon"] != _DEFAULTS["pixelnorm_epsilon"]:
        raise ValueError(
            f"pixelnorm_epsilon = {of['pixelnorm_epsilon']} must be 1e-08 here"
        )
    widths = {name: of[name] for name in ("fmap_base", "fmap_decay", "fmap_max")}
    side = of["resolution"]
    if type(side) is not int or side not in stage_resolutions(1024):
        raise ValueError(f"resolution = {side} must be a power of two from 4 to 1024")
    return widths | {
        "topology": "progan",
        "resolution": side,
        "channels": of["num_channels"],
        "latent_size": of["latent_size"] or num_features(0, **widths),
        "num_classes": of["label_size"],
        "fused_resampling": _fused(options),
        "equalized": bool(of["use_wscale"]),
        "normalize_latents": bool(of["normalize_latents"]),
        "normalize_labels": True,
        "pixel_norm": bool(of["use_pixelnorm"]),
        "activation": "leaky_relu" if of["use_leakyrelu"] else "relu",
        "tanh": False,
        "minibatch_stddev": of["mbstd_group_size"] > 1,
        "mbstd_group_size": of["mbstd_group_size"],
        "dtype": "float32",
    }


def _fused(options: Mapping[str, Any]) -> bool:
    return bool(options.get("fused_scale", _DEFAULTS["fused_scale"]))


def _ours(kind: str, model: Mapping[str, Any]) -> Generator | Discriminator:
    """Returns our network of the final resolution."""
    shared = ("resolution", "channels", "num_classes", "equalized")
    fields = {n: model[n] for n in (*shared, "fmap_base", "fmap_decay", "fmap_max")}
    if kind == "D":
        return Discriminator(fused_resampling=model["fused_resampling"], **fields)
    return Generator(latent_size=model["latent_size"], **fields)


def _stage(final: int, own: float, wanted: float | None) -> tuple[int, float]:
    """Returns the resolution that a network is taken to have grown to, and alpha."""
    most, level = math.log2(final / 4), own if wanted is None else wanted
    if not 0 <= level <= most:
        problem = f"{LEVEL} = {level:g} must lie in [0, {most:g}]"
        if wanted is None:
            raise ValueError(problem)
        raise UserError(f"{problem} for a network of {final}x{final}; change it")
    return final >> math.floor(level), 1 - level % 1
