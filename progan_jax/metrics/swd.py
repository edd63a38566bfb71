"""Sliced Wasserstein distance between patches of Laplacian pyramids, level by level.

Source: Karras et al. 2018, section 5; the authors' `metrics/sliced_wasserstein.py` for
the constants, the pyramid's filter (binomial, 5x5) and its border (mirrored without the
edge pixel).
"""

import math
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from progan_jax.images import SMALLEST_LEVEL
from progan_jax.metrics.inputs import Images, in_chunks
from progan_jax.metrics.metric import Measurement

_BINOMIAL = (1 / 16, 4 / 16, 6 / 16, 4 / 16, 1 / 16)


def laplacian_pyramid(images: jax.Array, levels: int) -> list[jax.Array]:
    """Returns `levels` images of halving size, the last one the low-pass rest.

    Source: `generate_laplacian_pyramid` of the authors; Burt & Adelson 1983.

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


PER_IMAGE = 128  # Number of patches of an image and level in the published protocol.

_SIDE = 7

_CHUNK_PIXELS = 2**22  # Pixels whose pyramid is taken at a time, to bound memory.


@dataclass(frozen=True)
class Patches:
    """Random patches of one level of an image set.

    Attributes:
      values: float32 [m, 147], channel last.
      mean: Mean of each channel over patches and pixels; float64 [3].
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
    """Draws 7x7 patches of every level from images that are read once.

    The pyramids are computed on the device, a few images at a time; the patches, 75 KiB
    for each image and level at the default, stay on the host.

    Source: `get_descriptors_for_minibatch` of the authors.

    Args:
      images: uint8 [n, R, R, 1 or 3], R a power of two from 16, or chunks of them; grey
        is taken as RGB.
      seed: Seed for the places, uniform over the patches that lie inside.
      number: Number of the set: sets of other numbers have other places.
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
        if (side := chunk.shape[1]) < SMALLEST_LEVEL or side & (side - 1):
            raise ValueError(
                f"images of {side}x{side} pixels: the SWD needs a side that is a power "
                f"of two from {SMALLEST_LEVEL}"
            )
        indices = np.arange(done, done + len(chunk))
        parts.append(_cut(key, chunk, indices, per_image, batched))
        done += len(chunk)
    if not parts:
        raise ValueError("there are no images to draw patches from")
    by_level = [list(level) for level in zip(*parts, strict=True)]
    parts.clear()
    side = SMALLEST_LEVEL << (len(by_level) - 1)
    # One level at a time, as it is in memory twice while it is joined.
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
    # In two steps: a float32 sum of few numbers loses few digits.
    return both.mean(axis=(3, 4)).mean(axis=2)


def _join(parts: Sequence[tuple[np.ndarray, np.ndarray]]) -> Patches:
    values = np.concatenate([values for values, _ in parts])
    moments = np.concatenate([moments for _, moments in parts])
    mean, square = moments.mean(axis=0, dtype=np.float64)
    variance = square - mean**2
    # Less than the rounding of the squares counts as none.
    stddev = np.sqrt(np.where(variance > 1e-6 * square, variance, 1))
    return Patches(values.reshape(-1, _SIDE**2 * 3), mean, stddev)


NUM_IMAGES = 16384  # Number of each kind in the published protocol.

_REPEATS, _DIRECTIONS = 4, 128

_BLOCK = 16  # Directions projected at a time on the host.

_DIRECTIONS_KEY = 2  # Of a seed; 0 and 1 are the places of reals and fakes.


def measure(images: Measurement) -> dict[str, float]:
    """Returns the distance to as many real images, by level and on average."""
    draw = partial(draw_patches, seed=images.seed, batched=images.sharding)
    if not images.kept:
        images.kept.update(draw(images.chunks_of_reals(), number=0))
    fakes = draw(images.chunks(), number=1)
    levels = distances(images.kept, fakes, seed=images.seed, batched=images.sharding)
    return {f"swd_{r}": value for r, value in levels.items()} | {
        "swd_average": average(levels)
    }


def swd(reals: Images, fakes: Images, *, seed: int) -> dict[int, float]:
    """Returns the distance x 1e3 for each level of the Laplacian pyramid, R to 16.

    Args:
      reals: uint8 [n, R, R, 1 or 3], R a power of two from 16, or chunks of them; grey
        is taken as RGB. The caller upsamples smaller images.
      fakes: Likewise, as many.
      seed: Seed for the patches' places and the directions.

    Returns:
      Distances by the resolution of their level, R first.

    Raises:
      ValueError: if the sets differ in number or size, the images are not uint8 or not
        square, or their side is no power of two from 16.

    Examples:
      >>> import numpy as np
      >>> images = np.random.default_rng(0).integers(0, 256, (64, 32, 32, 3), np.uint8)
      >>> sorted(swd(images, images, seed=0))  # Not 0: each set's patches are drawn.
      [16, 32]
    """
    drawn = [
        draw_patches(images, seed=seed, number=number)
        for number, images in enumerate((reals, fakes))
    ]
    return distances(*drawn, seed=seed)


def distances(
    a: dict[int, Patches],
    b: dict[int, Patches],
    *,
    seed: int,
    batched: jax.sharding.Sharding | None = None,
) -> dict[int, float]:
    """Returns the distance x 1e3 between two sets of patches, for each level.

    It is averaged over four sets of 128 random directions, as in the authors' program.

    Each set is normalised by its own statistics, as in `finalize_descriptors` of the
    authors.

    Args:
      a: As of `draw_patches`.
      b: Likewise, of as many images of the same side.
      seed: Seed for the directions.
      batched: Sharding of a leading axis, which the directions are split by.

    Raises:
      ValueError: if the sets differ in number or size.
    """
    shapes = [{r: p.values.shape for r, p in patches.items()} for patches in (a, b)]
    if shapes[0] != shapes[1]:
        raise ValueError(
            f"the sets differ in number or size of images: patches {shapes[0]} and "
            f"{shapes[1]}"
        )
    key = jax.random.fold_in(jax.random.key(seed), _DIRECTIONS_KEY)
    found = {}
    for index, resolution in enumerate(a):
        keys = jax.random.split(jax.random.fold_in(key, index), _REPEATS)
        gaps = [
            sliced_distance(k, a[resolution], b[resolution], _DIRECTIONS, batched)
            for k in keys
        ]
        found[resolution] = float(np.mean(gaps)) * 1e3
    return found


def average(distances: dict[int, float]) -> float:
    """Returns the plain mean over the levels, the one value that is published."""
    return float(np.mean(list(distances.values())))


def sliced_distance(
    key: jax.Array,
    a: Patches,
    b: Patches,
    directions: int,
    batched: jax.sharding.Sharding | None = None,
) -> float:
    """Returns the mean 1-D Wasserstein distance of two sets along random directions.

    Source: `sliced_wasserstein` of the authors; Rabin et al. 2011. In one dimension the
    distance is the mean gap between the sorted values.

    Args:
      key: Random key of the directions, which are uniform on the unit sphere.
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
    shift = line_a[1] - line_b[1]
    along_a, along_b = np.empty((2, _BLOCK, len(a)), np.float32)

    def gap(row: int, direction: int) -> float:
        along_a[row].sort()
        along_b[row].sort()
        along_a[row] -= along_b[row]
        along_a[row] -= shift[direction]
        return float(np.mean(np.abs(along_a[row], out=along_a[row]), dtype=np.float64))

    gaps = []
    # NumPy releases the interpreter's lock: a thread for each core.
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for start in range(0, len(shift), _BLOCK):
            rows = range(min(_BLOCK, len(shift) - start))
            block = slice(start, start + len(rows))
            np.matmul(line_a[0][block], a.T, out=along_a[: len(rows)])
            np.matmul(line_b[0][block], b.T, out=along_b[: len(rows)])
            gaps += pool.map(gap, rows, range(start, start + len(rows)))
    return float(np.mean(gaps))


@jax.jit
def _mean_gap(a: jax.Array, b: jax.Array, line_a: tuple, line_b: tuple) -> jax.Array:
    def project(x: jax.Array, line: tuple) -> jax.Array:
        # In full precision: tensor cores would round the patches to three digits.
        along = jnp.matmul(line[0], x.T, precision=lax.Precision.HIGHEST)
        return jnp.sort(along, axis=1) - line[1][:, None]

    return jnp.mean(jnp.abs(project(a, line_a) - project(b, line_b)))
