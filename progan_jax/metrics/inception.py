"""Features of the Inception network, for FID, KID, precision, recall and the score.

Images are resized in one of two named modes. "tf1" is the bilinear resizing of
TensorFlow 1 inside of the Inception graph, which most published values were made with;
it aliases where it shrinks. "clean" is that of Parmar et al. 2022, "On Aliased Resizing
and Surprising Subtleties in GAN Evaluation": Pillow's antialiased bicubic filter.
Values of the two must never be compared.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec
from PIL import Image

from progan_jax.metrics.inception_graph import SIDE, InceptionV3
from progan_jax.metrics.inception_weights import require_tap
from progan_jax.metrics.inputs import Features, run_in_batches
from progan_jax.weights.weight_files import Weights


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


_BATCH_SIZE = 64  # Images at a time, over all devices.


class InceptionExtractor:
    """Runs images of any size through the network, as far as the taps need.

    Attributes:
      weights: The network's.
    """

    def __init__(
        self,
        weights: Weights,
        *,
        resize: str = "tf1",
        sharding: NamedSharding | None = None,
    ):
        """Copies the weights to the devices.

        Args:
          weights: From `inception_weights`.
          resize: "tf1" or "clean"; the name of each value must show which.
          sharding: Sharding of the batch axis; None for one device.
        """
        self.weights, self._resize = weights, resize
        self._sharding = sharding
        everywhere = NamedSharding(sharding.mesh, PartitionSpec()) if sharding else None
        self._variables = jax.device_put(weights.variables(), everywhere)
        self._run = jax.jit(_run, static_argnames=("taps", "resize"))

    def at(self, tap: str) -> Features:
        """Returns the function from images to one tap.

        Raises:
          UserError: if the weights do not reach it.
        """
        require_tap(self.weights, tap)
        return lambda images: self.extract(images, (tap,))[tap]

    def extract(
        self, images: np.ndarray, taps: tuple[str, ...]
    ) -> dict[str, np.ndarray]:
        """Returns float32 [n, d] by tap, of uint8 images [n, h, w, 1 or 3].

        Raises:
          UserError: if the weights do not reach a tap.
          ValueError: if the images have another shape or type.
        """
        for tap in taps:
            require_tap(self.weights, tap)
        clean = self._resize == "clean"
        return run_in_batches(
            partial(self._run, self._variables, taps=taps, resize=self._resize),
            images,
            _BATCH_SIZE,
            self._sharding,
            partial(resize_clean, side=SIDE) if clean else np.asarray,
        )


def _run(
    variables: dict, images: jax.Array, *, taps: tuple[str, ...], resize: str
) -> Any:
    if resize == "tf1":
        images = resize_tf1(images, SIDE)
    colour = jnp.broadcast_to(images, (*images.shape[:-1], 3))
    return InceptionV3(taps).apply(variables, colour)
