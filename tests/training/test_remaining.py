"""The rest of a run, from ticks whose lengths are known."""

import dataclasses
import math

import pytest

from progan_jax.configs import cifar10
from progan_jax.training.config import make_schedule
from progan_jax.training.remaining import (
    RemainingTime,
    StageWork,
    matmul_rate,
    pair_work,
)

PAIR = 8  # Images.
WORK = {r: StageWork(1, r**2 / 16, PAIR) for r in (4, 8, 16)}
SEC = 0.08  # For a pair at 4x4, of which arithmetic takes all.
SLOW = 1.0  # A peak that is no limit.


@pytest.fixture
def schedule(tiny_config):
    schedule = tiny_config.schedule
    schedule.stabilise_kimg, schedule.fade_kimg, schedule.total_kimg = "4", "4", 40.0
    tiny_config.train.tick_kimg = "2"
    return make_schedule(tiny_config)


def expected(schedule, nimg):
    """Every image still to come, one by one."""
    rest = range(nimg, schedule.end_nimg())
    sides = (schedule.phase_at(n).resolution for n in rest)
    return sum(SEC * WORK[side].flops / PAIR for side in sides)


def test_a_steady_pace_gives_the_time_that_is_left(schedule):
    remaining, start = RemainingTime(schedule, WORK, SLOW), 0
    while start < schedule.end_nimg():
        end = schedule.tick_end(start)
        resolution = schedule.phase_at(start).resolution
        sec = SEC * WORK[resolution].flops * (end - start) / PAIR
        remaining.add(resolution, end - start, sec)
        assert remaining.after(end) == pytest.approx(expected(schedule, end))
        start = end
    assert remaining.after(start) == 0


def test_a_tick_of_one_pair_does_not_make_it_jump(schedule):
    remaining = RemainingTime(schedule, WORK, SLOW)
    remaining.add(4, 4000, 500 * SEC)
    before = remaining.after(4000)
    remaining.add(4, 8, 10 * SEC)  # Ten times as slow: a pair pays for the tick.
    assert remaining.after(4008) == pytest.approx(before, rel=0.03)


def test_another_pace_is_taken_up_within_minutes(schedule):
    remaining = RemainingTime(schedule, WORK, SLOW)
    remaining.add(4, 10_000, 100)
    at_once = remaining.after(4000)
    for _ in range(30):
        remaining.add(4, 1000, 20)  # Half as fast.
    assert remaining.after(4000) == pytest.approx(2 * at_once, rel=0.01)


def test_stages_of_earlier_configurations_count(schedule):
    recorded = schedule.stages()[:2]
    again = dataclasses.replace(schedule, recorded=recorded)
    one, other = (RemainingTime(s, WORK, SLOW) for s in (schedule, again))
    for remaining in (one, other):
        remaining.add(8, 1000, 3)
    assert one.after(5000) == other.after(5000) > 0


def test_before_the_last_of_stages_that_end_at_plateaus_the_rest_is_unknown(schedule):
    open_ended = dataclasses.replace(schedule, open_ended=True)
    known, unknown = (RemainingTime(s, WORK, SLOW) for s in (schedule, open_ended))
    for remaining in (known, unknown):
        remaining.add(4, 4000, 3)
    last = schedule.stages()[-1].start_nimg
    assert math.isnan(unknown.after(last - 1))
    assert unknown.after(last) == known.after(last) > 0


def test_stages_bound_by_launches_are_not_taken_for_arithmetic():
    """On an H100 (2026-11-28), where the recipe of CIFAR-10 takes 69 minutes."""
    config = cifar10.get_config()
    schedule = make_schedule(config)
    work = {r: pair_work(config, schedule, r) for r in (4, 8, 16, 32)}
    assert [work[r].layers for r in work] == [2, 4, 6, 8]
    pair_sec = {4: 0.67e-3, 8: 1.28e-3, 16: 2.41e-3, 32: 3.49e-3}
    remaining, start, elapsed = RemainingTime(schedule, work, peak=4.2e14), 0, 0.0
    totals = []
    while start < schedule.end_nimg():
        end = schedule.tick_end(start)
        side = schedule.phase_at(start).resolution
        sec = (end - start) / 16 * pair_sec[side]
        remaining.add(side, end - start, sec)
        elapsed += sec
        totals.append((elapsed + remaining.after(end)) / 60)
        start = end
    assert totals[-1] == pytest.approx(69, abs=1)
    assert min(totals) > 35 and max(totals) < 140


def test_the_rate_is_that_of_the_fastest_call_once_it_is_compiled(monkeypatch):
    flop = 2 * 512**3 * 8  # Eight products of 512 x 512 in a call.
    clock = iter([0.0, 9.0, 9.0, 9.003, 10.0, 10.002, 11.0, 11.004])
    monkeypatch.setattr("time.perf_counter", lambda: next(clock))
    assert matmul_rate.__wrapped__("float32") == pytest.approx(flop / 0.002)
