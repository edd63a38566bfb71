"""What all families share: parameters, initial values, resolutions, D's output."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax import traverse_util

Params = dict[str, Any]
Metrics = dict[str, jax.Array]


class DiscriminatorOutput(NamedTuple):
    """What D says of a batch.

    Attributes:
      scores: [N], unbounded, higher for images that look real.
      logits: Class logits [N, num_classes] (AC-GAN head).
      stddev: [N], the value that the minibatch statistic appended; zeros without it.
    """

    scores: jax.Array
    logits: jax.Array
    stddev: jax.Array


DiscriminatorFn = Callable[[jax.Array, int], DiscriminatorOutput]


def init_params(
    key: jax.Array, generator: nn.Module, discriminator: nn.Module
) -> tuple[Params, Params]:
    """Initialises both networks; every layer's key is folded with its path (linen)."""
    key_g, key_d = jax.random.split(key)
    return init_generator(key_g, generator), init_discriminator(key_d, discriminator)


def init_generator(key: jax.Array, generator: Any) -> Params:
    """Initialises G alone."""
    labels = jnp.zeros((1, generator.num_classes)) if generator.num_classes else None
    z = jnp.zeros((1, generator.latent_size))
    params: Any = generator.init(key, z, jnp.ones([]), labels)["params"]
    return params


def init_discriminator(key: jax.Array, discriminator: Any) -> Params:
    """Initialises D alone."""
    side, channels = discriminator.resolution, discriminator.channels
    images = jnp.zeros((1, side, side, channels))
    params: Any = discriminator.init(key, images, jnp.ones([]))["params"]
    return params


def parameter_shapes(network: nn.Module) -> dict[tuple[str, ...], tuple[int, ...]]:
    """Returns the shapes of a network's parameters by their paths, computing none."""
    # Generators alone have latents.
    init = init_generator if hasattr(network, "latent_size") else init_discriminator
    params = jax.eval_shape(lambda: init(jax.random.key(0), network))
    flat = traverse_util.flatten_dict(params)
    return {path: array.shape for path, array in flat.items()}


def carry_over(born: Params, carried: Params) -> Params:
    """Returns `born` with every leaf of `carried` in its place."""
    flat = traverse_util.flatten_dict(born) | traverse_util.flatten_dict(carried)
    return traverse_util.unflatten_dict(flat)


def stage_resolutions(resolution: int, start: int = 4) -> list[int]:
    """Returns start, 2 * start, ..., resolution."""
    return [2**k for k in range(start.bit_length() - 1, resolution.bit_length())]


def block_name(resolution: int) -> str:
    """Returns the name of a resolution's block."""
    return f"block_{resolution}x{resolution}"


RESOLUTIONS = tuple(stage_resolutions(1024))
