"""The noise that LSGAN needs in D's layers, and its strength.

The paper multiplies it into the inputs of D's convolutions, the more of it the nearer
D's scores of fakes come to their target, 1. Source: Karras et al. 2018, appendix B.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from progan_jax.networks.layers import statistics_dtype

_MEMORY = 0.9  # Share of the old that the running mean of scores keeps,
_CALM = 0.5  # and up to which value of it there is no noise.


class Noise(NamedTuple):
    """What an evaluation of D, or a part of it, draws its noise from.

    Attributes:
      strength: A scalar; the standard deviation of a factor is it times sqrt(C).
      keys: Typed keys [N], one for each image, so that an image's noise does not
        depend on how the batch is split.
    """

    strength: jax.Array
    keys: jax.Array


def fold_noise(noise: Noise | None, number: int) -> Noise | None:
    """Returns noise that is independent of that of any other number; None of None."""
    if noise is None:
        return None
    keys = jax.vmap(jax.random.fold_in, in_axes=(0, None))(noise.keys, number)
    return noise._replace(keys=keys)


def multiply_noise(x: jax.Array, noise: Noise | None) -> jax.Array:
    """Multiplies each map of each image [N, H, W, C] by a factor around 1.

    Factors are 1 + n, n ~ N(0, (strength * sqrt(C))**2). Without noise it returns `x`.
    """
    if noise is None:
        return x
    c, dtype = x.shape[-1], statistics_dtype(x.dtype)

    def draw(key: jax.Array) -> jax.Array:
        return jax.random.normal(key, (1, 1, c), dtype)

    stddev = (noise.strength * math.sqrt(c)).astype(dtype)
    factors = 1 + stddev * jax.vmap(draw)(noise.keys)
    return x * factors.astype(x.dtype)


def noise_strength(fake_scores: jax.Array, coefficient: float) -> jax.Array:
    """Returns coefficient * max(d - 0.5, 0)**2 for the running mean d of scores."""
    return coefficient * jnp.square(jnp.maximum(fake_scores - _CALM, 0))


def follow_scores(fake_scores: jax.Array, score: jax.Array) -> jax.Array:
    """Moves the running mean by a tenth towards a score, clipped to [0, 1]."""
    clipped = jnp.clip(score, 0, 1).astype(fake_scores.dtype)
    return _MEMORY * fake_scores + (1 - _MEMORY) * clipped
