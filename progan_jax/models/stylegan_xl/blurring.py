"""The blur of all images that D sees at the start of a training.

It keeps D from details until G has learned the whole. Its weights are powers of two,
and not a Gaussian's. Source: Sauer et al. 2022, section 3.2, and the authors' program.
"""

import jax
import jax.numpy as jnp

LARGEST_SIGMA = 2.0

_REACH = 6  # Pixels to either side, at most: three times the largest sigma.


def blur_sigma(
    nimg: jax.typing.ArrayLike, first: float = LARGEST_SIGMA, kimg: float = 300.0
) -> jax.Array:
    """Returns the blur's sigma in pixels, a scalar that falls linearly.

    Args:
      nimg: Number of real images shown.
      first: Sigma at the start.
      kimg: Thousands of images after which it is 0.
    """
    shown = jnp.asarray(nimg, jnp.float32)
    return first * jnp.maximum(1 - shown / (1000 * kimg), 0)


def blur(images: jax.Array, sigma: jax.typing.ArrayLike) -> jax.Array:
    """Blurs images [N, H, W, C] along rows and columns, zero-padded.

    Args:
      images: The images.
      sigma: Scalar in [0, 2], which may be traced: weights at i pixels are
        2 ** -(i / sigma) ** 2, up to three sigma, and sum to 1.
    """
    taps = _taps(jnp.asarray(sigma, images.dtype))
    for axis in (1, 2):
        images = _along(images, taps, axis)
    return images


def _taps(sigma: jax.Array) -> jax.Array:
    """Returns the weights of all offsets, most of them 0 for a small sigma."""
    offsets = jnp.arange(-_REACH, _REACH + 1, dtype=sigma.dtype)
    is_in_reach = jnp.abs(offsets) <= jnp.floor(3 * sigma)
    scaled = offsets / jnp.maximum(sigma, 0.1)  # Below 1/3 only 0 is in reach.
    weights = jnp.where(is_in_reach, 2 ** -jnp.square(scaled), 0)
    return weights / jnp.sum(weights)


def _along(x: jax.Array, taps: jax.Array, axis: int) -> jax.Array:
    reach = [(_REACH, _REACH) if a == axis else (0, 0) for a in range(x.ndim)]
    padded, side = jnp.pad(x, reach), x.shape[axis]
    shifted = [
        jax.lax.slice_in_dim(padded, i, i + side, axis=axis) for i in range(len(taps))
    ]
    return sum(
        (tap * x for tap, x in zip(taps[1:], shifted[1:], strict=True)),
        taps[0] * shifted[0],
    )
