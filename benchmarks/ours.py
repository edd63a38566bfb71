"""Times this project's steps at one resolution; `benchmarks.train_step` starts it.

Reads a request as JSON from the standard input and prints the answer as JSON: each
measurement is a separate process, as for the peers.
"""

import json
import sys
import time
from dataclasses import dataclass
from typing import Any

import jax
import ml_collections
import numpy as np

from progan_jax.data.pyramid import Pyramid, build_pyramid
from progan_jax.runtime.compiler import memory, set_precision
from progan_jax.runtime.mesh import make_mesh
from progan_jax.training.config import make_schedule
from progan_jax.training.stage import StageProgram


@dataclass
class Stage:
    """The compiled steps of one resolution on one device, and a state to train.

    Attributes:
      program: Prepared for noise.
      state: Donated to the program, and replaced by what it returns.
      compile_sec: Seconds that preparing took.
      started: Reading of time.perf_counter before.
    """

    program: StageProgram
    state: Any
    compile_sec: float
    started: float

    @property
    def compiled(self) -> jax.stages.Compiled:
        """The compiled steps."""
        assert self.program.compiled is not None, "it is prepared"
        return self.program.compiled

    def start(self, pairs: int) -> jax.Array:
        """Starts a dispatch; the result is ready when it has ended."""
        self.state, done = self.program.run(self.state, 0, pairs)
        return done


def prepare(config: Any, resolution: int) -> Stage:
    """Compiles the steps of a resolution."""
    schedule, mesh = make_schedule(config), make_mesh(jax.devices()[:1])
    pyramid = _noise(config, resolution, schedule.batch_size[resolution])
    program = StageProgram(config, schedule, resolution, mesh, pyramid.label_counts)
    state = program.create()
    started = time.perf_counter()
    program.prepare(pyramid)
    return Stage(program, state, time.perf_counter() - started, started)


def measure(config: Any, resolution: int, seconds: float) -> dict[str, Any]:
    """Trains on noise on one device.

    Args:
      config: A run's configuration.
      resolution: Resolution of the stage.
      seconds: Minimum length of the timed part.

    Returns:
      ms of a (D, G) pair, images of it, compile_sec and peak memory in bytes.
    """
    stage = prepare(config, resolution)
    return {
        "ms": 1000 * seconds_of_pair(stage, seconds),
        "images": make_schedule(config).pair_nimg(resolution),
        "compile_sec": stage.compile_sec,
        "peak_bytes": memory(stage.compiled),
        "device": jax.devices()[0].device_kind,
        "jax": jax.__version__,
    }


def _noise(config: Any, resolution: int, batch: int) -> Pyramid:
    rng = np.random.default_rng(0)
    shape = (2 * batch, resolution, resolution, config.model.channels)
    images = rng.integers(0, 256, shape, np.uint8)
    classes = config.model.num_classes
    labels = np.arange(len(images), dtype=np.int32) % classes if classes else None
    return build_pyramid("noise", images, labels, classes)


def seconds_of_pair(stage: Stage, seconds: float) -> float:
    """Returns the seconds of a pair in long dispatches, one always waiting."""
    stage.start(1).block_until_ready()
    started = time.perf_counter()
    before = stage.start(1)
    before.block_until_ready()
    one = time.perf_counter() - started
    # On slow devices a full dispatch would take minutes.
    several = max(min(stage.program.max_pairs, int(seconds / one / 2)), 1)
    pairs, started = 0, time.perf_counter()
    while time.perf_counter() - started < seconds:
        done = stage.start(several)
        before.block_until_ready()
        before, pairs = done, pairs + several
    before.block_until_ready()
    return (time.perf_counter() - started) / pairs


def main() -> None:
    """Answers one request."""
    request = json.load(sys.stdin)
    config = ml_collections.ConfigDict(request["config"])
    set_precision(config)
    print(json.dumps(measure(config, request["resolution"], request["seconds"])))


if __name__ == "__main__":
    main()
