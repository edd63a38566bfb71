"""VGG-19 features for nearest neighbours, from weights that the user provides.

The paper finds neighbours by the activations of five VGG layers, as Chen & Koltun 2017
("Photographic Image Synthesis with Cascaded Refinement Networks") compare images: the
rectified outputs of conv1_2 to conv5_2. It does not say how the five are weighted; here
the squared distance of two vectors is the sum of the layers' mean squared differences.
Pooling is that of VGG-19 itself, the largest of 2x2.
"""

import math
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from progan_jax.errors import UserError
from progan_jax.metrics.inputs import Features, run_in_batches
from progan_jax.weights.torch_files import read_pth
from progan_jax.weights.weight_files import (
    Weights,
    check_shapes,
    layer_shapes,
    read_safetensors,
)

TAPS = ("conv1_2", "conv2_2", "conv3_2", "conv4_2", "conv5_2")

WIDTHS = (64, 128, 256, 512, 512)

SMALLEST_SIDE = 16  # Four times halved, one pixel is left.

_CONVOLUTIONS = (2, 2, 4, 4, 2)  # Number of them in each stage, as far as conv5_2.

# Their places in torchvision's `features`; rectifiers and pooling are between them.
_TORCH_PLACES = (0, 2, 5, 7, 10, 12, 14, 16, 19, 21, 23, 25, 28, 30)

# Mean and deviation of ImageNet's pixels in 0..1, with which torchvision's weights were
# trained.
_COLOURS = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))

# Cells along a side that a map is averaged over: vectors of 94,208 numbers at most.
_GRID = 8

_BATCH_SIZE = 16


class VGG19(nn.Module):
    """VGG-19 up to conv5_2 (Simonyan & Zisserman 2015, table 1, configuration E)."""

    @nn.compact
    def __call__(self, images: jax.Array) -> list[jax.Array]:
        """Maps [n, h, w, 3], RGB in 0..255 of any dtype, to the maps of TAPS."""
        mean, stddev = (jnp.reshape(jnp.asarray(c), (1, 1, 1, 3)) for c in _COLOURS)
        x = (images.astype(jnp.float32) / 255 - mean) / stddev
        taps = []
        for stage, width in enumerate(WIDTHS, 1):
            if stage > 1:
                x = nn.max_pool(x, (2, 2), (2, 2))
            for index in range(1, _CONVOLUTIONS[stage - 1] + 1):
                name = f"conv{stage}_{index}"
                conv = nn.Conv(width, (3, 3), precision="highest", name=name)
                x = nn.relu(conv(x))
                taps += [x] if name in TAPS else []
        return taps


def vgg_features(weights: Weights) -> Features:
    """Returns the features of square images that are taken at their own size.

    Each map is averaged over 8x8 equal cells, where it has more pixels. The side of the
    images must be a power of two from SMALLEST_SIDE.

    Args:
      weights: From `load_vgg`.
    """
    run = partial(jax.jit(_vectors), jax.device_put(weights.variables()))
    return lambda images: run_in_batches(run, images, _BATCH_SIZE)


def load_vgg(file: Path | None) -> Weights:
    """Reads VGG-19's weights.

    Args:
      file: torchvision's vgg19-dcbb9e9d.pth, or safetensors with its names
        (`features.N.weight`, `features.N.bias`) or ours (`conv1_1/kernel`, ...). Layers
        above conv5_2 are ignored.

    Raises:
      UserError: if there is none, or it is damaged or of another network.
    """
    if file is None or not file.is_file():
        raise UserError(
            f"VGG-19 weights: there is no file {file or ''}; name torchvision's "
            "vgg19-dcbb9e9d.pth or its arrays as safetensors (see docs/metrics.md)"
        )
    arrays = read_pth(file) if file.suffix == ".pth" else read_safetensors(file)[0]
    image = jax.ShapeDtypeStruct((1, SMALLEST_SIDE, SMALLEST_SIDE, 3), jnp.float32)
    shapes = layer_shapes(VGG19(), image)
    arrays = _from_torch(arrays) | arrays
    arrays = {name: arrays[name] for name in arrays.keys() & shapes.keys()}
    check_shapes(arrays, shapes, str(file))
    return Weights("vgg19", arrays)


def _vectors(variables: dict, images: jax.Array) -> jax.Array:
    colour = jnp.broadcast_to(images, (*images.shape[:-1], 3))
    taps: Any = VGG19().apply(variables, colour)
    maps = [_pool(x) for x in taps]
    return jnp.concatenate([x / math.sqrt(x.shape[1]) for x in maps], axis=1)


def _pool(x: jax.Array) -> jax.Array:
    """Averages [n, s, s, C] over equal cells and flattens it."""
    n, side, _, channels = x.shape
    cells = min(side, _GRID)
    x = x.reshape(n, cells, side // cells, cells, side // cells, channels)
    return jnp.mean(x, axis=(2, 4)).reshape(n, -1)


def _from_torch(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Returns torchvision's arrays by our names, kernels HWIO."""
    names = [
        f"conv{stage}_{index}"
        for stage, count in enumerate(_CONVOLUTIONS, 1)
        for index in range(1, count + 1)
    ]
    ours = {}
    for name, place in zip(names, _TORCH_PLACES, strict=True):
        kernel, bias = (
            arrays.get(f"features.{place}.{part}") for part in ("weight", "bias")
        )
        if kernel is not None and kernel.ndim == 4 and bias is not None:
            kernel = kernel.transpose(2, 3, 1, 0)
            ours |= {f"{name}/kernel": kernel, f"{name}/bias": bias}
    return ours
