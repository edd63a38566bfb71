"""The two classifiers that this project trains: one for any set, one for digits.

Both are cheap on a CPU: about 33 and 15 million floating-point operations for an image
of 32x32 pixels.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from progan_jax.images import to_float

_LOGIT_SCALE = 0.125  # Keeps the first steps calm: the largest values are large.


class ResidualClassifier(nn.Module):
    """A residual network that works at half the resolution and below.

    Blocks of 2x2 pixels are taken as channels, so that the costly full resolution is
    left at once. Each stage halves the side, doubles the maps and adds a residual
    block; 4x4 pixels (2x2 of images of 8x8) are left, whose largest values are
    classified.

    Attributes:
      num_classes: Length of the logits.
      width: Maps of the first layer.
    """

    num_classes: int
    width: int = 32

    @nn.compact
    def __call__(self, images: jax.Array, train: bool) -> jax.Array:
        """Returns logits [n, num_classes].

        Args:
          images: uint8 [n, r, r, 1 or 3], r a power of two from 8 to 64.
          train: Normalise by the batch's statistics instead of the running ones.
        """
        x = _blocks_to_channels(to_float(images))
        x = nn.relu(_ConvNorm(self.width)(x, train))
        for stage in range(1, max(x.shape[1].bit_length() - 3, 1) + 1):
            maps = self.width * 2**stage
            x = nn.relu(_ConvNorm(maps, pool=True)(x, train))
            y = nn.relu(_ConvNorm(maps)(x, train))
            x = x + nn.relu(_ConvNorm(maps)(y, train))
        return _LOGIT_SCALE * nn.Dense(self.num_classes)(jnp.max(x, axis=(1, 2)))


class DigitClassifier(nn.Module):
    """Three stages of 32, 55 and 96 maps, each ending in half the side.

    Source: the maps and the slope of 0.1 are those of the authors' classifier of
    stacked MNIST; the 3x3 kernels, the normalisation and the pooling are ours.

    Attributes:
      num_classes: Length of the logits.
      width: Maps of the first stage; the others keep their proportion.
    """

    num_classes: int
    width: int = 32

    @nn.compact
    def __call__(self, images: jax.Array, train: bool) -> jax.Array:
        """Returns logits [n, num_classes]; see `ResidualClassifier`."""
        x = to_float(images)
        for maps in (32, 55, 96):
            x = _ConvNorm(maps * self.width // 32, pool=True)(x, train)
            x = nn.leaky_relu(x, 0.1)
        return nn.Dense(self.num_classes)(x.reshape(len(x), -1))


ARCHITECTURES: dict[str, Any] = {
    "residual": ResidualClassifier,
    "digit": DigitClassifier,
}


class _ConvNorm(nn.Module):
    maps: int
    pool: bool = False

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        x = nn.Conv(self.maps, (3, 3), use_bias=False)(x)
        if self.pool:
            n, h, w, c = x.shape
            x = jnp.max(x.reshape(n, h // 2, 2, w // 2, 2, c), axis=(2, 4))
        return nn.BatchNorm(use_running_average=not train, momentum=0.9)(x)


def _blocks_to_channels(x: jax.Array) -> jax.Array:
    """Turns [n, h, w, C] into [n, h / 2, w / 2, 4 * C]."""
    n, h, w, c = x.shape
    blocks = x.reshape(n, h // 2, 2, w // 2, 2, c).transpose(0, 1, 3, 2, 4, 5)
    return blocks.reshape(n, h // 2, w // 2, 4 * c)
