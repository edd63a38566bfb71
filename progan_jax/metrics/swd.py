"""Sliced Wasserstein distance between the patches of two image sets, level by level.

Source: Karras et al. 2018, section 5 and appendix; the authors' program for constants.
"""

import os
from concurrent.futures import ThreadPoolExecutor

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from progan_jax.metrics.inputs import Images
from progan_jax.metrics.patches import PER_IMAGE, Patches, draw_patches

NUM_IMAGES = 16384  # Of each kind, by the published protocol.
_REPEATS, _DIRECTIONS = 4, 128
_BLOCK = 16  # Directions projected at a time on the host.
_DIRECTIONS_KEY = 2  # Of a seed; 0 and 1 are the places of reals and fakes.


def swd(
    reals: Images,
    fakes: Images,
    *,
    seed: int,
    patches_per_image: int = PER_IMAGE,
    repeats: int = _REPEATS,
    directions: int = _DIRECTIONS,
) -> dict[int, float]:
    """Returns the distance x 1e3 for each level of the Laplacian pyramid, R to 16.

    Args:
      reals: uint8 [n, R, R, 1 or 3], R a power of two from 16, or chunks of them; grey
        is taken as RGB. Smaller images are the caller's to upsample.
      fakes: Likewise, as many.
      seed: Of the patches' places and of the directions.
      patches_per_image: 7x7 patches of each image and level.
      repeats: Sets of directions that the distance is averaged over.
      directions: Random projections in a set.

    Returns:
      Distances by the resolution of their level, R first. `average` sums them up.

    Raises:
      ValueError: if the sets differ in number or size, the images are not uint8 or not
        square, or their side is no power of two from 16.
    """
    drawn = [
        draw_patches(images, seed=seed, number=number, per_image=patches_per_image)
        for number, images in enumerate((reals, fakes))
    ]
    return distances(*drawn, seed=seed, repeats=repeats, directions=directions)


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
        raise ValueError(
            f"the sets differ in number or size of images: patches {shapes[0]} and "
            f"{shapes[1]}"
        )
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
    # NumPy lets go of the interpreter: a thread for each core.
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
