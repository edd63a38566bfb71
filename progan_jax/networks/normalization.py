"""Batch and layer normalisation, as the paper's ablation has them.

Both stand between a layer's weights and its bias, and multiply by a learned gain. They
keep no running averages: the paper's program takes the statistics of the batch at hand
wherever it runs a network, when it samples too. Source: Karras et al. 2018, section
6.1, rows a to c of table 1.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax

from progan_jax.networks.layers import statistics_dtype

EPSILON = 1e-4  # Added to variances, inside the root, in the paper's program.


class BatchNorm(nn.Module):
    """Normalises each feature over all images and pixels; one gain for each."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps [N, ..., C] to an array of its shape and dtype."""
        features = x.shape[-1]
        gain = self.param("gain", nn.initializers.ones, (features,), _stored(x))
        axes = tuple(range(x.ndim - 1))
        return _normalize(x, axes, gain.reshape(*[1] * len(axes), features))


class LayerNorm(nn.Module):
    """Normalises each image over its pixels and features; one gain for all."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps [N, ..., C] to an array of its shape and dtype."""
        gain = self.param("gain", nn.initializers.ones, (), _stored(x))
        return _normalize(x, tuple(range(1, x.ndim)), gain)


NORMS: dict[str, Callable[..., nn.Module] | None] = {
    "none": None,
    "batch": BatchNorm,
    "layer": LayerNorm,
}


def _normalize(x: jax.Array, axes: tuple[int, ...], gain: jax.Array) -> jax.Array:
    wide = x.astype(_stored(x))
    centred = wide - jnp.mean(wide, axis=axes, keepdims=True)
    variance = jnp.mean(jnp.square(centred), axis=axes, keepdims=True)
    return (gain * centred * lax.rsqrt(variance + EPSILON)).astype(x.dtype)


def _stored(x: jax.Array) -> jnp.dtype:
    return statistics_dtype(x.dtype)
