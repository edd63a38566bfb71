"""VGG networks, from weights that the user provides, and VGG-19's features.

The paper finds neighbours by the activations of five VGG-19 layers, as Chen & Koltun
2017 ("Photographic Image Synthesis with Cascaded Refinement Networks") compare images:
the rectified outputs of conv1_2 to conv5_2. It does not say how the five are weighted;
here the squared distance of two vectors is the sum of the layers' mean squared
differences. Pooling is that of VGG itself, the largest of 2x2. VGG-16 is the trunk of
`metrics.lpips`.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
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

WIDTHS = (64, 128, 256, 512, 512)

SMALLEST_SIDE = 16  # Four times halved, one pixel is left.

# Mean and deviation of ImageNet's pixels in 0..1, with which torchvision's weights were
# trained.
_COLOURS = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))

# Cells along a side that a map is averaged over: vectors of 94,208 numbers at most.
_GRID = 8

_BATCH_SIZE = 16


@dataclass(frozen=True)
class Architecture:
    """A network of Simonyan & Zisserman 2015, as far as its highest tap.

    Attributes:
      name: Of its weights.
      file: torchvision's file; the digits in its name begin its SHA-256.
      depths: Convolutions of each stage, complete.
      taps: The last convolution of each stage whose rectified output is returned.
    """

    name: str
    file: str
    depths: tuple[int, ...]
    taps: tuple[int, ...]

    def convolutions(self) -> Iterator[tuple[str, int]]:
        """Yields the names, and their places in torchvision's `features`."""
        place = 0
        for stage, depth in enumerate(self.depths, 1):
            last = depth if stage < len(self.depths) else self.taps[-1]
            for index in range(1, last + 1):
                yield f"conv{stage}_{index}", place
                place += 2  # A rectifier is between them.
            place += 1  # And pooling after each stage.


# Table 1, configurations E and D.
VGG19 = Architecture(
    "vgg19",
    "vgg19-dcbb9e9d.pth",
    depths=(2, 2, 4, 4, 4),
    taps=(2, 2, 2, 2, 2),
)

VGG16 = Architecture(
    "vgg16",
    "vgg16-397923af.pth",
    depths=(2, 2, 3, 3, 3),
    taps=(2, 2, 3, 3, 3),
)


class VGG(nn.Module):
    """A VGG network up to its highest tap.

    Attributes:
      architecture: Which one.
    """

    architecture: Architecture

    @nn.compact
    def __call__(self, images: jax.Array) -> list[jax.Array]:
        """Maps [n, h, w, 3], RGB in 0..255 of any dtype, to the maps of the taps."""
        mean, stddev = (jnp.reshape(jnp.asarray(c), (1, 1, 1, 3)) for c in _COLOURS)
        x = (images.astype(jnp.float32) / 255 - mean) / stddev
        taps = []
        for name, _ in self.architecture.convolutions():
            stage, index = int(name[4]), int(name[6])
            if stage > 1 and index == 1:
                x = nn.max_pool(x, (2, 2), (2, 2))
            width = WIDTHS[stage - 1]
            x = nn.relu(nn.Conv(width, (3, 3), precision="highest", name=name)(x))
            taps += [x] if index == self.architecture.taps[stage - 1] else []
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
            f"{VGG19.file} or its arrays as safetensors (see docs/metrics.md)"
        )
    arrays = read_pth(file) if file.suffix == ".pth" else read_safetensors(file)[0]
    arrays = from_torch(arrays, VGG19) | arrays
    shapes = vgg_shapes(VGG19)
    arrays = {name: arrays[name] for name in arrays.keys() & shapes.keys()}
    check_shapes(arrays, shapes, str(file))
    return Weights(VGG19.name, arrays)


def vgg_shapes(architecture: Architecture) -> dict[str, tuple[int, ...]]:
    """Returns the shapes of a network's arrays by our names."""
    image = jax.ShapeDtypeStruct((1, SMALLEST_SIDE, SMALLEST_SIDE, 3), jnp.float32)
    return layer_shapes(VGG(architecture), image)


def from_torch(
    arrays: Mapping[str, np.ndarray], architecture: Architecture
) -> dict[str, np.ndarray]:
    """Returns those of torchvision's arrays that there are, by our names, HWIO."""
    ours = {}
    for name, place in architecture.convolutions():
        kernel, bias = (
            arrays.get(f"features.{place}.{part}") for part in ("weight", "bias")
        )
        if kernel is not None and kernel.ndim == 4 and bias is not None:
            kernel = kernel.transpose(2, 3, 1, 0)
            ours |= {f"{name}/kernel": kernel, f"{name}/bias": bias}
    return ours


def _vectors(variables: dict, images: jax.Array) -> jax.Array:
    colour = jnp.broadcast_to(images, (*images.shape[:-1], 3))
    taps: Any = VGG(VGG19).apply(variables, colour)
    maps = [_pool(x) for x in taps]
    return jnp.concatenate([x / math.sqrt(x.shape[1]) for x in maps], axis=1)


def _pool(x: jax.Array) -> jax.Array:
    """Averages [n, s, s, C] over equal cells and flattens it."""
    n, side, _, channels = x.shape
    cells = min(side, _GRID)
    x = x.reshape(n, cells, side // cells, cells, side // cells, channels)
    return jnp.mean(x, axis=(2, 4)).reshape(n, -1)
