"""What a stage costs: parameters, multiply-adds and memory, counted from shapes."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
from flax import traverse_util

from progan_jax.models.common import Params, init_generator, init_params

# What a (D, G) pair needs at its peak, in outputs of all convolutions of both networks:
# compiled steps took 12 to 17 on CPUs and TPUs, and 11 with blocks computed anew.
_ACTIVATION_COPIES = 14

_COPIES_OF_REMAT = 11


@dataclass(frozen=True)
class StageCost:
    """Costs of training one resolution.

    Attributes:
      g_params: Parameters of G, every RGB layer counted.
      d_params: Parameters of D, likewise.
      multiply_adds: Of one forward pass of G for one image; D's are about as many.
      state_bytes: Of the whole training state, on every device.
      step_bytes: Rough estimate of a step's activations on one device.
    """

    g_params: int
    d_params: int
    multiply_adds: int
    state_bytes: int
    step_bytes: int


def stage_cost(generator: Any, discriminator: Any, images: int) -> StageCost:
    """Returns the costs of one stage, computing nothing on a device.

    Args:
      generator: At the stage's resolution.
      discriminator: Likewise.
      images: That a device takes at a time.
    """
    g_shapes, d_shapes = jax.eval_shape(
        lambda: init_params(jax.random.key(0), generator, discriminator)
    )
    g_params, d_params = count_params(g_shapes), count_params(d_shapes)
    # G, its average and its two moments; D and its two moments.
    state_bytes = 4 * (4 * g_params + 3 * d_params)
    width = jnp.dtype(generator.options.dtype).itemsize
    copies = (
        _COPIES_OF_REMAT if generator.options.remat != "none" else _ACTIVATION_COPIES
    )
    activations = 2 * activation_count(generator) * images * width
    return StageCost(
        g_params=g_params,
        d_params=d_params,
        multiply_adds=multiply_adds(generator),
        state_bytes=state_bytes,
        step_bytes=copies * activations,
    )


def count_params(params: Params) -> int:
    """Returns the number of scalars in a tree of arrays or of their shapes."""
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(params))


def multiply_adds(generator: Any) -> int:
    """Returns G's multiply-adds for one image without its RGB layers."""
    return sum(pixels * math.prod(kernel) for kernel, pixels in _layers(generator))


def activation_count(generator: Any) -> int:
    """Returns the numbers that G's layers put out for one image, but the RGB layers."""
    return sum(pixels * kernel[-1] for kernel, pixels in _layers(generator))


def _layers(generator: Any) -> Sequence[tuple[tuple[int, ...], int]]:
    """Returns each layer's shape of the kernel, and how often that is applied."""
    module: Any = generator  # It can be hashed, which its type does not say.
    return _trace_layers(module)


@cache  # The runs of a table have the same networks.
def _trace_layers(generator: Any) -> Sequence[tuple[tuple[int, ...], int]]:
    shapes = jax.eval_shape(lambda: init_generator(jax.random.key(0), generator))
    layers = []
    for path, leaf in traverse_util.flatten_dict(shapes).items():
        block = re.fullmatch(r"block_(\d+)x\d+", path[0])
        if block and path[-1] == "kernel":
            # A dense layer's makes all pixels at once.
            side = int(block[1]) if len(leaf.shape) == 4 else 1
            layers.append((leaf.shape, side * side))
    return layers
