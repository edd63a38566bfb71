"""The Laplacian pyramid of the sliced Wasserstein distance.

Source: Karras et al. 2018, section 5; the authors' program for the filter (binomial,
5x5) and the border (mirrored without its own pixel).
"""

import jax
import jax.numpy as jnp

_BINOMIAL = (1 / 16, 4 / 16, 6 / 16, 4 / 16, 1 / 16)


def laplacian_pyramid(images: jax.Array, levels: int) -> list[jax.Array]:
    """Returns `levels` images of halving size, the last one the low-pass rest.

    Args:
      images: float32 [n, R, R, C].
      levels: Number of levels; R must be divisible by 2**(levels - 1).
    """
    pyramid = []
    for _ in range(levels - 1):
        smaller = _blur(images)[:, ::2, ::2]
        pyramid.append(images - _expand(smaller))
        images = smaller
    return [*pyramid, images]


def _blur(images: jax.Array, gain: float = 1.0) -> jax.Array:
    """Filters [n, h, w, C] with the 5x5 binomial, reflecting without the edge pixel."""
    _, h, w, _ = images.shape
    padded = jnp.pad(images, ((0, 0), (2, 2), (2, 2), (0, 0)), mode="reflect")
    zero = jnp.zeros((), images.dtype)
    taps = [gain * t for t in _BINOMIAL]
    rows = sum((t * padded[:, i : i + h] for i, t in enumerate(taps)), zero)
    return sum((t * rows[:, :, i : i + w] for i, t in enumerate(taps)), zero)


def _expand(images: jax.Array) -> jax.Array:
    """Doubles [n, h, w, C]: zeros between the pixels, then the filter times four."""
    n, h, w, c = images.shape
    spread = jnp.zeros((n, h, 2, w, 2, c), images.dtype).at[:, :, 0, :, 0].set(images)
    return _blur(spread.reshape(n, 2 * h, 2 * w, c), gain=2.0)
