"""Improved precision and recall: shares of one set on the manifold of the other.

Source: Kynkaanniemi et al. 2019.
"""

from collections.abc import Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from progan_jax.metrics.inputs import check_pair
from progan_jax.metrics.metric import Measurement

_BLOCK = 8192  # Images of each kind whose distances are taken at a time: 256 MiB.


def measure(images: Measurement, *, of: str = "") -> dict[str, float]:
    """Returns both for a set's features against those of real images.

    Args:
      images: The set.
      of: Added to the names of the values.
    """
    reals, fakes = images.features_of_reals(), images.features()
    precision, recall = precision_recall(reals, fakes, **images.constants)
    return {f"precision{of}{{suffix}}": precision, f"recall{of}{{suffix}}": recall}


def precision_recall(
    reals: np.ndarray, fakes: np.ndarray, k: int = 3
) -> tuple[float, float]:
    """Returns precision and recall, each from 0 to 1.

    The manifold of a set is the union of balls, one around each image, that reach to
    its k-th nearest neighbour in the set other than itself. Precision is the share of
    fakes on the manifold of the real images, recall the share of real images on that of
    the fakes: the definitions of Kynkaanniemi et al. 2019.

    Args:
      reals: Floating-point [n, d].
      fakes: Floating-point [m, d]; the published protocol takes 50,000 of each.
      k: Number of neighbours.

    Raises:
      ValueError: if the features have another form or are not finite, or a set has
        k images or fewer.
    """
    reals, fakes = check_pair(reals, fakes)
    if min(len(reals), len(fakes)) <= k:
        raise ValueError(
            f"{len(reals)} real images and {len(fakes)} fakes: each needs more than "
            f"k = {k}"
        )
    # Distances do not change, and float32 has more digits for them near zero.
    centre = reals.mean(axis=0, dtype=np.float64)
    reals, fakes = ((x - centre).astype(np.float32) for x in (reals, fakes))
    radii_reals, radii_fakes = squared_radii(reals, k), squared_radii(fakes, k)
    precise, recalled = np.zeros(len(fakes), bool), np.zeros(len(reals), bool)
    for i, rows in _blocks(fakes):
        for j, columns in _blocks(reals):
            of_fakes, of_reals = _inside(
                rows, columns, radii_fakes[i : i + _BLOCK], radii_reals[j : j + _BLOCK]
            )
            precise[i : i + _BLOCK] |= np.asarray(of_fakes)
            recalled[j : j + _BLOCK] |= np.asarray(of_reals)
    return float(precise.mean()), float(recalled.mean())


def squared_radii(points: np.ndarray, k: int) -> np.ndarray:
    """Returns the squared distance of each point to its k-th neighbour, float32 [n].

    Args:
      points: float32 [n, d], n greater than k. Equal points are neighbours.
      k: Number of neighbours; the point itself is not one.
    """
    radii = []
    for i, rows in _blocks(points):
        nearest = jnp.full((len(rows.points), k), jnp.inf)
        for j, columns in _blocks(points):
            nearest = _nearer(nearest, rows, columns, i - j)
        radii.append(nearest.max(axis=1))
    return np.concatenate(radii)


class _Block(NamedTuple):
    points: jax.Array | np.ndarray  # float32 [n, d].
    squares: jax.Array | np.ndarray  # Their squared norms, float32 [n].


def _blocks(points: np.ndarray) -> Iterator[tuple[int, _Block]]:
    for i in range(0, len(points), _BLOCK):
        block = points[i : i + _BLOCK]
        # Not summed beside the product: XLA on CPUs fuses the two to a slow program.
        yield i, _Block(block, np.square(block).sum(axis=1))


@jax.jit
def _nearer(
    nearest: jax.Array, rows: _Block, columns: _Block, offset: jax.Array
) -> jax.Array:
    """Returns the k smallest of the distances so far and those to the columns."""
    distances = _squared_distances(rows, columns)
    n, m = distances.shape
    itself = jnp.arange(n)[:, None] + offset == jnp.arange(m)[None]
    distances = jnp.where(itself, jnp.inf, distances)
    k = nearest.shape[1]
    smallest = -lax.top_k(-distances, min(k, m))[0]
    return -lax.top_k(-jnp.concatenate([nearest, smallest], axis=1), k)[0]


@jax.jit
def _inside(
    fakes: _Block, reals: _Block, radii_fakes: jax.Array, radii_reals: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Returns which fakes lie in a ball of these reals, and which reals of fakes."""
    distances = _squared_distances(fakes, reals)
    of_fakes = jnp.any(distances <= radii_reals[None], axis=1)
    of_reals = jnp.any(distances <= radii_fakes[:, None], axis=0)
    return of_fakes, of_reals


def _squared_distances(a: _Block, b: _Block) -> jax.Array:
    # In full precision: tensor cores would round the features to three digits.
    product = jnp.matmul(a.points, b.points.T, precision=lax.Precision.HIGHEST)
    return jnp.maximum(a.squares[:, None] + b.squares[None] - 2 * product, 0)
