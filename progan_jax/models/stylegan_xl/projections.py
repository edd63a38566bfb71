"""Random projections of a backbone's features: across channels, and across scales.

Source: Sauer et al. 2021, "Projected GANs converge faster", section 3.2.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from progan_jax.models.stylegan_xl.random_layers import RandomConv

WIDTHS = (64, 128, 256, 512)
"""Maps of the levels after they were mixed across channels, from shallow to deep."""

OUTPUTS = (64, 64, 128, 256)
"""Maps of the levels after they were mixed across scales."""


class ChannelMixing(nn.Module):
    """A random 1x1 convolution of each level (CCM)."""

    @nn.compact
    def __call__(self, levels: Sequence[jax.Array]) -> tuple[jax.Array, ...]:
        """Maps four levels [N, h, w, C] to WIDTHS maps, of the same sides."""
        pairs = enumerate(zip(levels, WIDTHS, strict=True))
        return tuple(RandomConv(width, name=f"level{k}")(x) for k, (x, width) in pairs)


class ScaleMixing(nn.Module):
    """Adds each deeper level to the one above it, by random convolutions (CSM)."""

    @nn.compact
    def __call__(self, levels: Sequence[jax.Array]) -> tuple[jax.Array, ...]:
        """Maps four levels of WIDTHS maps to OUTPUTS maps, of twice the sides."""
        *shallow, deep = levels
        mixed = [self._enlarge(deep, 3)]
        for k in (2, 1, 0):
            mixed.append(self._enlarge(mixed[-1] + shallow[k], k))
        return tuple(reversed(mixed))

    def _enlarge(self, x: jax.Array, k: int) -> jax.Array:
        # The authors' program enlarges first. As the weights of bilinear pixels sum to
        # 1, that is the same, with four times the pixels to convolve.
        return enlarge2d(RandomConv(OUTPUTS[k], name=f"level{k}")(x))


def enlarge2d(x: jax.Array) -> jax.Array:
    """Doubles the sides of [N, H, W, C] bilinearly; corners stay where they are."""
    n, h, w, c = x.shape
    rows, columns = (jnp.asarray(_bilinear(side), x.dtype) for side in (h, w))
    x = _product(rows, x.reshape(n, h, w * c)).reshape(n * 2 * h, w, c)
    return _product(columns, x).reshape(n, 2 * h, 2 * w, c)


def _product(weights: jax.Array, x: jax.Array) -> jax.Array:
    """Multiplies each of many matrices, exactly also where float32 is cut short."""
    weights = jnp.broadcast_to(weights[None], (len(x), *weights.shape))
    return jnp.matmul(weights, x, precision="highest")


def _bilinear(side: int) -> np.ndarray:
    """Returns the weights [2 side, side] of pixels spread from corner to corner."""
    places = np.arange(2 * side) * (side - 1) / (2 * side - 1)
    return np.maximum(1 - np.abs(places[:, None] - np.arange(side)[None]), 0)
