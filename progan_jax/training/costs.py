"""Costs of a stage: parameters, multiply-adds and memory, computed from shapes."""

import math
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from progan_jax.models.common import Params, init_params, split_trained

# Peak memory of a (D, G) pair, in multiples of the outputs of both networks'
# convolutions: compiled steps took 12 to 17 on CPUs and TPUs, 11 recomputing blocks,
# StyleGAN's with R1 9.
_ACTIVATION_COPIES = 14

_COPIES_OF_REMAT = 11

# Forward passes, of G or D for one image, that have as much arithmetic as a pair: an
# estimate of a D step with its penalty's double backward pass and a G step.
PASSES = 20


@dataclass(frozen=True)
class StageCost:
    """Costs of training one resolution.

    Attributes:
      g_params: Number of G's parameters, including every RGB layer.
      g_trained: How many of them the stage trains.
      d_params: Number of D's parameters, without those of frozen networks.
      multiply_adds: Number in one forward pass of G for one image; D has about as many.
      state_bytes: Size of the training state, which every device holds.
      step_bytes: Rough estimate of the size of a step's activations on one device.
    """

    g_params: int
    g_trained: int
    d_params: int
    multiply_adds: int
    state_bytes: int
    step_bytes: int


def stage_cost(generator: Any, discriminator: Any, images: int) -> StageCost:
    """Returns the costs of one stage, without computing anything on a device.

    Args:
      generator: G at the stage's resolution.
      discriminator: D at the same resolution.
      images: Number of images that a device takes at a time.
    """
    g_shapes, d_shapes = jax.eval_shape(
        lambda: init_params(jax.random.key(0), generator, discriminator)
    )
    g_params, d_params = count_params(g_shapes), count_params(d_shapes)
    g_trained = count_params(split_trained(generator, g_shapes)[0])
    # G; the average and the two moments of what is trained; D and its two moments.
    state_bytes = 4 * (g_params + 3 * g_trained + 3 * d_params)
    width = jnp.dtype(generator.options.dtype).itemsize
    copies = (
        _COPIES_OF_REMAT if generator.options.remat != "none" else _ACTIVATION_COPIES
    )
    activations = 2 * activation_count(generator) * images * width
    return StageCost(
        g_params=g_params,
        g_trained=g_trained,
        d_params=d_params,
        multiply_adds=multiply_adds(generator),
        state_bytes=state_bytes,
        step_bytes=copies * activations,
    )


def count_params(params: Params) -> int:
    """Returns the number of scalars in a tree of arrays or shapes."""
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(params))


def multiply_adds(generator: Any) -> int:
    """Returns the number of G's multiply-adds for one image, in its large layers."""
    return sum(pixels * math.prod(kernel) for kernel, pixels in generator.layers())


def activation_count(generator: Any) -> int:
    """Returns the number of activations of G for one image, after its large layers."""
    return sum(pixels * kernel[-1] for kernel, pixels in generator.layers())
