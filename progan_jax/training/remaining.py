"""Estimate of the time that is left of a run."""

from collections.abc import Mapping

from progan_jax.training.schedule import Schedule

# Half-life of a tick's weight, in training time; a tick of one pair takes a thousandth.
_HALF_LIFE_SEC = 60.0


class RemainingTime:
    """Estimates the rest of a run from its pace in the last minutes.

    The time per image is taken as proportional to G's multiply-adds. A tick is weighted
    by its duration, so that a short one changes the estimate little.
    """

    def __init__(self, schedule: Schedule, multiply_adds: Mapping[int, int]) -> None:
        """Starts without a pace.

        Args:
          schedule: Schedule of the run.
          multiply_adds: Number for one image, by the stage's resolution.
        """
        self._schedule, self._costs = schedule, multiply_adds
        self._sec = self._work = 0.0

    def add(self, resolution: int, images: int, sec: float) -> None:
        """Updates the pace by a tick of `images` images that took `sec` seconds."""
        kept = 0.5 ** (sec / _HALF_LIFE_SEC)
        self._sec = kept * self._sec + sec
        self._work = kept * self._work + images * self._costs[resolution]

    def after(self, nimg: int) -> float:
        """Returns the number of seconds that are left after image `nimg`.

        `add` must have been called before.
        """
        work = 0.0
        for stage in self._schedule.stages():
            images = self._schedule.stage_end(stage) - max(nimg, stage.start_nimg)
            work += max(images, 0) * self._costs[stage.resolution]
        return work * self._sec / self._work
