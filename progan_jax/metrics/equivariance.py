"""Equivariance to translation, EQ-T: does a moved input give the moved image?

The input of the synthesis is moved, and its images are compared with moved images of
the input at rest, in decibels: the peak signal-to-noise ratio of both. Moves are by
whole pixels, or by any fraction of them, for which images are resampled.

Source: Karras et al. 2021, the metric EQ-T; constants as in the authors' program
(`eqt50k_int`, `eqt50k_frac`).
"""

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from progan_jax.metrics.image_sources import Fakes
from progan_jax.metrics.metric import Measurement
from progan_jax.models.common import one_hot

SAMPLES = 50_000

FARTHEST = 1 / 8  # The longest move along an axis, of the image's side.

_BATCH = 4  # Samples of one move.

_LOBES = 3  # Of the Lanczos filter on each side.

_BATCH_PIXELS = 2**16  # Of the samples computed at a time: 64 of 32x32.

# A purpose of the run's seed, other than those of other metrics.
_KEY = 6


def measure(images: Measurement, *, fractional: bool) -> dict[str, float]:
    """Returns the signal-to-noise ratio in dB of a snapshot's generator.

    Args:
      images: The generator's.
      fractional: Whether moves are by fractions of pixels.

    Raises:
      ValueError: if images are not finite, or all agree, as if none was moved.
    """
    fakes = images.source
    assert isinstance(fakes, Fakes), "checked before"
    options = replace(fakes.sampler.generator.options, dtype="float32")
    generator = fakes.sampler.generator.clone(options=options)
    sums = [
        np.asarray(
            _compiled(generator, fakes.variables, *inputs, fractional=fractional)
        )
        for inputs in _draw(images, fakes)
    ]
    batches = images.num_images // _BATCH
    squares, count = np.concatenate(sums)[:batches].sum(axis=0, dtype=np.float64)
    return {"{metric}": decibels(squares / count)}


def _draw(
    images: Measurement, fakes: Fakes
) -> Iterator[tuple[jax.Array, jax.Array, jax.Array]]:
    """Yields latents [k, 4, ...], classes [k, 4] and uniform numbers [k, 2].

    The numbers are in [0, 1], and those of a batch do not depend on k. The classes are
    those of real images.
    """
    generator, count = fakes.sampler.generator, images.num_images
    size = max(_BATCH_PIXELS // (_BATCH * generator.resolution**2), 1)
    size = min(size, count // _BATCH)
    sharding = images.sharding
    if sharding and size % sharding.num_devices:
        sharding = None
    labels = np.zeros(count, np.int32)
    if generator.num_classes:
        labels = np.asarray(fakes.reals.labels(count))
    key = jax.random.fold_in(jax.random.key(images.seed), _KEY)
    for first in range(0, count // _BATCH, size):
        numbers = first + jnp.arange(size)
        z, u = _draw_batches(key, numbers, generator.latent_size)
        classes = np.resize(labels[first * _BATCH :], (size, _BATCH))
        yield jax.device_put((z, classes, u), sharding)


def _draw_batches(
    key: jax.Array, numbers: jax.Array, width: int
) -> tuple[jax.Array, jax.Array]:
    """Draws latents [k, 4, width] and numbers [k, 2] of the batches of k numbers."""

    def draw(number: jax.Array) -> tuple[jax.Array, jax.Array]:
        of_z, of_u = jax.random.split(jax.random.fold_in(key, number))
        z = jax.random.normal(of_z, (_BATCH, width))
        return z, jax.random.uniform(of_u, (2,))

    return jax.vmap(draw)(numbers)


def squared_errors(
    generator: Any,
    variables: dict[str, Any],
    z: jax.Array,
    labels: jax.Array,
    u: jax.Array,
    *,
    fractional: bool,
) -> jax.Array:
    """Returns sums of squared errors, and the numbers of values that they are of.

    Everything is computed in float32 at the highest precision.

    Args:
      generator: A network of float32 whose synthesis takes a transform.
      variables: The generator's.
      z: Latents of k batches [k, n, latent_size].
      labels: Classes int [k, n].
      u: Moves of the batches along x and y [k, 2] in [0, 1]; 1/2 is none.
      fractional: Whether moves are not rounded to whole pixels.

    Returns:
      [k, 2].
    """
    side = generator.resolution

    def compare(z: jax.Array, labels: jax.Array, u: jax.Array) -> jax.Array:
        moves = (2 * u - 1) * FARTHEST * side
        moves = moves if fractional else jnp.round(moves)
        w = generator.apply(variables, z, one_hot(generator, labels), method="mapping")
        still, moved = (
            generator.apply(variables, w, transform=matrix, method="synthesis")
            for matrix in (jnp.eye(3), jnp.eye(3).at[:2, 2].set(-moves / side))
        )
        expected, inside = translate(still, moves, fractional=fractional)
        squares = jnp.square(moved - expected) * inside[None, :, :, None]
        count = jnp.sum(inside) * (math.prod(still.shape) // side**2)
        return jnp.stack([jnp.sum(squares), count.astype(squares.dtype)])

    with jax.default_matmul_precision("highest"):
        return jax.vmap(compare)(z, labels, u)


# One for all snapshots of a resolution.
_compiled = jax.jit(squared_errors, static_argnames=("generator", "fractional"))


def translate(
    images: jax.Array, moves: jax.Array, *, fractional: bool
) -> tuple[jax.Array, jax.Array]:
    """Moves images, and returns which pixels are made of the image alone.

    Args:
      images: [n, s, s, C].
      moves: Pixels to the right and down, [2]; whole ones unless `fractional`.
      fractional: Whether images are resampled by a Lanczos filter.

    Returns:
      The moved images, of zeros where there are none, and a mask bool [s, s].
    """
    side = images.shape[1]
    columns, rows = (_resampling(move, side, fractional) for move in moves)
    with jax.default_matmul_precision("highest"):
        moved = jnp.einsum("ik,nkjc->nijc", rows[0], images)
        moved = jnp.einsum("jk,nikc->nijc", columns[0], moved)
    return moved, rows[1][:, None] & columns[1][None]


def _resampling(
    move: jax.Array, side: int, fractional: bool
) -> tuple[jax.Array, jax.Array]:
    """Returns the weights of a row's pixels [s, s], and which have all of them [s]."""
    whole = jnp.floor(move) if fractional else jnp.round(move)
    offsets = jnp.arange(1 - _LOBES, 1 + _LOBES) if fractional else jnp.arange(1)
    taps = _lanczos(offsets - (move - whole)) if fractional else jnp.ones(1)
    sources = jnp.arange(side)[:, None] - whole.astype(jnp.int32) - offsets[None]
    there = jax.nn.one_hot(sources, side)  # Zero beyond the borders.
    weights = jnp.einsum("t,stk->sk", taps, there, precision="highest")
    return weights, jnp.all((sources >= 0) & (sources < side), axis=1)


def _lanczos(x: jax.Array) -> jax.Array:
    """Returns the weights of taps at distances x, of sum 1."""
    taps = jnp.sinc(x) * jnp.sinc(x / _LOBES)
    return taps / jnp.sum(taps)


def decibels(error: float) -> float:
    """Returns the peak signal-to-noise ratio of a mean square, of values in [-1, 1].

    Raises:
      ValueError: if the error is not finite, or zero.
    """
    if not math.isfinite(error):
        raise ValueError("images are not finite")
    if error == 0:
        raise ValueError("all images agree exactly, as where no move was far enough")
    return 20 * math.log10(2) - 10 * math.log10(error)
