"""Several seeds in one program: `jax.vmap` over state and order of images."""

import copy
import dataclasses
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from progan_jax.data.feed import ResidentBatches
from progan_jax.runtime.mesh import make_mesh
from progan_jax.training.config import Controls, make_schedule
from progan_jax.training.stage import StageProgram

_PAIRS = 8  # Of a dispatch.
_NUM_IMAGES = 256
_AXES: Any = (None, None, 0, 0)  # Of images, labels, indices and mirror.


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
    controls = Controls(
        jnp.int32(_PAIRS), jnp.ones(_PAIRS), rate, rate, jnp.zeros(_PAIRS)
    )
    axes: Any = 0, ResidentBatches(*_AXES), None
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
