"""Path length regularisation of the stem.

Source: Karras et al. 2020, section 3.2. Unlike there, the weight is not multiplied by
the interval between two penalties: the authors' program.
"""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp

from progan_jax.models.layers import lerp


def path_gradients(
    synthesise: Callable[[jax.Array], jax.Array], w: jax.Array, noise: jax.Array
) -> jax.Array:
    """Returns gradients of the images times noise, with respect to w.

    Args:
      synthesise: Maps w to images [N, H, W, C].
      w: [N, num_layers, w_size].
      noise: Standard normal, of the images' shape; divided here by sqrt(H W).

    Returns:
      [N, num_layers, w_size].
    """

    def product(w: jax.Array) -> jax.Array:
        height, width = noise.shape[1:3]
        return jnp.sum(synthesise(w) * (noise / math.sqrt(height * width)))

    return jax.grad(product)(w)


def path_lengths(
    synthesise: Callable[[jax.Array], jax.Array], w: jax.Array, noise: jax.Array
) -> jax.Array:
    """Returns lengths [N]: the norm over w, and the root mean square over layers.

    Args are those of `path_gradients`.
    """
    squares = jnp.sum(jnp.square(path_gradients(synthesise, w, noise)), axis=2)
    return jnp.sqrt(jnp.mean(squares, axis=1))


def penalty(
    lengths: jax.Array, average: jax.Array, rate: float = 0.01, weight: float = 2.0
) -> tuple[jax.Array, jax.Array]:
    """Returns the penalty of lengths [N], and the new average, both scalars.

    Args:
      lengths: Of this batch.
      average: The average of all before, 0 at the start.
      rate: How far it moves to the mean of this batch, in [0, 1]. The penalty is that
        of the new average, and gradients flow through it.
      weight: Factor of the mean square.
    """
    average = lerp(average, jnp.mean(lengths), rate)
    return weight * jnp.mean(jnp.square(lengths - average)), average
