"""Import of the authors' pickled StyleGAN networks as snapshots.

G consists of its own variables and of two components, "synthesis" and "mapping".
Variables are renamed and converted to our layout:
  - names of RGB layers contain the level of detail, counted from the final resolution,
    and ours the resolution;
  - their images are [N, C, H, W];
  - their kernels of fused upsampling equal ours turned by 180 degrees. All have the
    same name and shape: which ones are fused follows from options and resolutions.
"""

import re
from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np

from progan_jax.models.common import block_name, stage_resolutions, weight_shapes
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
from progan_jax.models.stylegan.networks import Discriminator, Generator
from progan_jax.models.stylegan.options import Options

RECORD_CLASSES: tuple[str, ...] = ("dnnlib.tflib.network.Network",)

# Options of their functions G_style, G_mapping, G_synthesis and D_basic that we read,
# with their defaults. Those of D differ in resolution and channels, which every file
# gives.
_DEFAULTS = {
    "num_channels": 3,
    "resolution": 1024,
    "label_size": 0,
    "latent_size": 512,
    "dlatent_size": 512,
    "mapping_layers": 8,
    "mapping_fmaps": 512,
    "mapping_lrmul": 0.01,
    "normalize_latents": True,
    "fmap_base": 8192,
    "fmap_decay": 1.0,
    "fmap_max": 512,
    "structure": "auto",
    "use_wscale": True,
    "nonlinearity": "lrelu",
    "mapping_nonlinearity": None,  # The same.
    "blur_filter": [1, 2, 1],
    "const_input_layer": True,
    "use_styles": True,
    "use_noise": True,
    "use_instance_norm": True,
    "use_pixel_norm": False,
    "mbstd_group_size": 4,
    "mbstd_num_features": 1,
    "style_mixing_prob": 0.9,
    "dlatent_avg_beta": 0.995,
    "truncation_psi": 0.7,
    "truncation_cutoff": 8,
    "fused_scale": "auto",
}

_ACTIVATIONS = {"lrelu": "leaky_relu", "relu": "relu"}

# Their names of layers and leaves.
_LAYERS = {"constant": "Const", "dense": "Dense", "conv": "Conv", "conv1": "Conv1"}
_LEAVES = {
    ("kernel",): "weight",
    ("constant",): "const",
    ("bias",): "bias",
    ("noise_strength",): "Noise/weight",
    ("style", "kernel"): "StyleMod/weight",
    ("style", "bias"): "StyleMod/bias",
}

# From this side on, their default is to upsample within the convolution.
_FUSED_FROM = 128


def _convert(network: OfficialNetwork) -> tuple[Options, dict[Place, np.ndarray]]:
    theirs = _DEFAULTS | dict(network.options)
    options = _to_options(theirs)
    if network.kind == "D":
        d = Discriminator(options.resolution, options)
        arrays = take_variables(
            network.variables,
            weight_shapes(d),
            partial(_name_in_d, options.resolution),
            _convert_variable,
            unused=[LEVEL],
        )
        return options, arrays
    g = Generator(options.resolution, options)
    arrays = take_variables(
        network.variables,
        weight_shapes(g),
        partial(_name_in_g, options.resolution),
        partial(_convert_variable, fused=_fused(theirs["fused_scale"])),
        unused=[LEVEL, f"synthesis/{LEVEL}"],
    )
    return options, arrays


def _name_in_g(final: int, path: Place) -> str:
    """Returns their name of one of G's weights."""
    if path == ("stats", "w_average"):
        return "dlatent_avg"
    if path[0] == "stats":
        return f"synthesis/noise{_layer_number(*path[2:4])}"
    if path[0] == "mapping":
        layer, *kind = path[1:]
        if layer == "label":
            return "mapping/LabelConcat/weight"
        return f"mapping/{layer.capitalize()}/{_LEAVES[tuple(kind)]}"
    _, block, *rest = path
    if block.startswith("to_rgb"):
        return f"synthesis/ToRGB_lod{_level(final, block)}/{_LEAVES[tuple(rest)]}"
    layer, *leaf = rest
    name = "Conv0_up" if layer == "conv0" else _LAYERS[layer]
    return f"synthesis/{_side_of(block)}/{name}/{_LEAVES[tuple(leaf)]}"


def _name_in_d(final: int, path: Place) -> str:
    """Returns their name of one of D's parameters."""
    block, *layers, kind = path
    if not layers:
        return f"FromRGB_lod{_level(final, block)}/{_LEAVES[(kind,)]}"
    layer = "Conv1_down" if layers[0] == "conv1" else layers[0].capitalize()
    return f"{_side_of(block)}/{layer}/{_LEAVES[(kind,)]}"


def _side_of(block: str) -> str:
    """Returns "8x8" of "block_8x8"."""
    return block.rpartition("_")[2]


def _level(final: int, block: str) -> int:
    return (final // int(block.rpartition("x")[2])).bit_length() - 1


def _layer_number(block: str, layer: str) -> int:
    """Returns the number of a layer of synthesis, from 0 at 4x4."""
    sides = [block_name(side) for side in stage_resolutions(1024)]
    return 2 * sides.index(block) + (layer in ("conv", "conv1"))


def _fused(option: Any) -> frozenset[int]:
    """Returns the resolutions whose upsampling is fused with the convolution."""
    if option not in (True, False, "auto"):
        raise ValueError(f"fused_scale = {option} must be True, False or 'auto'")
    least = {True: 8, False: 2048, "auto": _FUSED_FROM}[option]
    return frozenset(side for side in stage_resolutions(1024) if side >= least)


def _convert_variable(
    name: str,
    array: np.ndarray,
    shape: tuple[int, ...],
    fused: frozenset[int] = frozenset(),
) -> np.ndarray:
    if name.endswith("Const/const"):
        check_shape(name, array, (1, shape[2], *shape[:2]))
        return np.ascontiguousarray(array[0].transpose(1, 2, 0))
    if re.search(r"/noise\d+$", name):
        check_shape(name, array, (1, 1, *shape))
        return array[0, 0]
    check_shape(name, array, shape)
    if up := re.search(r"/(\d+)x\d+/Conv0_up/weight$", name):
        array = array[::-1, ::-1] if int(up[1]) in fused else array
    elif name.endswith("4x4/Dense/weight"):
        array = channels_last(array)
    elif name == "4x4/Dense0/weight":
        array = channels_last(array.T).T
    return np.ascontiguousarray(array)


def _to_options(of: Mapping[str, Any]) -> Options:
    """Returns their options, complete with the defaults, as ours."""
    activation = of["nonlinearity"]
    if activation not in _ACTIVATIONS:
        raise ValueError(f"nonlinearity = {activation} must be lrelu or relu here")
    if of["mapping_nonlinearity"] not in (None, activation):
        raise ValueError(
            f"mapping_nonlinearity = {of['mapping_nonlinearity']} must be that of the "
            f"other layers, {activation}, here"
        )
    blur = of["blur_filter"] or None
    if blur not in (None, [1, 2, 1]):
        raise ValueError(f"blur_filter = {blur} must be [1, 2, 1] or None here")
    psi = of["truncation_psi"]
    return Options(
        resolution=check_resolution(of["resolution"]),
        channels=of["num_channels"],
        latent_size=of["latent_size"],
        w_size=of["dlatent_size"],
        num_classes=of["label_size"],
        mapping_layers=of["mapping_layers"],
        mapping_width=of["mapping_fmaps"],
        mapping_lr_multiplier=of["mapping_lrmul"],
        normalize_latents=bool(of["normalize_latents"]),
        fmap_base=of["fmap_base"],
        fmap_decay=of["fmap_decay"],
        fmap_max=of["fmap_max"],
        structure="fixed" if of["structure"] == "fixed" else "growing",
        equalized=bool(of["use_wscale"]),
        activation=_ACTIVATIONS[activation],
        blur=blur is not None,
        constant_input=bool(of["const_input_layer"]),
        styles=bool(of["use_styles"]),
        noise=bool(of["use_noise"]),
        instance_norm=bool(of["use_instance_norm"]),
        pixel_norm=bool(of["use_pixel_norm"]),
        minibatch_stddev=of["mbstd_group_size"] > 1,
        mbstd_group_size=of["mbstd_group_size"],
        mbstd_features=of["mbstd_num_features"],
        style_mixing=of["style_mixing_prob"] or 0.0,
        w_average_decay=1.0
        if of["dlatent_avg_beta"] is None
        else of["dlatent_avg_beta"],
        truncation_psi=1.0 if psi is None else psi,
        truncation_cutoff=of["truncation_cutoff"] or 0,
    )


_PROGRAM = Program(
    family="stylegan",
    functions={"G": "G_style", "D": "D_basic", "Gs": "G_style"},
    licence={
        "name": "CC BY-NC 4.0",
        "url": "https://creativecommons.org/licenses/by-nc/4.0/",
        "holder": "NVIDIA Corporation (Karras et al. 2019)",
    },
    convert=_convert,
)

recognises, import_value = _PROGRAM.recognises, _PROGRAM.import_value
