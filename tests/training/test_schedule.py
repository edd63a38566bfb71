import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from progan_jax.configs import cifar10
from progan_jax.training import config
from progan_jax.training.schedule import Schedule, Stage, constant

LADDER = [4, 8, 16, 32, 64, 128, 256, 512, 1024]


def make_schedule(**changes):
    fields = {
        "resolution": 32,
        "total_kimg": 60,
        "stabilise_kimg": constant(6),
        "fade_kimg": constant(4),
        "batch_size": constant(16) | {16: 12, 32: 6},
        "microbatch": constant(0),
        "g_learning_rate": constant(0.001) | {32: 0.002},
        "d_learning_rate": constant(0.003),
        "tick_kimg": constant(1.5),
        "quantum_pairs": 4,
    }
    return Schedule(**fields | changes)


def boundaries(schedule):
    """Walks through the run quantum by quantum, as the authors' loop does."""
    nimg = 0
    while nimg < schedule.total_kimg * 1000:
        phase = schedule.phase_at(nimg)
        yield nimg, phase
        nimg += phase.batch_size * schedule.d_repeats * schedule.quantum_pairs


def authors_lod(nimg, resolution, start, train_kimg, fade_kimg):
    """The authors' formula (reference A.11), in kimg."""
    kimg, length = nimg / 1000, train_kimg + fade_kimg
    count = math.floor(kimg / length) if length else 0
    rest = kimg - count * length
    lod = math.log2(resolution) - math.log2(start) - count
    if fade_kimg:
        lod -= max(rest - train_kimg, 0) / fade_kimg
    return max(lod, 0)


@pytest.mark.parametrize(
    ("train_kimg", "fade_kimg", "batch", "start", "repeats"),
    [(6, 4, 16, 4, 1), (6.4, 3.2, 16, 4, 1), (5, 0, 16, 4, 1), (3, 7, 10, 8, 2)],
)
def test_lod_resolution_and_batch_follow_the_authors_formula(
    train_kimg, fade_kimg, batch, start, repeats
):
    schedule = make_schedule(
        stabilise_kimg=constant(train_kimg),
        fade_kimg=constant(fade_kimg),
        batch_size=constant(batch) | {16: 12, 32: 6},
        start_resolution=start,
        d_repeats=repeats,
    )
    for nimg, phase in boundaries(schedule):
        lod = authors_lod(nimg, 32, start, train_kimg, fade_kimg)
        assert phase.lod == pytest.approx(lod, abs=1e-9)
        assert phase.resolution == 2 ** (5 - math.floor(lod + 1e-12))
        assert phase.batch_size == schedule.batch_size[phase.resolution]


def test_full_resolution_without_fade_begins_where_the_reference_says():
    for resolution, length, expected in [(1024, 600, 9600), (256, 800, 9600)]:
        schedule = make_schedule(
            resolution=resolution,
            total_kimg=15000,
            stabilise_kimg=constant(length),
            fade_kimg=constant(length),
            batch_size=constant(16),
        )
        nimg = schedule.fade_end(schedule.stages()[-1])
        quantum = schedule.quantum_nimg(resolution)
        assert expected * 1000 <= nimg < expected * 1000 + quantum
        assert schedule.kimg_to_full_resolution() == expected


def test_alpha_is_held_within_a_quantum_and_rises_between():
    schedule = make_schedule()
    stage = schedule.stages()[1]
    quantum = schedule.quantum_nimg(stage.resolution)
    start = stage.start_nimg
    first = {schedule.phase_at(n).alpha for n in range(start, start + quantum)}
    assert len(first) == 1
    assert schedule.phase_at(start + quantum).alpha > first.pop()


def test_overshoot_of_a_stage_is_not_lost():
    schedule = make_schedule(stabilise_kimg=constant(6.01))
    grown = schedule.stages()[1]
    assert grown.start_nimg > grown.due_nimg == 6010
    expected = (grown.start_nimg - 6010) / 4000
    assert schedule.phase_at(grown.start_nimg).alpha == pytest.approx(expected)


def test_learning_rates_rise_over_the_ramp_up():
    schedule = make_schedule(rampup_kimg=40.0)
    quantum = schedule.quantum_nimg(4)
    for nimg in (0, quantum * 30, quantum * 90):
        t = nimg / 40000
        factor = math.exp(-5 * (1 - t) ** 2)
        assert schedule.phase_at(nimg).g_learning_rate == pytest.approx(0.001 * factor)
    late = schedule.phase_at(45000)
    assert late.g_learning_rate == 0.002
    assert late.d_learning_rate == 0.003


@given(nimg=st.integers(0, 59_999))
def test_events_come_in_order_and_on_pair_boundaries(nimg):
    schedule = make_schedule()
    stage = schedule.stage_at(nimg)
    event = schedule.next_event(nimg)
    assert nimg < event <= schedule.tick_end(nimg) <= schedule.stage_end(stage)
    assert (event - stage.start_nimg) % schedule.quantum_nimg(stage.resolution) == 0


def test_walking_from_event_to_event_counts_every_tick_once():
    schedule = make_schedule()
    nimg, ends = 0, []
    while nimg < schedule.end_nimg():
        following = schedule.next_event(nimg)
        if following == schedule.tick_end(nimg):
            ends.append(following)
        nimg = following
    assert [schedule.ticks_until(n) for n in ends] == list(range(1, len(ends) + 1))
    assert schedule.ticks_until(ends[3] - 1) == 3


@pytest.mark.parametrize("every", [1, 3, 1000])
def test_checkpoints_are_due_after_so_many_ticks_and_where_a_stage_ends(every):
    schedule = make_schedule()
    ends = {schedule.stage_end(stage) for stage in schedule.stages()}
    nimg, tick, due = 0, 0, []
    while nimg < schedule.end_nimg():
        nimg, tick = schedule.tick_end(nimg), tick + 1
        if tick % every == 0 or nimg in ends:
            due.append(nimg)
    walked = [0]
    while walked[-1] < schedule.end_nimg():
        walked.append(schedule.next_save(walked[-1], every))
    assert walked == [0, *due]
    assert schedule.next_save(due[0] - 1, every) == due[0]


def test_a_run_that_does_not_grow_has_one_stage_without_a_fade():
    schedule = make_schedule(
        start_resolution=32, stabilise_kimg=constant(0), fade_kimg=constant(0)
    )
    assert schedule.stages() == [Stage(32, 0, 0)]
    assert schedule.phase_at(30_000).alpha == 1
    assert schedule.kimg_to_full_resolution() == 0


def test_recorded_stages_are_kept_and_continued():
    recorded = (Stage(4, 0, 0), Stage(8, 2048, 2048))
    schedule = make_schedule(recorded=recorded)
    stages = schedule.stages()
    assert stages[:2] == list(recorded)
    assert stages[2].due_nimg == 2048 + 10_000
    assert schedule.phase_at(2048 + 2000).alpha == pytest.approx(0.5, abs=0.02)


def test_presets_run_as_many_iterations_as_the_reference_counts():
    # Reference A.12: D iterations of the authors' one-GPU preset, stage by stage.
    batch = constant(4) | {4: 128, 8: 128, 16: 128, 32: 64, 64: 32, 128: 16, 256: 8}
    schedule = make_schedule(
        resolution=1024,
        total_kimg=12000,
        stabilise_kimg=constant(600),
        fade_kimg=constant(600),
        batch_size=batch,
    )
    pairs = [
        (schedule.stage_end(s) - s.start_nimg) / schedule.pair_nimg(s.resolution)
        for s in schedule.stages()
    ]
    expected = [4688, 9375, 9375, 18750, 37500, 75000, 150000, 300000, 750000]
    assert pairs == pytest.approx(expected, abs=4)


def test_images_after_pairs_are_those_of_the_walk():
    schedule = make_schedule(d_repeats=2)
    nimg = 0
    for pairs in range(500):
        assert schedule.nimg_after(pairs) == nimg
        nimg += schedule.pair_nimg(schedule.phase_at(nimg).resolution)


def test_ticks_end_where_the_walk_over_them_does():
    schedule = make_schedule()
    ends, nimg = set(), 0
    while nimg < schedule.end_nimg():
        nimg = schedule.tick_end(nimg)
        ends.add(nimg)
    quantum = 6  # Divides every pair's images.
    found = {n for n in range(0, nimg + 1, quantum) if schedule.is_tick_end(n)}
    assert found == {n for n in ends if n % quantum == 0}


def test_a_short_rest_of_a_stage_belongs_to_the_tick_before():
    """Stages of CIFAR-10 end one pair after their length: at 400.016 kimg."""
    schedule = config.make_schedule(cifar10.get_config())
    first = schedule.stages()[0]
    assert schedule.stage_end(first) == 400_016
    ends, nimg = [], 0
    while nimg < 400_016:
        nimg = schedule.tick_end(nimg)
        assert schedule.is_tick_end(nimg)
        ends.append(nimg)
        assert schedule.ticks_until(nimg) == len(ends)
        assert schedule.ticks_until(nimg - 1) == len(ends) - 1
    assert ends == [
        50_000,
        100_000,
        150_000,
        200_000,
        250_000,
        300_000,
        350_000,
        400_016,
    ]
    assert schedule.tick_start(400_001) == 350_000
    assert not schedule.is_tick_end(400_000)


def make_chain(**changes):
    """Stages of 4, 16 and 32 pixels, each of 1,000 images or until its end is said."""
    fields = {
        "resolution": 32,
        "sides": (4, 16, 32),
        "stabilise_kimg": constant(1),
        "fade_kimg": constant(0),
        "batch_size": constant(10),
        "total_kimg": 3,
        "tick_kimg": constant(0.1),
        "quantum_pairs": 1,
    }
    return make_schedule(**(fields | changes))


def test_stages_may_follow_by_any_factor():
    schedule = make_chain()
    stages = schedule.stages()
    assert stages == [Stage(4, 0, 0), Stage(16, 1000, 1000), Stage(32, 2000, 2000)]
    assert schedule.end_nimg() == 3000
    assert schedule.phase_at(1500).lod == 1
    assert schedule.kimg_to_full_resolution() == 2


def test_a_stage_without_a_length_lasts_until_it_is_ended():
    schedule = make_chain(stabilise_kimg=constant(0), open_ended=True)
    assert schedule.stages() == [Stage(4, 0, 0)]
    assert schedule.end_nimg() == 3000 and schedule.may_end_before
    schedule = schedule.end_stage(700, "a")
    assert schedule.stages() == [Stage(4, 0, 0), Stage(16, 700, 700, "a")]
    assert schedule.is_stage_end(700) and schedule.ticks_until(700) == 7
    assert schedule.phase_at(700).resolution == 16
    schedule = schedule.end_stage(900, "b").end_stage(1200, "c")
    assert schedule.end_nimg() == 1200 and not schedule.may_end_before
    assert schedule.stages()[-1] == Stage(32, 900, 900, "b")
    # As a resumed run makes it.
    recorded = tuple(schedule.stages())
    assert make_chain(recorded=recorded, ended_nimg=1200).end_nimg() == 1200
    assert schedule.nimg_after(120) == 1200


def test_a_stage_that_ends_by_its_length_keeps_when_it_was_due():
    schedule = make_chain(stabilise_kimg=constant(0.996))
    assert schedule.stages()[1] == Stage(16, 1000, 996)
    assert schedule.end_stage(1000, "a").stages()[1] == Stage(16, 1000, 996, "a")
    # A stage that has a length may end before it.
    assert schedule.end_stage(500, "a").stages()[1] == Stage(16, 500, 500, "a")
