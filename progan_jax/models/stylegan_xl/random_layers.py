"""Convolutions with random weights that are never trained.

Weights and biases are drawn uniformly from +-1/sqrt(fan_in), PyTorch's default and that
of the authors' program; Sauer et al. 2021 ("Projected GANs converge faster") speak of
Kaiming's initialisation. They are "stats": saved with a run, and not trained.
"""

import math

import jax
import jax.numpy as jnp
from flax import linen as nn

from progan_jax.models.stylegan_xl.patches import correlate


def uniform(key: jax.Array, shape: tuple[int, ...], fan_in: int) -> jax.Array:
    """Draws from +-1/sqrt(fan_in)."""
    bound = 1 / math.sqrt(fan_in)
    return jax.random.uniform(key, shape, minval=-bound, maxval=bound)


class RandomConv(nn.Module):
    """A convolution of 1x1, or one of 3x3 at every second pixel, padded by one.

    Attributes:
      features: Output maps F.
      size: Side of the kernel, 1 or 3.
    """

    features: int
    size: int = 1

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps [N, H, W, C] to [N, H', W', F]."""
        shape = (self.size, self.size, x.shape[-1], self.features)
        kernel, bias = frozen_parameters(self, shape, math.prod(shape[:-1]))
        if self.size == 1:
            return x @ kernel[0, 0] + bias
        return correlate(x, kernel, 2, ((1, 1), (1, 1))) + bias


class RandomEnlargement(nn.Module):
    """A transposed convolution that makes a square of k x k pixels of each pixel.

    Attributes:
      features: Output maps F.
      factor: The side k.
    """

    features: int
    factor: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps [N, H, W, C] to [N, k H, k W, F]."""
        n, h, w, c = x.shape
        k, f = self.factor, self.features
        # PyTorch counts the outputs of transposed convolutions.
        kernel, bias = frozen_parameters(self, (c, k, k, f), k * k * f)
        squares = (x @ kernel.reshape(c, -1)).reshape(n, h, w, k, k, f)
        return squares.swapaxes(2, 3).reshape(n, h * k, w * k, f) + bias


def frozen_parameters(
    layer: nn.Module, shape: tuple[int, ...], fan_in: int
) -> tuple[jax.Array, jax.Array]:
    """Returns a layer's kernel of the shape, and its bias as [1, 1, 1, F]."""

    def draw(shape: tuple[int, ...]) -> jax.Array:
        return uniform(layer.make_rng("params"), shape, fan_in)

    kernel = layer.variable("stats", "kernel", draw, shape)
    bias = layer.variable("stats", "bias", draw, shape[-1:])
    return kernel.value, jnp.reshape(bias.value, (1, 1, 1, -1))
