"""Improved precision and recall: shares of one set on the manifold of the other.

Source: Kynkaanniemi et al. 2019.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from progan_jax.metrics.inputs import check_pair

_BLOCK = 8192  # Images of each kind whose distances are taken at a time: 256 MiB.


def precision_recall(
    reals: np.ndarray, fakes: np.ndarray, k: int = 3
) -> tuple[float, float]:
    """Returns precision and recall, each from 0 to 1.

    The manifold of a set is the union of balls, one around each image, that reach to
    its k-th nearest neighbour in the set other than itself. Precision is the share of
    fakes on the manifold of the reals, recall that of reals on the fakes'.

    Args:
      reals: Floating-point [n, d].
      fakes: Floating-point [m, d]; the published protocol takes 50,000 of each.
      k: Neighbours.

    Raises:
      ValueError: if the features have another form or are not finite, or a set has
        not more than k images.
    """
    reals, fakes = check_pair(reals, fakes)
    if min(len(reals), len(fakes)) <= k:
        raise ValueError(
            f"{len(reals)} reals and {len(fakes)} fakes: each needs more than k = {k}"
        )
    # Distances stay as they are, and float32 keeps more digits of them near zero.
    centre = reals.mean(axis=0, dtype=np.float64)
    reals, fakes = ((x - centre).astype(np.float32) for x in (reals, fakes))
    precision = _share_inside(fakes, reals, squared_radii(reals, k))
    recall = _share_inside(reals, fakes, squared_radii(fakes, k))
    return precision, recall


def squared_radii(points: np.ndarray, k: int) -> np.ndarray:
    """Returns the squared distance of each point to its k-th neighbour, float32 [n].

    Args:
      points: float32 [n, d], n greater than k. Equal points are neighbours.
      k: Neighbours; the point itself is none.
    """
    radii = []
    for row, rows in _blocks(points):
        nearest = jnp.full((len(rows), k), jnp.inf)
        for column, columns in _blocks(points):
            nearest = _nearer(nearest, rows, columns, row - column)
        radii.append(nearest.max(axis=1))
    return np.concatenate(radii)


def _share_inside(points: np.ndarray, centres: np.ndarray, radii: np.ndarray) -> float:
    inside = 0
    for _, rows in _blocks(points):
        found = jnp.zeros(len(rows), bool)
        for column, columns in _blocks(centres):
            found |= _is_inside(rows, columns, radii[column : column + len(columns)])
        inside += int(found.sum())
    return inside / len(points)


def _blocks(points: np.ndarray) -> list[tuple[int, np.ndarray]]:
    return [(i, points[i : i + _BLOCK]) for i in range(0, len(points), _BLOCK)]


@jax.jit
def _nearer(
    nearest: jax.Array, rows: jax.Array, columns: jax.Array, offset: jax.Array
) -> jax.Array:
    """Returns the k smallest of the distances so far and those to the columns."""
    distances = _squared_distances(rows, columns)
    itself = jnp.arange(len(rows))[:, None] + offset == jnp.arange(len(columns))[None]
    distances = jnp.where(itself, jnp.inf, distances)
    k = nearest.shape[1]
    smallest = -lax.top_k(-distances, min(k, len(columns)))[0]
    return -lax.top_k(-jnp.concatenate([nearest, smallest], axis=1), k)[0]


@jax.jit
def _is_inside(rows: jax.Array, columns: jax.Array, radii: jax.Array) -> jax.Array:
    return jnp.any(_squared_distances(rows, columns) <= radii[None], axis=1)


def _squared_distances(a: jax.Array, b: jax.Array) -> jax.Array:
    # In full precision: tensor cores would round the features to three digits.
    product = partial(jnp.matmul, precision=lax.Precision.HIGHEST)
    squares = jnp.sum(a * a, axis=1)[:, None] + jnp.sum(b * b, axis=1)[None]
    return jnp.maximum(squares - 2 * product(a, b.T), 0)
