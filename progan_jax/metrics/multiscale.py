"""A distance of images that needs no weights: pixels and random features at all scales.

It stands in for LPIPS where there are no weights. It is no perceptual measure: values
mean nothing but in comparison with others of this distance.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.tree_util import Partial

from progan_jax.models.layers import downscale2d, upscale2d

NAME = "multi-scale pixels and random features"

_SMALLEST_SIDE = 4

_FEATURES, _KERNEL = 64, 5

_SEED = 0  # Of the features; part of the definition.


def multiscale(channels: int) -> Partial:
    """Returns the distance of images with 1 or 3 channels, a pytree.

    It maps two batches, float [n, r, r, channels] in 0..255, to [n]: the mean squares
    of the differences, on the scale of [-1, 1], of each level of a Laplacian pyramid
    down to 4x4, and of 64 rectified random features of each level of the Gaussian one.
    """
    random = np.random.default_rng(_SEED)
    shape = (_KERNEL, _KERNEL, channels, _FEATURES)
    kernel = random.standard_normal(shape, np.float32) / np.sqrt(np.prod(shape[:3]))
    return Partial(_distance, jnp.asarray(kernel, jnp.float32))


def _distance(kernel: jax.Array, a: jax.Array, b: jax.Array) -> jax.Array:
    low = [x / 127.5 - 1 for x in (a, b)]
    total = jnp.zeros(a.shape[0])
    while True:
        features = [_features(x, kernel) for x in low]
        total += _mean_square(*features)
        if low[0].shape[1] <= _SMALLEST_SIDE:
            return total + _mean_square(*low)
        fine, low = low, [downscale2d(x) for x in low]
        details = [x - upscale2d(y) for x, y in zip(fine, low, strict=True)]
        total += _mean_square(*details)


def _features(x: jax.Array, kernel: jax.Array) -> jax.Array:
    numbers = ("NHWC", "HWIO", "NHWC")
    mapped = lax.conv_general_dilated(
        x, kernel, (1, 1), "SAME", dimension_numbers=numbers
    )
    return jax.nn.relu(mapped)


def _mean_square(a: jax.Array, b: jax.Array) -> jax.Array:
    return jnp.mean(jnp.square(a - b), axis=(1, 2, 3))
