"""The measured peaks of the device, and the least time of a (D, G) pair.

The floor of a pair is the larger of two times:
  arithmetic  20 forward passes x 2 x multiply-adds x images / measured matmul peak
  memory      20 forward passes x activations x 2 (written once, read once) x bytes
              x images, and the optimizers' 28 bytes for each parameter of D and 40 for
              each of G, / measured bandwidth
A forward pass is one of G or D for one image, which cost about the same. The 20 are an
estimate of one D step with its penalty's double backward pass and one G step. Adam
reads a gradient, a parameter and two moments and writes the last three, of 4 bytes
each; the average of G is read with G and written.

As a program it prints the two peaks and where they were measured:
`python -m benchmarks.roofline float32`.
"""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp

from progan_jax.errors import UserError
from progan_jax.models.progan.networks import Discriminator, Generator
from progan_jax.runtime.command_line import run
from progan_jax.runtime.environment import environment
from progan_jax.training.costs import (
    PASSES,
    activation_count,
    multiply_adds,
    stage_cost,
)

_G_BYTES, _D_BYTES = 40, 28  # Of a parameter, in an update.
_DTYPES = ("float32", "bfloat16", "float64")
_SECONDS = 1.0  # Of each measurement.
_SIDES = {"cpu": (1024, 2048), "gpu": (4096, 8192), "tpu": (4096, 8192)}
_COPY_BYTES = {"cpu": 2**28, "gpu": 2**31, "tpu": 2**30}


@dataclass(frozen=True)
class Peaks:
    """The device's limits.

    Attributes:
      flops: Multiplications and additions of a matrix product, per second.
      bandwidth: Bytes read and written, per second.
    """

    flops: float
    bandwidth: float


@dataclass(frozen=True)
class Floors:
    """What a (D, G) pair must cost at least.

    Attributes:
      flops: Multiplications and additions.
      num_bytes: Bytes of activations and optimizers that pass through memory.
    """

    flops: float
    num_bytes: float

    def seconds(self, peaks: Peaks) -> float:
        """Returns the larger of the two floors."""
        return max(self.flops / peaks.flops, self.num_bytes / peaks.bandwidth)


def floors(generator: Generator, discriminator: Discriminator, batch: int) -> Floors:
    """Returns the floors of a pair of `batch` images by the formula above."""
    width = jnp.dtype(generator.options.dtype).itemsize
    activations = PASSES * 2.0 * activation_count(generator) * width * batch
    cost = stage_cost(generator, discriminator, batch)
    optimizers = _G_BYTES * cost.g_params + _D_BYTES * cost.d_params
    return Floors(
        PASSES * 2.0 * multiply_adds(generator) * batch, activations + optimizers
    )


def measure_peaks(dtype: str) -> Peaks:
    """Measures the best matrix product of a dtype, and the best copy."""
    platform = jax.devices()[0].platform
    flops = max(_matmul(side, dtype) for side in _SIDES[platform])
    return Peaks(flops, _copy(_COPY_BYTES[platform]))


def _matmul(side: int, dtype: str) -> float:
    # Of random numbers: a chip takes less power, and so may run faster, on constants.
    a = jax.random.normal(jax.random.key(0), (side, side), dtype)
    return 2 * side**3 / _fastest(jax.jit(lambda x: x @ x), a)


def _copy(num_bytes: int) -> float:
    a = jnp.ones(num_bytes // 4, jnp.float32)
    return 2 * num_bytes / _fastest(jax.jit(lambda x: x + 1), a)


def _fastest(run: Callable[[jax.Array], jax.Array], a: jax.Array) -> float:
    """Returns the seconds of the fastest call in a second."""
    run(a).block_until_ready()
    times, began = [], time.perf_counter()
    while time.perf_counter() - began < _SECONDS or len(times) < 3:
        started = time.perf_counter()
        run(a).block_until_ready()
        times.append(time.perf_counter() - started)
    return min(times)


def main(dtype: str) -> None:
    """Prints the peaks as JSON."""
    if dtype not in _DTYPES:
        raise UserError(f"dtype {dtype!r} must be one of {', '.join(_DTYPES)}; choose")
    jax.config.update("jax_enable_x64", dtype == "float64")
    peaks = measure_peaks(dtype)
    device = jax.devices()[0].device_kind
    answer = {"device": device, "environment": environment(), **vars(peaks)}
    print(json.dumps(answer))


if __name__ == "__main__":
    run(main, "dtype")
