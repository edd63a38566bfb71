"""Images that mix the styles of several latents, to be measured as others are.

Source: Karras et al. 2019, section 3.1 and table 2: "randomizing" latents and the
crossover points between them. The authors' program for it is not public.
"""

from typing import Any

import jax
import jax.numpy as jnp

from progan_jax.errors import UserError
from progan_jax.models.common import map_latents, one_hot, synthesise


def check_layers(name: str, generator: Any, latents: int) -> None:
    """Raises UserError if a generator has fewer layers than there are latents.

    Args:
      name: Name of its snapshot.
      generator: A style-based one.
      latents: Number of latents that an image mixes.
    """
    if latents > generator.num_layers:
        side, layers = generator.resolution, generator.num_layers
        raise UserError(
            f"config.eval.metrics: the styles of {latents} latents need as many "
            f"layers, and snapshot {name} of {side}x{side} has {layers}; name a later "
            "snapshot in config.eval.snapshot"
        )


def generate_mixed(
    generator: Any,
    variables: dict[str, Any],
    z: jax.Array,
    labels: jax.Array | None,
    alpha: jax.Array,
    numbers: jax.Array,
    key: jax.Array,
    *,
    latents: int,
) -> jax.Array:
    """Returns images whose layers take the styles of several latents in turn.

    Args:
      generator: A style-based one, of more layers than latents, or as many.
      variables: The generator's.
      z: The first latents [N, latent_size]; the others are drawn.
      labels: Classes int [N] of all latents, or None.
      alpha: Weight of the newest block.
      numbers: The images' numbers, int [N]: an image does not depend on its batch.
      key: Of what is drawn.
      latents: How many are mixed in an image, from 2 on.

    Returns:
      [N, r, r, channels], truncated as the generator's images are.
    """
    keys = jax.vmap(jax.random.fold_in, (None, 0))(key, numbers)
    others = jax.vmap(lambda k: jax.random.normal(k, (latents - 1, z.shape[1])))(keys)
    every = jnp.concatenate([z[:, None], others], axis=1)
    w = jnp.stack(
        [
            map_latents(generator, variables, every[:, i], labels)
            for i in range(latents)
        ],
        axis=1,
    )
    crossovers = jax.vmap(
        lambda k: draw_crossovers(k, generator.num_layers, latents - 1)
    )(keys)
    layers = jnp.arange(generator.num_layers).reshape(1, -1, 1)
    chosen = jnp.sum(crossovers[:, None] <= layers, axis=-1)
    mixed = jnp.take_along_axis(w, chosen[..., None], axis=1)
    classes = one_hot(generator, labels)
    mixed = generator.apply(variables, mixed, classes, method="truncate")
    return synthesise(generator, variables, mixed, labels, alpha, numbers, key)


def draw_crossovers(key: jax.Array, num_layers: int, count: int) -> jax.Array:
    """Draws the layers at which another latent begins: distinct, int [count]."""
    key = jax.random.fold_in(key, 1)  # Not that of the latents.
    return 1 + jax.random.choice(key, num_layers - 1, (count,), replace=False)
