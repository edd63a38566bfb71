"""A schedule that fits into a time, by the measured pace of its stages."""

import dataclasses
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import jax
import ml_collections

from progan_jax.data.pyramid import Pyramid
from progan_jax.training.config import family_of, make_schedule
from progan_jax.training.schedule import Schedule, Stage
from progan_jax.training.stage import StageProgram

# Share of the time that passes before the last resolution has faded in, ours.
_GROWTH = 0.5

# Ticks of a run, and those of a snapshot: what is drawn and saved takes a few percent.
_TICKS, _SNAPSHOT_TICKS = 60, 6

# Share of the run's length over which the learning rates rise at most.
_RAMPUP = 1 / 100


@dataclass(frozen=True)
class Pace:
    """What training a stage takes on the devices at hand.

    Attributes:
      image_sec: Seconds per image shown.
      compile_sec: Seconds until its steps are compiled, for the first time.
    """

    image_sec: float
    compile_sec: float


def measure_pace(
    config: ml_collections.ConfigDict,
    pyramid: Pyramid,
    mesh: jax.sharding.Mesh,
    seconds: float,
    tell: Callable[[str], None],
) -> Iterator[tuple[int, Pace]]:
    """Trains each stage for some seconds, and drops what it has learned.

    The compiled programs are those of the run, and stay in the compilation cache.

    Args:
      config: Of a run whose schedule reaches every stage.
      pyramid: The run's images.
      mesh: Of the run's devices.
      seconds: Of each stage, at least; one dispatch is always measured.
      tell: Takes what is being done, such as "compiling 64x64".

    Yields:
      Resolution and pace of each stage.
    """
    schedule = make_schedule(config)
    for stage in schedule.stages():
        r, nimg = stage.resolution, stage.start_nimg
        program = StageProgram(config, schedule, r, mesh, pyramid.label_counts)
        tell(f"compiling {r}x{r}")
        started = time.perf_counter()
        program.prepare(pyramid)
        compiled = time.perf_counter()
        tell(f"measuring {r}x{r}")
        pair_sec = _pair_sec(program, program.create(pyramid), nimg, seconds)
        program.close()
        yield r, Pace(pair_sec / schedule.pair_nimg(r), compiled - started)


def _pair_sec(program: StageProgram, state: Any, nimg: int, seconds: float) -> float:
    pairs = program.max_pairs
    state, done = program.run(state, nimg, pairs)  # The first dispatch is slower.
    done.block_until_ready()
    count, started = 0, time.perf_counter()
    while count == 0 or time.perf_counter() - started < seconds:
        state, done = program.run(state, nimg, pairs)
        done.block_until_ready()
        count += pairs
    return (time.perf_counter() - started) / count


def fit(config: Any, pace: Mapping[int, Pace], seconds: float) -> None:
    """Gives a run the schedule that its devices train in a time.

    All phases before the last have one length, at most the recipe's. Half of the time
    passes until the last resolution has faded in; stages that restart take equal times.
    The warm-up and the loss's own lengths follow from the run's. The average of G does
    not, as it is part of the compiled programs; optim.ema_rampup fits it to any length.

    Args:
      config: Of the run; changed.
      pace: Of each stage.
      seconds: Of training, without compiling and saving.
    """
    schedule = make_schedule(config)
    kimg_sec = {r: 1000 * pace[r].image_sec for r in schedule.resolutions}
    before = config.schedule.total_kimg
    if family_of(config).RESTARTS:
        _fit_restarts(config, kimg_sec, seconds)
    else:
        _fit_growth(config, schedule, kimg_sec, seconds)
    total = config.schedule.total_kimg
    tick_sec = seconds / _TICKS
    ticks = {r: max(_rounded(tick_sec / s), 0.001) for r, s in kimg_sec.items()}
    config.schedule.rampup_kimg = min(
        config.schedule.rampup_kimg, _rounded(total * _RAMPUP)
    )
    for name, value in config.loss.items():
        if name.endswith("_kimg"):
            config.loss[name] = _rounded(value * total / before)
    config.train.tick_kimg = _table(ticks)
    config.train.grid_ticks = 2
    config.train.checkpoint_ticks = config.train.snapshot_ticks = _SNAPSHOT_TICKS
    _end_on_a_tick(config)


def stages_ahead(config: Any, nimg: int) -> list[Stage]:
    """Returns the stages that a run of any length trains after its first images.

    Args:
      config: Of the run.
      nimg: Number of images shown so far.
    """
    stages = dataclasses.replace(make_schedule(config), total_kimg=math.inf).stages()
    ended = sum(following.start_nimg <= nimg for following in stages[1:])
    return stages[ended:]


def lengthen(
    config: Any, image_sec: Mapping[int, float], nimg: int, seconds: float
) -> None:
    """Gives a run as many images as its devices train in a time, and no fewer.

    The stages before the last one have their lengths, and it has what they leave.

    Args:
      config: Of the run; its length is changed.
      image_sec: Seconds per image, by resolution of the stages that are ahead.
      nimg: Number of images shown so far.
      seconds: Of training.
    """
    ahead = stages_ahead(config, nimg)
    for stage, following in pairwise(ahead):
        shown = following.start_nimg - max(nimg, stage.start_nimg)
        seconds -= shown * image_sec[stage.resolution]
    begun = max(nimg, ahead[-1].start_nimg)
    images = begun + max(seconds, 0) / image_sec[ahead[-1].resolution]
    before = config.schedule.total_kimg
    config.schedule.total_kimg = max(_rounded(images / 1000, 6), before)
    _end_on_a_tick(config)
    config.schedule.total_kimg = max(config.schedule.total_kimg, before)


def _end_on_a_tick(config: Any) -> None:
    """Shortens a run by less than a tick, so that its last one is complete.

    A longer run then has the ticks that this one had.
    """
    schedule = make_schedule(config)
    stage = schedule.stages()[-1]
    length = schedule.tick_end(stage.start_nimg) - stage.start_nimg
    ticks = (schedule.end_nimg() - stage.start_nimg) // length
    config.schedule.total_kimg = (stage.start_nimg + ticks * length) / 1000


def image_sec_of_run(
    config: Any, rows: Sequence[Mapping[str, Any]]
) -> dict[int, float]:
    """Returns the seconds per image of a run's stages, by resolution.

    A stage that has no tick yet has its pace from the length of its ticks, which `fit`
    chooses so that those of all stages take equal times.

    Args:
      config: Of the run.
      rows: Of its ticks, oldest first; at least one.
    """
    schedule = make_schedule(config)
    measured = {
        row["Progress/resolution"]: row["Timing/sec_per_kimg"] / 1000 for row in rows
    }
    newest = rows[-1]["Progress/resolution"]
    tick_sec = measured[newest] * schedule.tick_kimg[newest]
    return {
        r: tick_sec / schedule.tick_kimg[r] for r in schedule.resolutions
    } | measured


def _fit_growth(
    config: Any, schedule: Schedule, kimg_sec: Mapping[int, float], seconds: float
) -> None:
    first, last = schedule.resolutions[0], schedule.resolutions[-1]
    # Phases of each stage before the last one stabilises: a fade and what follows.
    phases = dict.fromkeys(schedule.resolutions, 1 + schedule.fades)
    phases[first], phases[last] = 1, int(schedule.fades)
    if first == last:
        phases[first] = 0
    growth_sec = sum(number * kimg_sec[r] for r, number in phases.items())
    length = schedule.stabilise_kimg[first]
    if growth_sec:
        length = min(length, _GROWTH * seconds / growth_sec)
    length = _rounded(length)
    rest = (seconds - length * growth_sec) / kimg_sec[last]
    config.schedule.stabilise_kimg = f"{length:g}"
    config.schedule.fade_kimg = f"{length:g}" if schedule.fades else "0"
    config.schedule.total_kimg = _rounded(length * sum(phases.values()) + rest)


def _fit_restarts(config: Any, kimg_sec: Mapping[int, float], seconds: float) -> None:
    share = seconds / len(kimg_sec)
    lengths = {r: _rounded(share / sec) for r, sec in kimg_sec.items()}
    config.schedule.stabilise_kimg = _table(lengths)
    config.schedule.total_kimg = _rounded(sum(lengths.values()), 6)


def _rounded(value: float, digits: int = 3) -> float:
    return float(f"{value:.{digits}g}")


def _table(values: Mapping[int, float]) -> str:
    """Writes a table by resolution; its first value is for all others."""
    first, *others = values.items()
    return ", ".join([f"{first[1]:g}", *(f"{r}:{v:g}" for r, v in others)])
