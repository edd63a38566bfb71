"""Sliced Wasserstein distance between the patches of two image sets, level by level.

Source: Karras et al. 2018, section 5 and appendix; the authors' program for constants.
"""

import math
import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from progan_jax.metrics.laplacian import laplacian_pyramid

SMALLEST_LEVEL = 16
NUM_IMAGES = 16384  # Of each kind, by the published protocol.
_PATCHES = 128  # Of each image and level.
_PATCH = 7
_REPEATS, _DIRECTIONS = 4, 128
_CHUNK_PIXELS = 2**22  # Pixels whose pyramid is taken at a time, to bound memory.
_BLOCK = 16  # Directions projected at a time on the host.
_PLACES_KEY, _DIRECTIONS_KEY = 0, 1


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


def swd(
    reals: np.ndarray,
    fakes: np.ndarray,
    *,
    seed: int,
    patches_per_image: int = _PATCHES,
    repeats: int = _REPEATS,
    directions: int = _DIRECTIONS,
) -> dict[int, float]:
    """Returns the distance x 1e3 for each level of the Laplacian pyramid, R to 16.

    Args:
      reals: uint8 [n, R, R, 1 or 3], R a power of two from 16; grey is taken as RGB.
        Smaller images are the caller's to upsample.
      fakes: Likewise, as many.
      seed: Of the patches' places and of the directions.
      patches_per_image: 7x7 patches of each image and level.
      repeats: Sets of directions that the distance is averaged over.
      directions: Random projections in a set.

    Returns:
      Distances by the resolution of their level, R first. `average` sums them up.

    Raises:
      ValueError: if the sets differ in shape, the images are not uint8 or not square,
        or their side is no power of two from 16.
    """
    if reals.shape != fakes.shape:
        raise ValueError(f"reals {reals.shape} and fakes {fakes.shape} differ in shape")
    drawn = [
        draw_patches([images], seed=seed, number=number, per_image=patches_per_image)
        for number, images in enumerate((reals, fakes))
    ]
    return distances(*drawn, seed=seed, repeats=repeats, directions=directions)


def draw_patches(
    chunks: Iterable[np.ndarray],
    *,
    seed: int,
    number: int,
    per_image: int = _PATCHES,
    batched: jax.sharding.Sharding | None = None,
) -> dict[int, Patches]:
    """Draws 7x7 patches of every level from images that pass by once.

    The pyramids are taken on the device, a few images at a time; the patches, 75 KiB
    for each image and level at the default, stay on the host.

    Args:
      chunks: The images in parts of any length, uint8 [n, R, R, 1 or 3].
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
    key = jax.random.fold_in(jax.random.key(seed), _PLACES_KEY)
    key = jax.random.fold_in(key, number)
    parts: list[list[np.ndarray]] = []
    done = 0
    for images in _blocks(chunks, 1 if batched is None else batched.num_devices):
        n = len(images)
        indices = np.arange(done, done + n)
        parts.append(_cut(key, images, indices, per_image, batched))
        done += n
    if not parts:
        raise ValueError("there are no images to draw patches from")
    levels = [np.concatenate(level) for level in zip(*parts, strict=True)]
    side = SMALLEST_LEVEL << (len(levels) - 1)
    return {side >> i: _with_statistics(values) for i, values in enumerate(levels)}


def distances(
    a: dict[int, Patches],
    b: dict[int, Patches],
    *,
    seed: int,
    repeats: int = _REPEATS,
    directions: int = _DIRECTIONS,
    batched: jax.sharding.Sharding | None = None,
) -> dict[int, float]:
    """Returns the distance x 1e3 between two sets of patches, for each level.

    Each set is normalised by its own statistics.

    Args:
      a: As of `draw_patches`.
      b: Likewise, of as many images of the same side.
      seed: Of the directions.
      repeats: Sets of directions that the distance is averaged over.
      directions: Random projections in a set.
      batched: Sharding of a leading axis, which the directions are split by.

    Raises:
      ValueError: if the sets differ in number or size.
    """
    shapes = [{r: p.values.shape for r, p in patches.items()} for patches in (a, b)]
    if shapes[0] != shapes[1]:
        raise ValueError(f"patches {shapes[0]} and {shapes[1]} differ in shape")
    key = jax.random.fold_in(jax.random.key(seed), _DIRECTIONS_KEY)
    found = {}
    for index, resolution in enumerate(a):
        keys = jax.random.split(jax.random.fold_in(key, index), repeats)
        gaps = [
            sliced_distance(k, a[resolution], b[resolution], directions, batched)
            for k in keys
        ]
        found[resolution] = float(np.mean(gaps)) * 1e3
    return found


def average(distances: dict[int, float]) -> float:
    """Returns the plain mean over the levels, the single figure that is published."""
    return float(np.mean(list(distances.values())))


def sliced_distance(
    key: jax.Array,
    a: Patches,
    b: Patches,
    directions: int,
    batched: jax.sharding.Sharding | None = None,
) -> float:
    """Returns the mean 1-D Wasserstein distance of two sets along random directions.

    Args:
      key: Of the directions, which are uniform on the unit sphere.
      a: A set.
      b: Another, as large.
      directions: Number of them.
      batched: See `distances`.
    """
    axes = np.array(jax.random.normal(key, (directions, a.values.shape[1])), np.float64)
    axes /= np.linalg.norm(axes, axis=1, keepdims=True)
    lines = [_normalising(axes, patches) for patches in (a, b)]
    if jax.default_backend() == "cpu":
        # XLA sorts some thirty times slower on a CPU than NumPy does.
        return _mean_gap_on_host(a.values, b.values, *lines)
    lines = [tuple(jax.device_put(x, batched) for x in line) for line in lines]
    return float(_mean_gap(a.values, b.values, *lines))


def _blocks(chunks: Iterable[np.ndarray], devices: int) -> Iterator[np.ndarray]:
    """Yields the same images in blocks of one length, the last one perhaps shorter."""
    left: np.ndarray | None = None
    for images in chunks:
        _check(images)
        size = max(_CHUNK_PIXELS // images.shape[1] ** 2 // devices, 1) * devices
        left = images if left is None else np.concatenate([left, images])
        while len(left) >= size:
            yield left[:size]
            left = left[size:]
    if left is not None and len(left):
        yield left


def _cut(
    key: jax.Array,
    images: np.ndarray,
    indices: np.ndarray,
    per_image: int,
    batched: jax.sharding.Sharding | None,
) -> list[np.ndarray]:
    """Returns the patches of a block for each level, float32 [n * patches, 147]."""
    n = len(images)
    if batched is not None and n % batched.num_devices:
        rows = np.arange(n + -n % batched.num_devices) % n
        images, indices = images[rows], indices[rows]
    placed = jax.device_put((images, indices.astype(np.uint32)), batched)
    levels = _cut_patches(key, *placed, per_image=per_image)
    return [np.asarray(level)[:n].reshape(-1, _PATCH**2 * 3) for level in levels]


@partial(jax.jit, static_argnames="per_image")
def _cut_patches(
    key: jax.Array, images: jax.Array, indices: jax.Array, *, per_image: int
) -> list[jax.Array]:
    """Returns float32 [n, patches, 7, 7, 3] for each level."""
    n, side = images.shape[:2]
    colour = jnp.broadcast_to(images.astype(jnp.float32), (n, side, side, 3))
    num_levels = int(math.log2(side // SMALLEST_LEVEL)) + 1

    def cut(index: jax.Array, image: jax.Array, level_key: jax.Array) -> jax.Array:
        last = image.shape[0] - _PATCH
        image_key = jax.random.fold_in(level_key, index)
        places = jax.random.randint(image_key, (per_image, 2), 0, last + 1)
        return jax.vmap(
            lambda place: lax.dynamic_slice(image, (*place, 0), (_PATCH, _PATCH, 3))
        )(places)

    return [
        jax.vmap(cut, (0, 0, None))(indices, level, jax.random.fold_in(key, i))
        for i, level in enumerate(laplacian_pyramid(colour, num_levels))
    ]


def _with_statistics(values: np.ndarray) -> Patches:
    channels = values.reshape(len(values), -1, 3)
    mean = channels.mean(axis=(0, 1), dtype=np.float64)
    stddev = channels.std(axis=(0, 1), dtype=np.float64)
    return Patches(values, mean, np.where(stddev > 0, stddev, 1))


def _normalising(axes: np.ndarray, patches: Patches) -> tuple[np.ndarray, np.ndarray]:
    """Returns scaled directions and offsets that project as if patches were normalised.

    Along u, sum_i u_i (x_i - mean_i) / stddev_i = (u / stddev) x - (u / stddev) mean.
    """
    repeated = patches.values.shape[1] // 3
    scaled = axes / np.tile(patches.stddev, repeated)
    offsets = scaled @ np.tile(patches.mean, repeated)
    return scaled.astype(np.float32), offsets.astype(np.float32)


def _mean_gap_on_host(
    a: np.ndarray, b: np.ndarray, line_a: tuple, line_b: tuple
) -> float:
    gaps = []
    # NumPy sorts without holding the interpreter: a thread for each core.
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for start in range(0, len(line_a[0]), _BLOCK):
            rows = []
            for x, (axes, offsets) in ((a, line_a), (b, line_b)):
                along = axes[start : start + _BLOCK] @ x.T
                list(pool.map(np.ndarray.sort, along))
                rows.append(along - offsets[start : start + _BLOCK, None])
            gaps.append(np.mean(np.abs(rows[0] - rows[1]), axis=1, dtype=np.float64))
    return float(np.mean(np.concatenate(gaps)))


@jax.jit
def _mean_gap(a: jax.Array, b: jax.Array, line_a: tuple, line_b: tuple) -> jax.Array:
    def project(x: jax.Array, line: tuple) -> jax.Array:
        # In full precision: tensor cores would round the patches to three digits.
        along = jnp.matmul(line[0], x.T, precision=lax.Precision.HIGHEST)
        return jnp.sort(along, axis=1) - line[1][:, None]

    return jnp.mean(jnp.abs(project(a, line_a) - project(b, line_b)))


def _check(images: np.ndarray) -> None:
    if images.dtype != np.uint8:
        raise ValueError(f"images of {images.dtype} must be uint8")
    _, height, width, _ = images.shape
    if height != width or height < SMALLEST_LEVEL or height & (height - 1):
        raise ValueError(
            f"images of {height}x{width} pixels must be square, their side a power of "
            f"two from {SMALLEST_LEVEL}"
        )
