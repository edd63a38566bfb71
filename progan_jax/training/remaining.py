"""Estimate of the time that is left of a run."""

import functools
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import ml_collections

from progan_jax.training.config import make_networks
from progan_jax.training.costs import PASSES, multiply_adds
from progan_jax.training.schedule import Schedule

# Half-life of a tick's weight, in training time; a tick of one pair takes a thousandth.
_HALF_LIFE_SEC = 60.0

# Share of the peak of a matrix product that a stage's steps reach where arithmetic
# bounds them: 0.32 to 0.42 on an H100 at 16x16 to 256x256 (2026-11-28).
_SHARE_OF_PEAK = 0.35


@dataclass(frozen=True)
class StageWork:
    """What one (D, G) pair of a stage does.

    Attributes:
      layers: Number of layers of G, to which the number of launched kernels is
        proportional.
      flops: Multiplications and additions.
      images: Number of images that it shows.
    """

    layers: int
    flops: float
    images: int


def pair_work(
    config: ml_collections.ConfigDict, schedule: Schedule, resolution: int
) -> StageWork:
    """Returns what one pair of a resolution's stage does."""
    generator, _ = make_networks(config, resolution, per_device_batch=1)
    images = schedule.pair_nimg(resolution)
    flops = 2.0 * PASSES * multiply_adds(generator) * schedule.batch_size[resolution]
    return StageWork(len(generator.layers()), flops, images)


@functools.cache
def matmul_rate(dtype: str) -> float:
    """Measures a device's multiplications and additions of a matrix product, per sec.

    Products follow one another in one program, so that the time of calling it does not
    count. It takes some hundredths of a second, once in a process.
    """
    side, products = (512, 8) if jax.default_backend() == "cpu" else (4096, 16)

    @jax.jit
    def chain(x: jax.Array, factor: jax.Array) -> jax.Array:
        return jax.lax.fori_loop(0, products, lambda _, x: x @ factor, x)

    # Products of this constant matrix have its values again.
    factor = jnp.full((side, side), 1 / side, dtype)
    times = []
    for _ in range(4):  # The first one compiles.
        started = time.perf_counter()
        chain(factor, factor).block_until_ready()
        times.append(time.perf_counter() - started)
    return 2 * side**3 * products / min(times)


class RemainingTime:
    """Estimates the rest of a run from its pace so far.

    A stage that has run takes its own time per pair. One that has not takes the larger
    of two: that of launching its kernels, at the least measured time per layer, and
    that of its arithmetic, at the best measured rate or a share of the device's peak. A
    tick is weighted by its duration, so that a short one changes the estimate little.

    Attributes:
      schedule: Schedule of the run.
    """

    def __init__(
        self, schedule: Schedule, work: Mapping[int, StageWork], peak: float
    ) -> None:
        """Starts without a pace.

        Args:
          schedule: Schedule of the run.
          work: Of a pair, by the stage's resolution.
          peak: Multiplications and additions of a matrix product on all devices, per
            second.
        """
        self.schedule, self._work = schedule, work
        self._rate = _SHARE_OF_PEAK * peak
        # Weighted seconds and pairs by resolution.
        self._seen: dict[int, tuple[float, float]] = {}

    def add(self, resolution: int, images: int, sec: float) -> None:
        """Updates the pace by a tick of `images` images that took `sec` seconds."""
        kept = 0.5 ** (sec / _HALF_LIFE_SEC)
        total, pairs = self._seen.get(resolution, (0.0, 0.0))
        shown = images / self._work[resolution].images
        self._seen[resolution] = kept * total + sec, kept * pairs + shown

    def after(self, nimg: int) -> float:
        """Returns the number of seconds that are left after image `nimg`.

        At most so many if a plateau may end the last stage. NaN before that stage, as
        nobody knows how long the others last. `add` must have been called before.
        """
        schedule, total = self.schedule, 0.0
        present = schedule.stage_at(nimg).resolution
        if schedule.may_end_before and present != schedule.resolutions[-1]:
            return math.nan
        for stage in schedule.stages():
            images = schedule.stage_end(stage) - max(nimg, stage.start_nimg)
            total += self.of(stage.resolution, max(images, 0))
        return total

    def of(self, resolution: int, images: int) -> float:
        """Returns the number of seconds that `images` images of a stage take.

        `add` must have been called before.
        """
        return images / self._work[resolution].images * self._pair_sec(resolution)

    def _pair_sec(self, resolution: int) -> float:
        times = {side: sec / pairs for side, (sec, pairs) in self._seen.items()}
        if resolution in times:
            return times[resolution]
        work = self._work
        per_layer = min(sec / work[side].layers for side, sec in times.items())
        rates = [work[side].flops / sec for side, sec in times.items()]
        launches = per_layer * work[resolution].layers
        arithmetic = work[resolution].flops / max(self._rate, *rates)
        return max(launches, arithmetic)
