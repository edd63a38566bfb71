"""The speed of several seeds in one program, compared with one after another.

    python -m benchmarks.seeds --config=configs/cifar10.py [--seeds=1,2,5,10]
        [--resolutions=4,8] [--seconds=5]

A recipe of tiny steps is bound by latency on a GPU: one program that trains several
seeds (`jax.vmap` over state and order of images) might take little longer than one.
Prints a Markdown table: (D, G) pairs times seeds per second, and how much more that is
than one seed alone gives.
"""

import copy
import dataclasses
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags

from benchmarks.results import line
from benchmarks.stages import CONFIG, choose_stages
from progan_jax.data.feed import ResidentBatches
from progan_jax.errors import UserError
from progan_jax.runtime.command_line import run
from progan_jax.runtime.compiler import set_precision
from progan_jax.runtime.mesh import make_mesh
from progan_jax.training.config import Controls, make_schedule
from progan_jax.training.stage import StageProgram
from progan_jax.training.validation import validate

SEEDS = flags.DEFINE_list("seeds", ["1", "2", "5", "10"], "Numbers of seeds.")
SECONDS = flags.DEFINE_float("seconds", 5.0, "Of each measurement.", lower_bound=0.01)

_PAIRS = 8  # Of a dispatch.
_NUM_IMAGES = 256


def main() -> None:
    """Measures every resolution with every number of seeds."""
    config: Any = CONFIG.value
    resolutions = choose_stages(config)
    validate(config, 1)
    set_precision(config)
    numbers = [int(n) if n.isdecimal() else 0 for n in SEEDS.value]
    if not all(numbers):
        raise UserError(
            f"--seeds={','.join(SEEDS.value)}: each must be at least 1; write 1,2,5"
        )
    header = ["resolution", "seeds", "compile, s", "pairs x seeds/s", "of one seed's"]
    print(line(header), line(["---"] * len(header)), sep="\n")
    for resolution in resolutions:
        alone = None
        for number in numbers:
            compile_sec, rate = measure(config, resolution, number, SECONDS.value)
            alone = alone or rate / number
            cells = [resolution, number, f"{compile_sec:.1f}", f"{rate:,.2f}"]
            print(line([*map(str, cells), f"{rate / alone:.2f}"]), flush=True)


def measure(
    config: Any, resolution: int, number: int, at_least: float
) -> tuple[float, float]:
    """Trains several seeds in one program.

    Args:
      config: A run's configuration.
      resolution: Resolution of the stage.
      number: Number of seeds.
      at_least: Minimum length of the timed part in seconds.

    Returns:
      The seconds of compiling, and pairs times seeds per second.
    """
    states, steps = _states(config, resolution, number)
    batches = _batches(config, resolution, number)
    rate = jnp.full(_PAIRS, 1e-3)
    controls = Controls(jnp.int32(_PAIRS), jnp.ones(_PAIRS), rate, rate)
    axes = 0, ResidentBatches(None, None, 0, 0), None
    several = jax.jit(jax.vmap(steps.run, in_axes=axes), donate_argnums=0)
    started = time.perf_counter()
    compiled = several.lower(states, batches, controls).compile()
    compile_sec = time.perf_counter() - started
    states, done = compiled(states, batches, controls)
    done.block_until_ready()
    count, started = 0, time.perf_counter()
    while time.perf_counter() - started < at_least:
        states, done = compiled(states, batches, controls)
        done.block_until_ready()
        count += 1
    seconds = time.perf_counter() - started
    return compile_sec, count * _PAIRS * number / seconds


def _states(config: Any, resolution: int, number: int) -> tuple[Any, Any]:
    """Returns the stacked states of a number of seeds, and the steps."""
    schedule, mesh = make_schedule(config), make_mesh(jax.devices()[:1])
    states, program = [], None
    for seed in range(number):
        own = copy.deepcopy(config)
        own.seed = seed
        program = StageProgram(own, schedule, resolution, mesh)
        states.append(program.create())
    assert program is not None, "there is at least one"
    steps = dataclasses.replace(program.steps, batch_sharding=None)
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *states), steps


def _batches(config: Any, resolution: int, number: int) -> ResidentBatches:
    rng = np.random.default_rng(0)
    shape = (_NUM_IMAGES, resolution, resolution, config.model.channels)
    batch = make_schedule(config).batch_size[resolution]
    drawn = (number, _PAIRS, config.optim.d_repeats, batch)
    return ResidentBatches(
        images=jnp.asarray(rng.integers(0, 256, shape, np.uint8)),
        labels=jnp.zeros(_NUM_IMAGES, jnp.int32),
        indices=jnp.asarray(rng.integers(0, _NUM_IMAGES, drawn, np.int32)),
        mirror=jnp.zeros(drawn, bool),
    )


if __name__ == "__main__":
    flags.mark_flag_as_required("config")
    run(main)
