"""The training schedule: a pure function of the number of images shown.

Time is counted in real images shown to D (nimg). A stage trains one resolution: it
fades in while alpha rises from 0 to 1, then stabilises. Values change only at the
boundaries of quanta of a few (D, G) pairs. Source: Karras et al. 2018, appendix
A.1, and the authors' programs, whose level of detail is lod = log2(R / r) + 1 - alpha.
"""

import dataclasses
import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from progan_jax.models.common import stage_resolutions

Table = Mapping[int, float]


@dataclass(frozen=True)
class Stage:
    """Training at one resolution.

    Attributes:
      resolution: Side in pixels.
      start_nimg: Number of images shown when the stage began, a quantum boundary.
      due_nimg: Number of images after which it was due. Alpha is measured from here, so
        that the overshoot of the last quantum is not lost.
      stem: Snapshot whose generator the stage begins with, for families that restart;
        "" for the first stage.
    """

    resolution: int
    start_nimg: int
    due_nimg: int
    stem: str = ""


@dataclass(frozen=True)
class Phase:
    """Values that hold during one quantum.

    Attributes:
      resolution: Side in pixels of real images and fakes.
      alpha: Weight of the newest block, 0..1; exactly 1 while stabilising.
      lod: Level of detail in the authors' sense, 0 at the final resolution.
      batch_size: Number of images in each D step and each G step, over all devices.
      g_learning_rate: Adam's rate for G.
      d_learning_rate: Adam's rate for D.
    """

    resolution: int
    alpha: float
    lod: float
    batch_size: int
    g_learning_rate: float
    d_learning_rate: float


@dataclass(frozen=True)
class Schedule:
    """The schedule of one run.

    Attributes:
      resolution: Final side in pixels.
      start_resolution: First side in pixels; `resolution` for a run that does not grow.
      total_kimg: Length of the run.
      stabilise_kimg: By resolution, length of training without a fade.
      fade_kimg: By resolution, length of the fade into it.
      batch_size: By resolution, number of images in a step over all devices.
      microbatch: By resolution, how many of them a device takes at a time; 0 = all.
      g_learning_rate: By resolution, Adam's rate for G.
      d_learning_rate: By resolution, Adam's rate for D.
      tick_kimg: By resolution, reporting interval.
      rampup_kimg: Length of the rise of both learning rates at the start of the run.
      quantum_pairs: Number of (D, G) pairs for which all values are held.
      d_repeats: Number of D steps in a pair; each shows new real images.
      recorded: Stages that the run has begun so far, which a new schedule must keep.
      sides: Resolutions of the stages; by default doubled from the first to the last.
      open_ended: Whether a stage whose stabilise_kimg is 0 lasts until `end_stage`.
      ended_nimg: Images shown when `end_stage` ended the run; 0 if it has not.
    """

    resolution: int
    total_kimg: float
    stabilise_kimg: Table
    fade_kimg: Table
    batch_size: Mapping[int, int]
    g_learning_rate: Table
    d_learning_rate: Table
    tick_kimg: Table
    microbatch: Mapping[int, int]
    start_resolution: int = 4
    rampup_kimg: float = 0
    quantum_pairs: int = 4
    d_repeats: int = 1
    recorded: Sequence[Stage] = field(default=())
    sides: tuple[int, ...] = ()
    open_ended: bool = False
    ended_nimg: int = 0

    @functools.cached_property
    def resolutions(self) -> tuple[int, ...]:
        """Resolutions of the stages, from the first to the last one."""
        doubled = stage_resolutions(self.resolution, self.start_resolution)
        return self.sides or tuple(doubled)

    @property
    def fades(self) -> bool:
        """Whether any stage fades in."""
        return any(self.fade_kimg[side] for side in self.resolutions[1:])

    @property
    def may_end_before(self) -> bool:
        """Whether a plateau may end the run before `end_nimg`."""
        return self.open_ended and not self.ended_nimg

    def pair_nimg(self, resolution: int) -> int:
        """Returns the number of real images that one (D, G) pair shows to D."""
        return self.batch_size[resolution] * self.d_repeats

    def quantum_nimg(self, resolution: int) -> int:
        """Returns the number of images in one quantum."""
        return self.pair_nimg(resolution) * self.quantum_pairs

    def stages(self) -> list[Stage]:
        """Returns all stages of the run: the recorded ones, then the computed ones."""
        stages = list(self.recorded) or [Stage(self.start_resolution, 0, 0)]
        while (following := self._following(stages[-1])) is not None:
            stages.append(following)
        return stages

    def stage_at(self, nimg: int) -> Stage:
        """Returns the stage that trains image `nimg`."""
        return next(s for s in reversed(self.stages()) if s.start_nimg <= nimg)

    def stage_end(self, stage: Stage) -> int:
        """Returns the number of images shown when the stage, or the run in it, ends."""
        following = self._following(stage)
        if following is not None:
            return following.start_nimg
        return self.ended_nimg or self._boundary(stage, self.total_kimg * 1000)

    def end_stage(self, nimg: int, stem: str) -> "Schedule":
        """Returns the schedule of a run whose present stage ends now.

        Args:
          nimg: Number of images shown, at the end of a tick.
          stem: Snapshot that the next stage begins with; see `Stage`.
        """
        stage = self.stage_at(nimg - 1)
        if stage.resolution == self.resolutions[-1]:
            return dataclasses.replace(self, ended_nimg=nimg)
        begun = [s for s in self.stages() if s.start_nimg <= stage.start_nimg]
        planned = self._following(stage)
        due = planned.due_nimg if planned and planned.start_nimg == nimg else nimg
        following = Stage(self._next_resolution(stage), nimg, due, stem)
        return dataclasses.replace(self, recorded=(*begun, following))

    def fade_end(self, stage: Stage) -> int:
        """Returns the number of images shown when alpha reaches 1."""
        if self._is_first(stage):
            return stage.start_nimg
        due = stage.due_nimg + self.fade_kimg[stage.resolution] * 1000
        return (
            stage.start_nimg if stage.start_nimg >= due else self._boundary(stage, due)
        )

    def kimg_to_full_resolution(self) -> float | None:
        """Returns the kimg at which the final resolution has faded in.

        None if a stage and the fade after it have no length, so that nothing can grow,
        or nobody knows before.
        """
        if self.open_ended:
            return None
        for stage, grown in pairwise(self.resolutions):
            if not self.stabilise_kimg[stage] and not self.fade_kimg[grown]:
                return None
        endless = dataclasses.replace(self, total_kimg=math.inf)
        return endless.fade_end(endless.stages()[-1]) / 1000

    def end_nimg(self) -> int:
        """Returns the number of images shown when the run ends."""
        return self.stage_end(self.stages()[-1])

    def phase_at(self, nimg: int) -> Phase:
        """Returns the values that hold while image `nimg` is shown."""
        stage = self.stage_at(nimg)
        r, quantum = stage.resolution, self.quantum_nimg(stage.resolution)
        nimg -= (nimg - stage.start_nimg) % quantum
        alpha = self._alpha(stage, nimg)
        rampup = self._rampup(nimg)
        return Phase(
            resolution=r,
            alpha=alpha,
            lod=math.log2(self.resolution / r) + 1 - alpha,
            batch_size=self.batch_size[r],
            g_learning_rate=self.g_learning_rate[r] * rampup,
            d_learning_rate=self.d_learning_rate[r] * rampup,
        )

    def nimg_after(self, pairs: int) -> int:
        """Returns the number of images shown after the run's first `pairs` pairs."""
        nimg = 0
        for stage in self.stages():
            shown = self.pair_nimg(stage.resolution)
            length = (self.stage_end(stage) - stage.start_nimg) // shown
            nimg += min(pairs, length) * shown
            pairs -= min(pairs, length)
        return nimg

    def tick_end(self, nimg: int) -> int:
        """Returns where the tick that shows image `nimg` ends.

        A tick is tick_kimg rounded up to complete quanta; a stage's end also ends one.
        A rest of less than a tenth of a tick belongs to the tick before.
        """
        stage = self.stage_at(nimg)
        number, length = self._tick(stage, nimg), self._tick_nimg(stage.resolution)
        if number + 1 >= self._num_ticks(stage):
            return self.stage_end(stage)
        return stage.start_nimg + (number + 1) * length

    def tick_start(self, nimg: int) -> int:
        """Returns where the tick that shows image `nimg` starts."""
        stage = self.stage_at(nimg)
        length = self._tick_nimg(stage.resolution)
        return stage.start_nimg + self._tick(stage, nimg) * length

    def is_tick_end(self, nimg: int) -> bool:
        """Returns whether a tick ends after `nimg` images."""
        return nimg > 0 and self.tick_end(nimg - 1) == nimg

    def is_stage_end(self, nimg: int) -> bool:
        """Returns whether a stage ends after `nimg` images."""
        return nimg > 0 and self.stage_end(self.stage_at(nimg - 1)) == nimg

    def ticks_until(self, nimg: int) -> int:
        """Returns the number of ticks that have ended after `nimg` images."""
        ticks = 0
        for stage in self.stages():
            if nimg >= self.stage_end(stage):
                ticks += self._num_ticks(stage)
            elif nimg > stage.start_nimg:
                ticks += self._tick(stage, nimg)
        return ticks

    def is_save_due(self, nimg: int, every_ticks: int) -> bool:
        """Returns whether a checkpoint is due at the end of a tick.

        Args:
          nimg: Number of images shown then.
          every_ticks: Number of ticks between checkpoints; the end of a stage has one
            as well.
        """
        due = self.ticks_until(nimg) % every_ticks == 0
        return due or self.is_stage_end(nimg)

    def next_save(self, nimg: int, every_ticks: int) -> int:
        """Returns the nimg at which the first checkpoint after `nimg` is due."""
        end = self.tick_end(nimg)
        while not self.is_save_due(end, every_ticks):
            end = self.tick_end(end)
        return end

    def next_event(self, nimg: int) -> int:
        """Returns the next end of a tick, a fade or a stage after `nimg`.

        Until then only alpha and the learning rates change.
        """
        fade_end = self.fade_end(self.stage_at(nimg))
        tick_end = self.tick_end(nimg)
        return min(fade_end, tick_end) if nimg < fade_end else tick_end

    def _num_ticks(self, stage: Stage) -> int:
        length = self._tick_nimg(stage.resolution)
        shown = self.stage_end(stage) - stage.start_nimg
        whole, rest = divmod(shown, length)
        # A stage usually ends one quantum after its last complete tick.
        return max(whole + (10 * rest >= length), 1)

    def _tick(self, stage: Stage, nimg: int) -> int:
        """Returns the number of ticks of a stage that ended up to an image of it."""
        number = (nimg - stage.start_nimg) // self._tick_nimg(stage.resolution)
        return min(number, self._num_ticks(stage) - 1)

    def _tick_nimg(self, resolution: int) -> int:
        quantum = self.quantum_nimg(resolution)
        return math.ceil(self.tick_kimg[resolution] * 1000 / quantum) * quantum

    def _next_resolution(self, stage: Stage) -> int:
        return self.resolutions[self.resolutions.index(stage.resolution) + 1]

    def _following(self, stage: Stage) -> Stage | None:
        for known, following in pairwise(self.recorded):
            if known == stage:
                return following
        if stage.resolution == self.resolutions[-1]:
            return None
        lasts = self.stabilise_kimg[stage.resolution]
        if self.open_ended and not lasts:
            return None
        if not self._is_first(stage):
            lasts += self.fade_kimg[stage.resolution]
        due = stage.due_nimg + round(lasts * 1000)
        grown = self._next_resolution(stage)
        # At the very start of a fade lod is still an integer, so that the authors'
        # program runs one more quantum of the old resolution; without a fade it does
        # not.
        start = self._boundary(stage, due + 1 if self.fade_kimg[grown] else due)
        if start >= self.total_kimg * 1000:
            return None
        return Stage(grown, start, due)

    def _boundary(self, stage: Stage, nimg: float) -> int:
        """Returns the first quantum boundary after the stage's start, from nimg on."""
        quantum = self.quantum_nimg(stage.resolution)
        count = max(1, math.ceil((nimg - stage.start_nimg) / quantum))
        return stage.start_nimg + count * quantum

    def _is_first(self, stage: Stage) -> bool:
        return stage.resolution == self.start_resolution

    def _alpha(self, stage: Stage, nimg: int) -> float:
        # Rises linearly from 0 to 1: Karras et al. 2018, figure 2.
        fade_nimg = self.fade_kimg[stage.resolution] * 1000
        if self._is_first(stage) or not fade_nimg:
            return 1.0
        return min(max((nimg - stage.due_nimg) / fade_nimg, 0.0), 1.0)

    def _rampup(self, nimg: int) -> float:
        if not self.rampup_kimg:
            return 1.0
        t = min(nimg / (self.rampup_kimg * 1000), 1.0)
        return math.exp(-5 * (1 - t) ** 2)  # Source: the paper's program.


def is_due(before: int, now: int, every_kimg: float) -> bool:
    """Returns whether a multiple of `every_kimg` lies after `before`, up to `now`.

    Args:
      before: Number of images shown at the last check.
      now: Number of images shown at this one.
      every_kimg: The interval; 0 means never.
    """
    every = every_kimg * 1000
    return every > 0 and math.floor(now / every) > math.floor(before / every)


def constant(value: float, resolution: int = 1024) -> dict[int, float]:
    """Returns a table that holds one value at 4, 8, ..., resolution."""
    return dict.fromkeys(stage_resolutions(resolution), value)
