"""Sliced Wasserstein distance between the patches of two image sets, level by level.

Source: Karras et al. 2018, section 5 and appendix; the authors' program for constants.
"""

import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

SMALLEST_LEVEL = 16
_PATCH = 7
_BINOMIAL = (1 / 16, 4 / 16, 6 / 16, 4 / 16, 1 / 16)
_CHUNK_PIXELS = 2**24  # Pixels whose pyramid is taken at a time, to bound memory.


def swd(
    reals: np.ndarray,
    fakes: np.ndarray,
    *,
    seed: int,
    patches_per_image: int = 128,
    repeats: int = 4,
    directions: int = 128,
) -> dict[int, float]:
    """Returns the distance x 1e3 for each level of the Laplacian pyramid, R to 16.

    The published protocol takes 16384 images of each kind and the defaults below. The
    images stay on the host and pass through the device in chunks, once per level; the
    patches of one level, 75 KiB for each image at the defaults, stay on the device.

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
    _check(reals, fakes)
    resolution = reals.shape[1]
    distances = {}
    for index in range(_num_levels(resolution)):
        key = jax.random.fold_in(jax.random.key(seed), index)
        key_reals, key_fakes, key_directions = jax.random.split(key, 3)
        a = normalise(descriptors(key_reals, reals, index, patches_per_image))
        b = normalise(descriptors(key_fakes, fakes, index, patches_per_image))
        keys = jax.random.split(key_directions, repeats)
        distance = np.mean([sliced_distance(k, a, b, directions) for k in keys])
        distances[resolution >> index] = float(distance) * 1e3
    return distances


def average(distances: dict[int, float]) -> float:
    """Returns the plain mean over the levels, the single figure that is published."""
    return float(np.mean(list(distances.values())))


def laplacian_pyramid(images: jax.Array, levels: int) -> list[jax.Array]:
    """Returns `levels` images of halving size, the last one the low-pass rest.

    Args:
      images: float32 [n, R, R, C].
      levels: Number of levels; R must be divisible by 2**(levels - 1).
    """
    pyramid = []
    for _ in range(levels - 1):
        smaller = _blur(images)[:, ::2, ::2]
        pyramid.append(images - _expand(smaller))
        images = smaller
    return [*pyramid, images]


def descriptors(
    key: jax.Array, images: np.ndarray, index: int, patches_per_image: int
) -> jax.Array:
    """Returns random 7x7 patches of one level, float32 [n * patches, 7, 7, 3].

    Args:
      key: Of the places, which are uniform over the patches that lie inside.
      images: uint8 [n, R, R, 1 or 3].
      index: Level, 0 for R; the smallest level of the pyramid is 16.
      patches_per_image: Patches of each image.
    """
    n, resolution = images.shape[:2]
    places = jax.random.randint(
        key, (n, patches_per_image, 2), 0, (resolution >> index) - _PATCH + 1
    )
    chunk = max(_CHUNK_PIXELS // resolution**2, 1)
    parts = [
        _cut_patches(images[i : i + chunk], places[i : i + chunk], index)
        for i in range(0, n, chunk)
    ]
    return jnp.concatenate(parts)


@jax.jit
def normalise(patches: jax.Array) -> jax.Array:
    """Gives each channel of [m, 7, 7, C] mean 0 and deviation 1, flat [m, 49 * C].

    A channel without any variation, as of equal flat images, becomes 0.
    """
    mean = jnp.mean(patches, axis=(0, 1, 2), keepdims=True)
    stddev = jnp.std(patches, axis=(0, 1, 2), keepdims=True)
    scaled = (patches - mean) / jnp.where(stddev > 0, stddev, 1)
    return scaled.reshape(len(patches), -1)


def sliced_distance(
    key: jax.Array, a: jax.Array, b: jax.Array, directions: int
) -> float:
    """Returns the mean 1-D Wasserstein distance of two sets along random directions.

    Args:
      key: Of the directions, which are uniform on the unit sphere.
      a: float32 [m, d].
      b: float32 [m, d].
      directions: Number of them.
    """
    axes = jax.random.normal(key, (directions, a.shape[1]))
    axes /= jnp.linalg.norm(axes, axis=1, keepdims=True)
    if jax.default_backend() != "cpu":
        return float(_mean_gap(axes, a, b))
    # XLA sorts some thirty times slower on a CPU than NumPy does.
    return float(np.mean(np.abs(_sort_on_host(axes, a) - _sort_on_host(axes, b))))


@partial(jax.jit, static_argnames="index")
def _cut_patches(images: jax.Array, places: jax.Array, index: int) -> jax.Array:
    n, h, w, _ = images.shape
    colour = jnp.broadcast_to(images.astype(jnp.float32), (n, h, w, 3))
    # The levels below the wanted one are not computed: the compiler drops them.
    level = laplacian_pyramid(colour, _num_levels(h))[index]

    def cut(image: jax.Array, place: jax.Array) -> jax.Array:
        return lax.dynamic_slice(image, (*place, 0), (_PATCH, _PATCH, 3))

    patches = jax.vmap(jax.vmap(cut, (None, 0)))(level, places)
    return patches.reshape(-1, _PATCH, _PATCH, 3)


@jax.jit
def _mean_gap(axes: jax.Array, a: jax.Array, b: jax.Array) -> jax.Array:
    # In full precision: tensor cores would round the descriptors to three digits.
    project = partial(jnp.matmul, axes, precision=lax.Precision.HIGHEST)
    gap = jnp.sort(project(a.T), axis=1) - jnp.sort(project(b.T), axis=1)
    return jnp.mean(jnp.abs(gap))


def _sort_on_host(axes: jax.Array, x: jax.Array) -> np.ndarray:
    projections = np.asarray(axes) @ np.asarray(x).T
    projections.sort(axis=1)
    return projections


def _blur(images: jax.Array, gain: float = 1.0) -> jax.Array:
    """Filters [n, h, w, C] with the 5x5 binomial, reflecting without the edge pixel."""
    _, h, w, _ = images.shape
    padded = jnp.pad(images, ((0, 0), (2, 2), (2, 2), (0, 0)), mode="reflect")
    zero = jnp.zeros((), images.dtype)
    taps = [gain * t for t in _BINOMIAL]
    rows = sum((t * padded[:, i : i + h] for i, t in enumerate(taps)), zero)
    return sum((t * rows[:, :, i : i + w] for i, t in enumerate(taps)), zero)


def _expand(images: jax.Array) -> jax.Array:
    """Doubles [n, h, w, C]: zeros between the pixels, then the filter times four."""
    n, h, w, c = images.shape
    spread = jnp.zeros((n, h, 2, w, 2, c), images.dtype).at[:, :, 0, :, 0].set(images)
    return _blur(spread.reshape(n, 2 * h, 2 * w, c), gain=2.0)


def _num_levels(resolution: int) -> int:
    """Returns the number of levels from `resolution` down to 16."""
    return int(math.log2(resolution // SMALLEST_LEVEL)) + 1


def _check(reals: np.ndarray, fakes: np.ndarray) -> None:
    if reals.shape != fakes.shape:
        raise ValueError(f"reals {reals.shape} and fakes {fakes.shape} differ in shape")
    if not reals.dtype == fakes.dtype == np.uint8:
        raise ValueError(f"images of {reals.dtype} and {fakes.dtype} must be uint8")
    _, height, width, _ = reals.shape
    if height != width or height < SMALLEST_LEVEL or height & (height - 1):
        raise ValueError(
            f"images of {height}x{width} pixels must be square, their side a power of "
            f"two from {SMALLEST_LEVEL}"
        )
