"""What a stage costs: parameters, multiply-adds and memory, counted from shapes."""

import math
from dataclasses import dataclass

import jax
import jax.numpy as jnp

from progan_jax.networks.layers import num_features
from progan_jax.networks.progan import Discriminator, Generator, stage_resolutions
from progan_jax.state import Params, init_params

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
      g_active: Parameters of G with the newest RGB layer only.
      d_active: Parameters of D, likewise.
      multiply_adds: Of one forward pass of G for one image; D's are about as many.
      state_bytes: Of the whole training state, on every device.
      step_bytes: Rough estimate of a step's activations on one device.
    """

    g_params: int
    d_params: int
    g_active: int
    d_active: int
    multiply_adds: int
    state_bytes: int
    step_bytes: int


def stage_cost(
    generator: Generator, discriminator: Discriminator, images: int
) -> StageCost:
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
    width = jnp.dtype(generator.dtype).itemsize
    copies = _COPIES_OF_REMAT if generator.remat else _ACTIVATION_COPIES
    activations = 2 * activation_count(generator) * images * width
    return StageCost(
        g_params=g_params,
        d_params=d_params,
        g_active=_count_active(g_shapes, generator.resolution),
        d_active=_count_active(d_shapes, generator.resolution),
        multiply_adds=multiply_adds(generator),
        state_bytes=state_bytes,
        step_bytes=copies * activations,
    )


def count_params(params: Params) -> int:
    """Returns the number of scalars in a tree of arrays or of their shapes."""
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(params))


def multiply_adds(generator: Generator) -> int:
    """Returns G's multiply-adds for one image without its RGB layers."""
    widths = _widths(generator)
    dense = (generator.latent_size + generator.num_classes) * 16 * widths[4]
    total = dense + 16 * 9 * widths[4] ** 2
    for r in stage_resolutions(generator.resolution)[1:]:
        total += r * r * 9 * (widths[r // 2] * widths[r] + widths[r] ** 2)
    return total


def activation_count(generator: Generator) -> int:
    """Returns the numbers that G's convolutions put out for one image."""
    widths = _widths(generator)
    return sum(2 * r * r * width for r, width in widths.items())


def _widths(generator: Generator) -> dict[int, int]:
    return {
        r: num_features(
            r.bit_length() - 2,
            generator.fmap_base,
            generator.fmap_decay,
            generator.fmap_max,
        )
        for r in stage_resolutions(generator.resolution)
    }


def _count_active(shapes: Params, resolution: int) -> int:
    newest = f"rgb_{resolution}x{resolution}"
    active = {
        name: layer
        for name, layer in shapes.items()
        if "rgb" not in name or name.endswith(newest)
    }
    return count_params(active)
