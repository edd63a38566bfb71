"""Import of the authors' pickled StyleGAN-XL generators as snapshots.

A stage's file has G and D, and G_ema, the average of G: modules with their settings.
Those of superresolution have all layers, also those of the stages before. Names and
layouts are converted:
  - convolution kernels are [out, in, height, width] there, and dense ones [out, in];
  - filters are buffers there; here they follow from the design, and are compared.
D is not imported: every stage of the authors' program begins with a new one.
"""

import re
from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from progan_jax.errors import UserError
from progan_jax.models.common import Weights, weight_shapes
from progan_jax.models.official import (
    Place,
    check_shape,
    describe_file,
    nested,
    plain,
    take_variables,
)
from progan_jax.models.stylegan_xl.design import LayerDesign, design_network
from progan_jax.models.stylegan_xl.filters import lowpass, radial_lowpass
from progan_jax.models.stylegan_xl.generator import Generator
from progan_jax.models.stylegan_xl.official_options import read_options
from progan_jax.models.stylegan_xl.options import Options
from progan_jax.weights.torch_pickles import Module, named_arrays, submodules
from progan_jax.weights.unpickling import shorten

RECORD_CLASSES: tuple[str, ...] = ()  # Of TensorFlow's program; there are none.

# The files state none for the weights. It is that of the networks' source in them.
_LICENCE = {
    "name": "NVIDIA Source Code License (non-commercial), and MIT",
    "identifier": "other",
    "url": "https://github.com/autonomousvision/stylegan-xl",
    "holder": "NVIDIA Corporation, and Sauer et al. 2022",
}

_KINDS = ("Generator", "SuperresGenerator")

# Their names of the networks.
_NAMES = {"G": "G", "Gs": "G_ema"}

IMPORTED: tuple[str, ...] = tuple(_NAMES)

_PARTS = {"embed": "embed_proj", "kernel": "weight"}
_LEAVES = {
    ("stats", "w_average"): "mapping.w_avg",
    ("stats", "synthesis", "input", "frequencies"): "synthesis.input.freqs",
    ("stats", "synthesis", "input", "phases"): "synthesis.input.phases",
    ("mapping", "embedding"): "mapping.embed.weight",
}

_TOLERANCE = 1e-5  # Of a filter's largest tap; SciPy's versions differ in last bits.


def recognises(value: Any) -> bool:
    """Returns whether a pickle's value has this program's generators.

    StyleGAN3's have classes of the same names, but no table of class embeddings.
    """
    g = value.get("G_ema") if isinstance(value, dict) else None
    if not isinstance(g, Module) or g.kind not in _KINDS:
        return False
    mapping = submodules(g).get("mapping")
    return isinstance(mapping, Module) and (
        "embed_proj" in mapping.state or "embed_proj" in submodules(mapping)
    )


def import_value(
    path: Path, value: Any, kind: str, level: float | None
) -> tuple[Weights, dict[str, Any]]:
    """Returns the weights and the description of one of a pickle's generators.

    Args:
      path: The pickle, for its name and its checksum.
      value: What `torch_pickles.read_modules` read from it.
      kind: See `families.import_network`; "D" is an error.
      level: None, as the network does not grow.

    Returns:
      Nested float32 NumPy arrays, and a snapshot's description with the licence.

    Raises:
      UserError: if the generator is incomplete, or one that cannot be represented.
    """
    _check_request(path, kind, level)
    try:
        module = value[_NAMES[kind]]
        options, weights = _convert(module)
    except Exception as error:  # A file may hold a value of any type anywhere.
        raise UserError(
            f"{path}: {_NAMES[kind]} cannot be imported: {shorten(error)}; name a file "
            "as the program of StyleGAN-XL wrote it"
        ) from error
    return nested(weights), {
        "family": "stylegan_xl",
        "network": "G",
        "options": asdict(options),
        "stage": {"resolution": options.resolution, "alpha": 1.0},
        "licence": dict(_LICENCE),
        "source": {
            "network": _NAMES[kind],
            "class": module.kind,
            "options": _settings(module),
            **describe_file(path),
        },
    }


def their_name(path: Place) -> str:
    """Returns their name of one of G's weights, given its path."""
    if path in _LEAVES:
        return _LEAVES[path]
    parts = path[1:] if path[0] == "stats" else path
    parts = tuple(re.sub(r"^dense(\d+)$", r"fc\1", part) for part in parts)
    return ".".join(_PARTS.get(part, part) for part in parts)


def our_layout(path: Place, array: np.ndarray) -> np.ndarray:
    """Returns one of G's variables with what comes in before what comes out."""
    if path[-1] != "kernel":
        return array
    return array.transpose(2, 3, 1, 0) if array.ndim == 4 else array.T


def _check_request(path: Path, kind: str, level: float | None) -> None:
    if kind not in _NAMES:
        raise UserError(
            f"{path}: D of StyleGAN-XL's program is not imported, as each stage begins "
            "with a new one; import Gs or G"
        )
    if level:
        raise UserError(
            f"--lod={level:g}: networks of StyleGAN-XL do not grow; leave it out"
        )


def _convert(module: Module) -> tuple[Options, dict[Place, np.ndarray]]:
    options = read_options(module)
    variables = {name: tensor.numbers for name, tensor in named_arrays(module)}
    shapes = weight_shapes(Generator(options.resolution, options))
    paths = {their_name(path): path for path in shapes}
    constants = _constants(options)
    _check_constants(variables, constants)
    unused = [*constants, *(() if options.num_classes else ["mapping.embed.weight"])]
    convert = partial(_convert_variable, paths)
    return options, take_variables(variables, shapes, their_name, convert, unused)


def _convert_variable(
    paths: Mapping[str, Place], name: str, array: np.ndarray, shape: tuple[int, ...]
) -> np.ndarray:
    found = our_layout(paths[name], array)
    check_shape(name, found, shape)
    return np.asarray(found, order="C")  # Scalars remain scalars.


def _constants(options: Options) -> dict[str, np.ndarray]:
    """Returns the buffers that follow from the options, by their names."""
    found = {"synthesis.input.transform": np.eye(3)}
    for layer in design_network(options).layers:
        name = f"synthesis.{layer.name}"
        if layer.up_taps > 1:
            found[f"{name}.up_filter"] = _up_filter(layer)
        if layer.down_taps > 1:
            found[f"{name}.down_filter"] = _down_filter(layer)
    return found


def _up_filter(layer: LayerDesign) -> np.ndarray:
    of = layer.source
    return lowpass(layer.up_taps, of.cutoff, of.half_width, layer.rate)


def _down_filter(layer: LayerDesign) -> np.ndarray:
    make, of = radial_lowpass if layer.has_radial_filter else lowpass, layer.target
    return make(layer.down_taps, of.cutoff, of.half_width, layer.rate)


def _check_constants(
    variables: Mapping[str, np.ndarray], constants: Mapping[str, np.ndarray]
) -> None:
    for name, expected in constants.items():
        if name not in variables:
            continue  # It is reported with the others that are missing.
        check_shape(name, variables[name], expected.shape)
        most = _TOLERANCE * np.abs(expected).max()
        if not np.allclose(variables[name], expected, rtol=0, atol=most):
            raise ValueError(f"{name} is not that of the network's design")


def _settings(module: Module) -> dict[str, Any]:
    """Returns the numbers and texts that the generator was made with."""
    given = module.state["_init_kwargs"].items()
    return {name: plain(of) for name, of in given if isinstance(of, str | int | float)}
