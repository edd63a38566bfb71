"""Export of a trained generator as StableHLO programs that include the weights.

Running a program needs JAX, and nothing of this package.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import export

from progan_jax.inference.generator import TrainedGenerator
from progan_jax.inference.sampling import seed_key
from progan_jax.models.common import generate, map_latents, one_hot, synthesise
from progan_jax.models.layers import lerp

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
    network, variables, alpha = generator.network, generator.variables, generator.alpha

    def draw(z: jax.Array, labels: jax.Array | None = None) -> jax.Array:
        numbers, key = jnp.arange(z.shape[0]), seed_key(0)
        images = generate(
            network, variables, z, labels, jnp.float32(alpha), numbers, key
        )
        return images.astype(jnp.float32)

    generator.sample(1, seed=0)
    return _export(draw, *_inputs(generator))


def export_mapping(generator: TrainedGenerator) -> bytes:
    """Returns the program of a style-based generator from latents to styles.

    Its arguments are those of `export_generator`'s program and psi, a float32 scalar;
    1 truncates nothing. It returns styles, float32 [N, num_layers, w_size], truncated
    in as many layers as the generator's options say.

    Raises:
      UserError: if the generator is not style-based.
    """
    generator.check_style_based("mapping")
    variables, cutoff = generator.variables, generator.read_style().truncation_cutoff
    network = generator.network.clone(truncation_psi=0.0, truncation_cutoff=cutoff)

    def map_to_styles(z: jax.Array, *rest: jax.Array) -> jax.Array:
        *labels, psi = rest
        classes = labels[0] if labels else None
        w = map_latents(network, variables, z, classes)
        # Linear in psi: w itself in the layers that are not truncated.
        averages: Any = network.apply(
            variables, w, one_hot(network, classes), method="truncate"
        )
        return lerp(averages, w[:, None], psi).astype(jnp.float32)

    scalar = jax.ShapeDtypeStruct((), jnp.float32)
    return _export(map_to_styles, *_inputs(generator), scalar)


def export_synthesis(generator: TrainedGenerator, noise: str = "random") -> bytes:
    """Returns the program of a style-based generator from styles to images.

    Its argument are styles, as `export_mapping`'s program returns them, and for random
    noise a seed, a uint32 scalar. It returns what `export_generator`'s program does.

    Raises:
      UserError: if images are not finite, the kind of noise is unknown, or the
        generator is not style-based.
    """
    generator.read_style(noise=noise)
    network, alpha = generator.network.clone(noise_mode=noise), generator.alpha
    variables = generator.variables

    def draw(w: jax.Array, seed: int | jax.Array = 0) -> jax.Array:
        numbers, key = jnp.arange(w.shape[0]), seed_key(seed)
        images = synthesise(
            network, variables, w, None, jnp.float32(alpha), numbers, key
        )
        return images.astype(jnp.float32)

    generator.sample(1, seed=0, noise=noise)
    (count,) = export.symbolic_shape("n")
    shape = (count, generator.num_layers, network.options.w_size)
    seeds = [jax.ShapeDtypeStruct((), jnp.uint32)] if noise == "random" else []
    return _export(draw, jax.ShapeDtypeStruct(shape, jnp.float32), *seeds)


def _inputs(generator: TrainedGenerator) -> list[jax.ShapeDtypeStruct]:
    """Returns the shapes of latents, and of classes if there are any."""
    (count,) = export.symbolic_shape("n")
    inputs = [jax.ShapeDtypeStruct((count, generator.latent_dim), jnp.float32)]
    if generator.num_classes:
        inputs.append(jax.ShapeDtypeStruct((count,), jnp.int32))
    return inputs


def _export(program: Callable[..., jax.Array], *inputs: jax.ShapeDtypeStruct) -> bytes:
    exported = export.export(jax.jit(program), platforms=PLATFORMS)
    return bytes(exported(*inputs).serialize())
