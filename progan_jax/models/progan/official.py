"""Import of the authors' pickled Progressive GAN networks as snapshots.

Variables are renamed and converted to our layout:
  - their names contain the level of detail, counted from the final resolution, and ours
    the resolution;
  - their images are [N, C, H, W], which determines the order of the inputs or outputs
    of the dense layers at 4x4;
  - their kernels of fused upsampling are those of a transposed convolution,
    [kh, kw, out, in], rotated by 180 degrees.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np

from progan_jax.models.common import weight_shapes
from progan_jax.models.layers import num_features
from progan_jax.models.official import (
    LEVEL,
    OfficialNetwork,
    Place,
    Program,
    channels_last,
    check_resolution,
    check_shape,
    take_variables,
)
from progan_jax.models.progan.networks import Discriminator, Generator
from progan_jax.models.progan.options import Options

RECORD_CLASSES: tuple[str, ...] = ("tfutil.Network",)

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


def _convert(network: OfficialNetwork) -> tuple[Options, dict[Place, np.ndarray]]:
    options = _to_options(network.options)
    module = Discriminator if network.kind == "D" else Generator
    ours = module(options.resolution, options)
    return options, take_variables(
        network.variables,
        weight_shapes(ours),
        partial(_their_name, ours, options.fused_resampling),
        partial(_convert_variable, network.kind != "D"),
        unused=[LEVEL],
    )


def _their_name(network: Generator | Discriminator, fused: bool, path: Place) -> str:
    """Returns their name for one of our parameters; fused layers have other names."""
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


def _convert_variable(
    of_generator: bool, name: str, array: np.ndarray, shape: tuple[int, ...]
) -> np.ndarray:
    theirs = shape[:2] + shape[:1:-1] if name.endswith("Conv0_up/weight") else shape
    check_shape(name, array, theirs)
    return np.ascontiguousarray(_to_our_layout(name, array, of_generator))


def _to_our_layout(name: str, array: np.ndarray, of_generator: bool) -> np.ndarray:
    if name.endswith("Conv0_up/weight"):
        return array[::-1, ::-1].swapaxes(2, 3)
    if name == "4x4/Dense/weight" and of_generator:
        return channels_last(array)
    if name == "4x4/Dense0/weight":
        return channels_last(array.T).T
    return array


def _to_options(theirs: Mapping[str, Any]) -> Options:
    of = _DEFAULTS | dict(theirs)
    if of["pixelnorm_epsilon"] != _DEFAULTS["pixelnorm_epsilon"]:
        raise ValueError(
            f"pixelnorm_epsilon = {of['pixelnorm_epsilon']} must be 1e-08 here"
        )
    widths = {name: of[name] for name in ("fmap_base", "fmap_decay", "fmap_max")}
    return Options(
        resolution=check_resolution(of["resolution"]),
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


_PROGRAM = Program(
    family="progan",
    functions={"G": "G_paper", "D": "D_paper", "Gs": "G_paper"},
    licence={
        "name": "CC BY-NC 4.0",
        "url": "https://creativecommons.org/licenses/by-nc/4.0/",
        "holder": "NVIDIA Corporation (Karras et al. 2018)",
    },
    convert=_convert,
)

recognises, import_value = _PROGRAM.recognises, _PROGRAM.import_value
