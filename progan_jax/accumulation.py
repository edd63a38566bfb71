"""Gradients of a batch, taken over a part of it at a time to save memory."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax


def accumulate(
    run: Callable[[Any], Any], batch: Any, num_parts: int, num_shards: int
) -> Any:
    """Returns the mean of `run` over equal parts of the batch.

    That is `run` of the whole batch, up to rounding, if `run` is a mean over images
    that are independent but within groups that no part cuts.

    Args:
      run: From a part to a tree of arrays, means over its images.
      batch: Tree of arrays [N, ...].
      num_parts: Parts; 1 runs the batch as it is.
      num_shards: Devices that N is split over; every part has as many consecutive
        images of each.
    """
    if num_parts == 1:
        return run(batch)
    parts = jax.tree.map(lambda x: _split(x, num_parts, num_shards), batch)

    def add(total: Any, part: Any) -> tuple[Any, None]:
        return jax.tree.map(jnp.add, total, run(part)), None

    def run_first(parts: Any) -> Any:
        return run(jax.tree.map(lambda x: x[0], parts))

    shapes = jax.eval_shape(run_first, parts)
    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
    total, _ = lax.scan(add, zeros, parts)
    return jax.tree.map(lambda x: x / num_parts, total)


def _split(x: jax.Array, num_parts: int, num_shards: int) -> jax.Array:
    """Maps [N, ...] to [num_parts, N / num_parts, ...], each device's images apart."""
    rest = x.shape[1:]
    apart = x.reshape(num_shards, num_parts, -1, *rest)
    return apart.swapaxes(0, 1).reshape(num_parts, -1, *rest)
