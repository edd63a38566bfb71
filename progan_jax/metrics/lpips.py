"""LPIPS, a distance of two images as people see it, by weights of the user.

VGG-16 with five linear heads, version 0.1 of the weights. Values of other trunks or
versions have the same name elsewhere, and must not be compared with these.

Source: Zhang et al. 2018, "The Unreasonable Effectiveness of Deep Features as a
Perceptual Metric".
"""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

from progan_jax.errors import MissingWeightsError, UserError
from progan_jax.metrics.vgg import VGG, VGG16, WIDTHS, from_torch, vgg_shapes
from progan_jax.weights.torch_files import read_pth
from progan_jax.weights.weight_files import (
    Weights,
    cache_dir,
    check_shapes,
    read_weights,
)

NAME = "lpips-vgg16-v0.1"

CONVERTED = f"{NAME}.safetensors"

HEADS = "lpips/weights/v0.1/vgg.pth"  # In the PyPI package lpips.

SHA256 = {
    "vgg16": "397923af8e79cdbb6a7127f12361acd7a2f83e06b05044ddf496e83de57a5bf0",
    "heads": "a78928a0af1e5f0fcb1f3b9e8f8c3a2a5a3de244d830ad5c1feddc79b8432868",
}

_EPSILON = 1e-10  # Added to the length of a pixel's features.


def lpips(weights: Weights) -> Partial:
    """Returns the distance of these weights, a function that can be compiled.

    It maps two batches of images, float [n, h, w, 1 or 3] in 0..255 with sides of at
    least 16, to [n], from 0 for equal images; grey is taken as RGB. It is a pytree: as
    an argument of a compiled function it brings its weights.

    Args:
      weights: From `load_lpips`.
    """
    return Partial(_distance, jax.device_put(weights.variables()))


def _distance(variables: dict[str, Any], a: jax.Array, b: jax.Array) -> jax.Array:
    colours = [jnp.broadcast_to(x, (*x.shape[:-1], 3)) for x in (a, b)]
    maps: Any = VGG(VGG16).apply(variables, jnp.concatenate(colours))
    total = jnp.zeros(a.shape[0])
    for index, x in enumerate(maps):
        head = variables["params"][f"head{index + 1}"]["kernel"].reshape(1, 1, 1, -1)
        first, second = jnp.split(_normalise(x), 2)
        squares = jnp.square(first - second) * head
        total += jnp.mean(jnp.sum(squares, axis=3), axis=(1, 2))
    return total


def _normalise(x: jax.Array) -> jax.Array:
    """Divides the features of each pixel [n, h, w, C] by their length."""
    squares = jnp.sum(jnp.square(x), axis=3, keepdims=True)
    # The root has no derivative at 0, where all features of a pixel are.
    length = jnp.sqrt(jnp.where(squares > 0, squares, 1)) * (squares > 0)
    return x / (length + _EPSILON)


def load_lpips(file: Path | None = None) -> Weights:
    """Reads a file of `tools.convert_lpips`.

    Args:
      file: The file; None for the cache.

    Raises:
      MissingWeightsError: if none is named and the cache has none.
      UserError: if it is missing, damaged or of another network.
    """
    path = file or cache_dir() / CONVERTED
    if not path.is_file():
        kind, out = MissingWeightsError, ""
        if file:
            kept = str(file).removesuffix(".safetensors")
            kind, out = UserError, f" --out={kept}.safetensors"
        raise kind(
            f"there are no LPIPS weights in {path}; get torchvision's {VGG16.file} "
            f"(download.pytorch.org/models) and {HEADS} of the PyPI package lpips, and "
            f"run: python -m progan_jax.tools.convert_lpips VGG16 HEADS{out}"
        )
    weights = read_weights(path)
    check_shapes(weights.arrays, _shapes(), str(path))
    return weights


def convert_lpips(vgg16: Path, heads: Path) -> Weights:
    """Reads the published files.

    Args:
      vgg16: torchvision's vgg16-397923af.pth.
      heads: vgg.pth of the lpips package, version 0.1.

    Raises:
      UserError: if one is missing, or is not the published one.
    """
    for path in (vgg16, heads):
        if not path.is_file():
            raise UserError(f"{path}: there is no such file; name a published .pth")
    arrays = from_torch(read_pth(vgg16, SHA256["vgg16"]), VGG16)
    for name, array in read_pth(heads, SHA256["heads"]).items():
        index = name.removeprefix("lin").removesuffix(".model.1.weight")
        if index.isdecimal():  # [1, C, 1, 1]: a 1x1 convolution without bias.
            arrays[f"head{int(index) + 1}/kernel"] = np.ravel(array)
    check_shapes(arrays, _shapes(), f"{vgg16} with {heads}")
    return Weights(NAME, arrays)


def _shapes() -> dict[str, tuple[int, ...]]:
    heads = {f"head{n}/kernel": (width,) for n, width in enumerate(WIDTHS, 1)}
    return vgg_shapes(VGG16) | heads
