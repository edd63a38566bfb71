"""Layers of the paper's ablation and of LSGAN; the published networks have none.

Minibatch discrimination compares a batch's images: Salimans et al. 2016, section 3.2.
Batch and layer normalisation come between a layer's weights and its bias, and multiply
by a learned gain. They keep no running averages: the paper's program takes the
statistics of the current batch wherever it runs a network, even for samples (Karras
et al. 2018, section 6.1, rows a to c of table 1). LSGAN's noise is multiplied into the
inputs of D's convolutions and grows as D's scores of fakes approach their target, 1
(Karras et al. 2018, appendix B).
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax

from progan_jax.models.layers import statistics_dtype

KERNEL_SIZE = 5  # Dimensions to which a kernel of the discrimination maps an image.

_FAR = 1e6  # Added to an image's distance to itself: it is not its own neighbour.


class MinibatchDiscrimination(nn.Module):
    """Appends to each image's features its nearness to the others of the batch.

    A kernel maps an image to five numbers, by directions of unit length times a learned
    scale. Its feature is the sum over the other images of exp(-distance), with L1
    distances, plus a bias. Source: Salimans et al. 2016, section 3.2; the scale and the
    bias are those of the paper's program.

    Attributes:
      kernels: Number of appended features.
    """

    kernels: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps [N, F] to [N, F + kernels], in the dtype of `x`."""
        wide = x.astype(statistics_dtype(x.dtype))
        shape = (x.shape[-1], self.kernels, KERNEL_SIZE)
        initialize = nn.initializers
        # N(0, 0.05**2), and -1 for the bias: the start in the paper's program.
        theta = self.param("theta", initialize.normal(0.05), shape, wide.dtype)
        log_scale = self.param("log_scale", initialize.zeros, shape[1:], wide.dtype)
        start = initialize.constant(-1.0)
        bias = self.param("bias", start, (self.kernels,), wide.dtype)
        length = jnp.sqrt(jnp.sum(jnp.square(theta), axis=0))
        weights = theta * (jnp.exp(log_scale) / length)[None]
        seen = (wide @ weights.reshape(x.shape[-1], -1)).reshape(-1, *shape[1:])
        distances = pairwise_distances(seen)
        self.sow("intermediates", "distances", distances)
        features = nearness(distances) + bias[None]
        return jnp.concatenate([x, features.astype(x.dtype)], axis=-1)


def pairwise_distances(seen: jax.Array) -> jax.Array:
    """Returns L1 distances [N, N, K] of [N, K, D], with 1e6 added on the diagonal."""
    distances = jnp.sum(jnp.abs(seen[:, None] - seen[None]), axis=-1)
    n = seen.shape[0]
    return distances + _FAR * jnp.eye(n, dtype=seen.dtype).reshape(n, n, 1)


def nearness(distances: jax.Array) -> jax.Array:
    """Returns for each image the sum of exp(-distance) to the others, [N, K]."""
    return jnp.sum(jnp.exp(-distances), axis=1)


def calibrate(
    params: dict[str, jax.Array], distances: jax.Array
) -> dict[str, jax.Array]:
    """Fits a new layer to its distances in a batch of real images.

    Afterwards nearest neighbours are at distance 2 on average, and features have mean
    0. Source: the paper's program.

    Args:
      params: Parameters of `MinibatchDiscrimination`.
      distances: [N, N, kernels], computed with them.

    Returns:
      The parameters with new scales and biases.
    """
    # If all images are equal, keep the scale: log(0) is not finite.
    unit = jnp.mean(jnp.min(distances, axis=1), axis=0) / 2
    unit = jnp.where(unit > 0, unit, 1)
    return params | {
        "log_scale": params["log_scale"] - jnp.log(unit).reshape(-1, 1),
        "bias": -jnp.mean(nearness(distances / unit.reshape(1, 1, -1)), axis=0),
    }


EPSILON = 1e-4  # Added to variances, inside the root, in the paper's program.


class BatchNorm(nn.Module):
    """Normalises each feature over all images and pixels; one gain per feature.

    Source: Ioffe & Szegedy 2015.
    """

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps [N, ..., C] to an array of its shape and dtype."""
        features = x.shape[-1]
        gain = self.param("gain", nn.initializers.ones, (features,), _stored(x))
        axes = tuple(range(x.ndim - 1))
        return _normalize(x, axes, gain.reshape(*[1] * len(axes), features))


class LayerNorm(nn.Module):
    """Normalises each image over its pixels and features; a single gain.

    Source: Ba et al. 2016; the single gain is that of the paper's program.
    """

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


# Karras et al. 2018, appendix B: how much of its value the running mean of scores keeps
# at an update, and the value up to which there is no noise.
_MEMORY = 0.9
_CALM = 0.5


class Noise(NamedTuple):
    """The noise of one application of D.

    Attributes:
      strength: A scalar; a factor's standard deviation is strength * sqrt(C).
      numbers: int [N], the images' places in their batch. They seed the noise, so that
        it does not depend on how the batch is split.
    """

    strength: jax.Array
    numbers: jax.Array


def multiply_noise(layer: nn.Module, x: jax.Array, noise: Noise | None) -> jax.Array:
    """Multiplies each map of each image [N, H, W, C] by a factor around 1.

    Factors are 1 + n, n ~ N(0, (strength * sqrt(C))**2), as in the paper's program.

    Args:
      layer: The layer whose random numbers "noise" are drawn, new ones at each call.
      x: Inputs of the layer.
      noise: None returns `x`.
    """
    if noise is None:
        return x
    c, dtype = x.shape[-1], statistics_dtype(x.dtype)
    key = layer.make_rng("noise")

    def draw(number: jax.Array) -> jax.Array:
        return jax.random.normal(jax.random.fold_in(key, number), (1, 1, c), dtype)

    stddev = (noise.strength * math.sqrt(c)).astype(dtype)
    factors = 1 + stddev * jax.vmap(draw)(noise.numbers)
    return x * factors.astype(x.dtype)


def noise_strength(fake_scores: jax.Array, coefficient: float) -> jax.Array:
    """Returns coefficient * max(d - 0.5, 0)**2 for the running mean d of scores.

    Source: Karras et al. 2018, appendix B.
    """
    return coefficient * jnp.square(jnp.maximum(fake_scores - _CALM, 0))


def follow_scores(fake_scores: jax.Array, score: jax.Array) -> jax.Array:
    """Returns 0.9 * fake_scores + 0.1 * score, with the score clipped to [0, 1].

    Source: Karras et al. 2018, appendix B; the paper's program for the clipping.
    """
    clipped = jnp.clip(score, 0, 1).astype(fake_scores.dtype)
    return _MEMORY * fake_scores + (1 - _MEMORY) * clipped
