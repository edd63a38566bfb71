"""Export of a trained generator as a StableHLO program that includes the weights.

Running the program needs JAX, and nothing of this package.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import export

from progan_jax.inference.generator import TrainedGenerator
from progan_jax.inference.sampling import seed_key
from progan_jax.models.common import generate

PLATFORMS = ("cpu", "cuda", "tpu")


def export_generator(generator: TrainedGenerator) -> bytes:
    """Returns a program for any number of images, on any of `PLATFORMS`.

    Its arguments are latents, float32 [N, latent_dim], and for a generator with classes
    these, int32 [N]; a class out of range gives a zero vector of classes. It returns
    images, float32 [N, r, r, channels], about [-1, 1], not clipped.

    Returns:
      Input of `jax.export.deserialize(bytearray(...))`; the result of that has a method
      `call` with those arguments.

    Raises:
      UserError: if images are not finite.
    """
    generator.sample(1, seed=0)
    (count,) = export.symbolic_shape("n")
    arguments = [jax.ShapeDtypeStruct((count, generator.latent_dim), jnp.float32)]
    if generator.num_classes:
        arguments.append(jax.ShapeDtypeStruct((count,), jnp.int32))
    program = export.export(jax.jit(_draw(generator)), platforms=PLATFORMS)
    return bytes(program(*arguments).serialize())


def _draw(generator: TrainedGenerator) -> Callable[..., jax.Array]:
    network, variables, alpha = generator.network, generator.variables, generator.alpha

    def draw(z: jax.Array, labels: jax.Array | None = None) -> jax.Array:
        numbers, key = jnp.arange(z.shape[0]), seed_key(0)
        images = generate(
            network, variables, z, labels, jnp.float32(alpha), numbers, key
        )
        return images.astype(jnp.float32)

    return draw
