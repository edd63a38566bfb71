"""Times our generator of a StyleGAN-XL's stem; `benchmarks.stem` starts it.

Reads a request as JSON from the standard input and prints the answer as JSON: each
measurement is a separate process, as for the peer.
"""

import json
import sys
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks.timing import seconds_of
from progan_jax.models.stylegan_xl.generator import Generator
from progan_jax.models.stylegan_xl.options import Options
from progan_jax.runtime.environment import environment


def measure(request: dict[str, Any]) -> dict[str, Any]:
    """Returns ms of a forward pass and of its gradient, and the number of parameters.

    The gradient is that of the mean square of the images, by all parameters. Nothing
    is truncated, and no average follows.
    """
    resolution, seconds = request["resolution"], request["seconds"]
    generator = Generator(
        resolution,
        Options(
            resolution=resolution,
            layers=request["layers"],
            fmap_base=request["fmap_base"],
            fmap_max=request["fmap_max"],
            latent_size=request["latent_size"],
            w_size=request["w_size"],
        ),
    )
    z = jax.random.normal(jax.random.key(1), (request["batch"], generator.latent_size))
    variables = jax.jit(generator.init)(jax.random.key(0), z)
    params, stats = variables["params"], variables["stats"]

    def images(params: Any, stats: Any, z: jax.Array) -> jax.Array:
        return jnp.asarray(generator.apply({"params": params, "stats": stats}, z))

    def mean_square(*inputs: Any) -> jax.Array:
        return jnp.mean(jnp.square(images(*inputs)))

    inputs = params, stats, z
    forward, gradient = jax.jit(images), jax.jit(jax.grad(mean_square))
    return {
        "environment": environment(),
        "device": jax.devices()[0].device_kind,
        "parameters": sum(x.size for x in jax.tree.leaves(params["synthesis"])),
        "forward_ms": 1000 * seconds_of(lambda: forward(*inputs), seconds),
        "gradient_ms": 1000 * seconds_of(lambda: gradient(*inputs), seconds),
    }


def main() -> None:
    """Answers one request."""
    print(json.dumps(measure(json.load(sys.stdin))))


if __name__ == "__main__":
    main()
