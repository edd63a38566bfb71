"""How long a run will still take."""

from collections.abc import Mapping

from progan_jax.training.schedule import Schedule

# Training after which a tick counts half. A tick of one pair is a thousandth of it.
_HALF_LIFE_SEC = 60.0


class RemainingTime:
    """Estimates the rest of a run from the pace of its newest minutes.

    A stage's images take as long as G's multiply-adds say; a tick counts by the time
    that it took, so that a short one moves the estimate little.
    """

    def __init__(self, schedule: Schedule, multiply_adds: Mapping[int, int]) -> None:
        """Starts without a pace.

        Args:
          schedule: The run's.
          multiply_adds: Of an image, by the stage's resolution.
        """
        self._schedule, self._costs = schedule, multiply_adds
        self._sec = self._work = 0.0

    def add(self, resolution: int, images: int, sec: float) -> None:
        """Takes a tick of so many images into the pace."""
        kept = 0.5 ** (sec / _HALF_LIFE_SEC)
        self._sec = kept * self._sec + sec
        self._work = kept * self._work + images * self._costs[resolution]

    def after(self, nimg: int) -> float:
        """Returns the seconds from image `nimg` on, once there is a pace."""
        work = 0.0
        for stage in self._schedule.stages():
            images = self._schedule.stage_end(stage) - max(nimg, stage.start_nimg)
            work += max(images, 0) * self._costs[stage.resolution]
        return work * self._sec / self._work
