"""A trained generator as a program of its own: StableHLO, with the weights inside.

Such a file needs JAX to run, and nothing of this package.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import export

from progan_jax.inference.generator import TrainedGenerator
from progan_jax.models.common import generate

PLATFORMS = ("cpu", "cuda", "tpu")


def export_generator(generator: TrainedGenerator) -> bytes:
    """Returns a program for any number of images, on any of `PLATFORMS`.

    Its arguments are latents, float32 [N, latent_dim], and where there are classes
    these, int32 [N]; of a class that is not there comes an image of none. It returns
    images, float32 [N, r, r, channels], about [-1, 1], not clipped.

    Returns:
      What `jax.export.deserialize(bytearray(...))` reads, which gives an object whose
      `call` takes those arguments.

    Raises:
      UserError: if its images are not finite.
    """
    generator.sample(1, seed=0)
    (count,) = export.symbolic_shape("n")
    arguments = [jax.ShapeDtypeStruct((count, generator.latent_dim), jnp.float32)]
    if generator.num_classes:
        arguments.append(jax.ShapeDtypeStruct((count,), jnp.int32))
    program = export.export(jax.jit(_draw(generator)), platforms=PLATFORMS)
    return bytes(program(*arguments).serialize())


def _draw(generator: TrainedGenerator) -> Callable[..., jax.Array]:
    network, params, alpha = generator.network, generator.params, generator.alpha

    def draw(z: jax.Array, labels: jax.Array | None = None) -> jax.Array:
        images = generate(network, {"params": params}, z, labels, jnp.float32(alpha))
        return images.astype(jnp.float32)

    return draw
