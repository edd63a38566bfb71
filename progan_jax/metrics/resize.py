"""Resizing as the published Inception features need it, in their two named modes.

"tf1" is the bilinear resizing of TensorFlow 1 inside of the Inception graph, which most
published figures were made with; it aliases where it shrinks. "clean" is that of Parmar
et al. 2022, "On Aliased Resizing and Surprising Subtleties in GAN Evaluation": Pillow's
antialiased bicubic filter. Figures of the two must never be compared.
"""

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image


def resize_tf1(images: jax.Array, side: int) -> jax.Array:
    """Resizes as TensorFlow 1's `resize_bilinear` does with its default arguments.

    Pixel i of the result lies at i * in / out of the source, without the half-pixel
    offset, and takes the two pixels around that place, the upper one clamped to the
    edge. `jax.image.resize` is another function.

    Args:
      images: [n, h, w, C], 0..255 of any dtype.
      side: Height and width of the result.

    Returns:
      float32 [n, side, side, C].
    """
    images = images.astype(jnp.float32)
    return _interpolate(_interpolate(images, side, axis=2), side, axis=1)


def resize_clean(images: np.ndarray, side: int) -> np.ndarray:
    """Resizes by Pillow's bicubic filter, each channel in float, not rounded again.

    Args:
      images: uint8 [n, h, w, C].
      side: Height and width of the result.

    Returns:
      float32 [n, side, side, C], clipped to 0..255.
    """
    n, h, w, channels = images.shape
    resized = np.empty((n, side, side, channels), np.float32)
    planes = images.astype(np.float32).transpose(0, 3, 1, 2).reshape(-1, h, w)
    for index, plane in enumerate(planes):
        picture = Image.fromarray(plane).resize((side, side), Image.Resampling.BICUBIC)
        resized[index // channels, :, :, index % channels] = np.asarray(picture)
    return resized.clip(0, 255)


def _interpolate(images: jax.Array, side: int, axis: int) -> jax.Array:
    size = images.shape[axis]
    # In float32, as TensorFlow's own places are.
    places = np.arange(side, dtype=np.float32) * np.float32(size / side)
    lower = np.minimum(np.floor(places).astype(np.int32), size - 1)
    weights = (places - lower).astype(np.float32)
    low = jnp.take(images, lower, axis=axis)
    high = jnp.take(images, np.minimum(lower + 1, size - 1), axis=axis)
    shape = [1] * images.ndim
    shape[axis] = side
    return low + (high - low) * weights.reshape(shape)
