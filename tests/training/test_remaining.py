"""The rest of a run, from ticks whose lengths are known."""

import dataclasses

import pytest

from progan_jax.training.config import make_schedule
from progan_jax.training.remaining import RemainingTime

COSTS = {4: 1, 8: 4, 16: 16}
SEC = 0.01  # For an image at 4x4.


@pytest.fixture
def schedule(tiny_config):
    schedule = tiny_config.schedule
    schedule.stabilise_kimg, schedule.fade_kimg, schedule.total_kimg = "4", "4", 40.0
    tiny_config.train.tick_kimg = "2"
    return make_schedule(tiny_config)


def expected(schedule, nimg):
    """Every image still to come, one by one."""
    rest = range(nimg, schedule.end_nimg())
    return sum(SEC * COSTS[schedule.phase_at(n).resolution] for n in rest)


def test_a_steady_pace_gives_the_time_that_is_left(schedule):
    remaining, start = RemainingTime(schedule, COSTS), 0
    while start < schedule.end_nimg():
        end = schedule.tick_end(start)
        resolution = schedule.phase_at(start).resolution
        remaining.add(resolution, end - start, SEC * COSTS[resolution] * (end - start))
        assert remaining.after(end) == pytest.approx(expected(schedule, end))
        start = end
    assert remaining.after(start) == 0


def test_a_tick_of_one_pair_does_not_make_it_jump(schedule):
    remaining = RemainingTime(schedule, COSTS)
    remaining.add(4, 4000, 4000 * SEC)
    before = remaining.after(4000)
    remaining.add(4, 8, 10 * 8 * SEC)  # Ten times as slow: a pair pays for the tick.
    assert remaining.after(4008) == pytest.approx(before, rel=0.03)


def test_another_pace_is_taken_up_within_minutes(schedule):
    remaining = RemainingTime(schedule, COSTS)
    remaining.add(4, 10_000, 100)
    at_once = remaining.after(4000)
    for _ in range(30):
        remaining.add(4, 1000, 20)  # Half as fast.
    assert remaining.after(4000) == pytest.approx(2 * at_once, rel=0.01)


def test_stages_of_earlier_configurations_count(schedule):
    recorded = schedule.stages()[:2]
    again = dataclasses.replace(schedule, recorded=recorded)
    one, other = (RemainingTime(s, COSTS) for s in (schedule, again))
    for remaining in (one, other):
        remaining.add(8, 1000, 3)
    assert one.after(5000) == other.after(5000) > 0
