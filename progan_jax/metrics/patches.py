"""Random patches of every level of an image set's Laplacian pyramid.

Source: Karras et al. 2018, section 5; the authors' program for constants.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from progan_jax.metrics.inputs import Images, in_chunks
from progan_jax.metrics.laplacian import laplacian_pyramid

SMALLEST_LEVEL = 16
PER_IMAGE = 128  # Patches of each image and level, by the published protocol.
_SIDE = 7
_CHUNK_PIXELS = 2**22  # Pixels whose pyramid is taken at a time, to bound memory.


@dataclass(frozen=True)
class Patches:
    """Random patches of one level of an image set.

    Attributes:
      values: float32 [m, 147], channel last.
      mean: Of each channel, over patches and pixels; float64 [3].
      stddev: Likewise; 1 for a channel without any variation.
    """

    values: np.ndarray
    mean: np.ndarray
    stddev: np.ndarray


def draw_patches(
    images: Images,
    *,
    seed: int,
    number: int,
    per_image: int = PER_IMAGE,
    batched: jax.sharding.Sharding | None = None,
) -> dict[int, Patches]:
    """Draws 7x7 patches of every level from images that pass by once.

    The pyramids are taken on the device, a few images at a time; the patches, 75 KiB
    for each image and level at the default, stay on the host.

    Args:
      images: uint8 [n, R, R, 1 or 3], R a power of two from 16, or chunks of them; grey
        is taken as RGB.
      seed: Of the places, which are uniform over the patches that lie inside.
      number: Of the set: sets of other numbers have other places.
      per_image: Patches of each image and level.
      batched: Sharding of a leading axis; None for one device.

    Returns:
      Patches by the resolution of their level, R first.

    Raises:
      ValueError: if the images are not uint8 or not square, or their side is no power
        of two from 16.
    """
    key = jax.random.fold_in(jax.random.key(seed), number)
    multiple = 1 if batched is None else batched.num_devices
    parts: list[list[tuple[np.ndarray, np.ndarray]]] = []
    done = 0
    for chunk in in_chunks(images, _CHUNK_PIXELS, multiple):
        _check_side(chunk.shape[1])
        indices = np.arange(done, done + len(chunk))
        parts.append(_cut(key, chunk, indices, per_image, batched))
        done += len(chunk)
    if not parts:
        raise ValueError("there are no images to draw patches from")
    by_level = [list(level) for level in zip(*parts, strict=True)]
    parts.clear()
    side = SMALLEST_LEVEL << (len(by_level) - 1)
    # One level lies there twice while it is joined, not all of them.
    return {side >> i: _join(by_level.pop(0)) for i in range(len(by_level))}


def _cut(
    key: jax.Array,
    images: np.ndarray,
    indices: np.ndarray,
    per_image: int,
    batched: jax.sharding.Sharding | None,
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Returns patches [n, patches, 7, 7, 3] and moments [n, 2, 3] for each level."""
    n = len(images)
    if batched is not None and n % batched.num_devices:
        rows = np.arange(n + -n % batched.num_devices) % n
        images, indices = images[rows], indices[rows]
    placed = jax.device_put((images, indices.astype(np.uint32)), batched)
    levels = _cut_patches(key, *placed, per_image=per_image)
    return [(values[:n], moments[:n]) for values, moments in jax.device_get(levels)]


@partial(jax.jit, static_argnames="per_image")
def _cut_patches(
    key: jax.Array, images: jax.Array, indices: jax.Array, *, per_image: int
) -> list[tuple[jax.Array, jax.Array]]:
    """Returns float32 [n, patches, 7, 7, 3] for each level, and their `_moments`."""
    n, side = images.shape[:2]
    colour = jnp.broadcast_to(images.astype(jnp.float32), (n, side, side, 3))
    num_levels = int(math.log2(side // SMALLEST_LEVEL)) + 1

    def cut(index: jax.Array, image: jax.Array, level_key: jax.Array) -> jax.Array:
        last = image.shape[0] - _SIDE
        image_key = jax.random.fold_in(level_key, index)
        places = jax.random.randint(image_key, (per_image, 2), 0, last + 1)
        return jax.vmap(
            lambda place: lax.dynamic_slice(image, (*place, 0), (_SIDE, _SIDE, 3))
        )(places)

    levels = [
        jax.vmap(cut, (0, 0, None))(indices, level, jax.random.fold_in(key, i))
        for i, level in enumerate(laplacian_pyramid(colour, num_levels))
    ]
    return [(patches, _moments(patches)) for patches in levels]


def _moments(patches: jax.Array) -> jax.Array:
    """Returns the means of values and squares of each image's channels, [n, 2, 3]."""
    both = jnp.stack([patches, patches**2], axis=1)
    # In two steps: a float32 sum of few numbers keeps its digits.
    return both.mean(axis=(3, 4)).mean(axis=2)


def _join(parts: Sequence[tuple[np.ndarray, np.ndarray]]) -> Patches:
    values = np.concatenate([values for values, _ in parts])
    moments = np.concatenate([moments for _, moments in parts])
    mean, square = moments.mean(axis=0, dtype=np.float64)
    variance = square - mean**2
    # Less than the rounding of the squares is none.
    stddev = np.sqrt(np.where(variance > 1e-6 * square, variance, 1))
    return Patches(values.reshape(-1, _SIDE**2 * 3), mean, stddev)


def _check_side(side: int) -> None:
    if side < SMALLEST_LEVEL or side & (side - 1):
        raise ValueError(
            f"images of {side}x{side} pixels: the SWD needs a side that is a power of "
            f"two from {SMALLEST_LEVEL}"
        )
