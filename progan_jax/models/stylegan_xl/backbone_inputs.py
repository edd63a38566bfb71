"""What frozen networks see: images augmented, normalised and resized, in that order.

Source: Sauer et al. 2022, section 3.2, and the authors' program.
"""

import jax
import jax.numpy as jnp

from progan_jax.models.augmentation import Draws, augment
from progan_jax.models.stylegan_xl.backbones import Backbone


def prepare(
    images: jax.Array, backbone: Backbone, side: int, draws: Draws | None = None
) -> jax.Array:
    """Returns a network's input [N, side, side, 3].

    Args:
      images: [N, r, r, 3] in about [-1, 1].
      backbone: The network.
      side: Side of its input.
      draws: Of the augmentation of these images; None for none.
    """
    images = images if draws is None else augment(images, draws)
    return resize(normalise(images, backbone), side)


def normalise(images: jax.Array, backbone: Backbone) -> jax.Array:
    """Gives pixels in [-1, 1] the mean and deviation of a network's training."""
    mean, deviation = (
        jnp.asarray(c, images.dtype).reshape(1, 1, 1, -1) for c in backbone.colours
    )
    return ((images + 1) / 2 - mean) / deviation


def resize(images: jax.Array, side: int) -> jax.Array:
    """Resizes bilinearly, with pixels at half numbers and without antialiasing."""
    n, height, width, c = images.shape
    if height == width == side:
        return images
    return jax.image.resize(images, (n, side, side, c), "linear", antialias=False)
