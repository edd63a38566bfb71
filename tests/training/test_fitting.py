"""Schedules that fit into a time, and the pace that they are fitted by."""

import jax
import pytest

from progan_jax.data.sources import load_digits
from progan_jax.runtime.command_line import load_config
from progan_jax.runtime.mesh import make_mesh
from progan_jax.training.config import make_schedule
from progan_jax.training.fitting import (
    Pace,
    fit,
    image_sec_of_run,
    lengthen,
    measure_pace,
)
from progan_jax.training.validation import validate

RECIPES = {
    "progan": "digits",
    "stylegan": "stylegan_digits",
    "stylegan_xl": "stylegan_xl:cifar10,tiny,16-32",
}


def seconds_of(config, pace):
    """Adds up the images of each stage, one resolution after the other."""
    schedule = make_schedule(config)
    return sum(
        (schedule.stage_end(stage) - stage.start_nimg)
        * pace[stage.resolution].image_sec
        for stage in schedule.stages()
    )


def pace_of(config, cost):
    return {r: Pace(cost * r * r, 1.0) for r in make_schedule(config).resolutions}


def assert_last_tick_is_complete(config, most):
    """Checks the length in kimg, which is less than a tick below the most."""
    schedule = make_schedule(config)
    end, first = schedule.end_nimg(), schedule.stages()[-1].start_nimg
    length = schedule.tick_end(first) - first
    assert (end - first) % length == 0
    assert most - length / 1000 < end / 1000 <= most


@pytest.mark.parametrize("family", RECIPES)
@pytest.mark.parametrize("seconds", [60.0, 1200.0, 36000.0])
def test_a_fitted_schedule_takes_the_time_and_reaches_every_stage(family, seconds):
    config = load_config(RECIPES[family])
    pace = pace_of(config, 2e-5)
    fit(config, pace, seconds)
    validate(config, 1)
    schedule = make_schedule(config)
    assert seconds_of(config, pace) == pytest.approx(seconds, rel=0.05)
    assert [s.resolution for s in schedule.stages()] == list(schedule.resolutions)


def test_half_of_the_time_passes_until_the_last_resolution_has_faded_in():
    config = load_config("cifar10")
    pace = pace_of(config, 2e-5)
    fit(config, pace, 1200.0)
    schedule = make_schedule(config)
    config.schedule.total_kimg = schedule.kimg_to_full_resolution()
    assert seconds_of(config, pace) == pytest.approx(600, rel=0.05)


def test_phases_are_no_longer_than_the_recipes():
    config = load_config("digits")
    fit(config, pace_of(config, 1e-9), 3600.0)
    assert config.schedule.stabilise_kimg == "4"


def test_a_run_that_does_not_grow_trains_all_the_time():
    config = load_config("digits", ["--config.schedule.start_resolution=32"])
    fit(config, {32: Pace(0.01, 1.0)}, 100.0)
    assert_last_tick_is_complete(config, 10)


def test_what_lasts_for_a_time_lasts_in_proportion():
    config = load_config("stylegan_xl:cifar10,tiny")
    blur = config.loss.blur_kimg / config.schedule.total_kimg
    fit(config, {32: Pace(0.01, 1.0)}, 1000.0)
    assert_last_tick_is_complete(config, 100)
    assert config.loss.blur_kimg == pytest.approx(100 * blur)


def test_a_lengthened_run_trains_as_many_images_as_the_time_allows():
    config = load_config("digits")
    lengthen(config, {32: 0.01}, 46_000, seconds=100)
    assert_last_tick_is_complete(config, 56)


def fitted(seconds=1200.0):
    """Returns a run of the digits, from 4x4 to 32x32, and its pace."""
    config = load_config("digits", ["--config.schedule.stabilise_kimg=1000"])
    pace = pace_of(config, 2e-5)
    fit(config, pace, seconds)
    return config, {r: of.image_sec for r, of in pace.items()}


def seconds_after(config, image_sec, nimg):
    """Adds up the images after the first ones, a thousandth of the run at a time."""
    schedule = make_schedule(config)
    step = (schedule.end_nimg() - nimg) / 1000
    middles = [nimg + step * (k + 0.5) for k in range(1000)]
    return sum(step * image_sec[schedule.stage_at(int(n)).resolution] for n in middles)


@pytest.mark.parametrize("share", [0.02, 0.2, 0.4, 0.7, 1.0])
def test_a_run_that_is_stopped_anywhere_is_lengthened_by_the_time(share):
    config, image_sec = fitted()
    phases = config.schedule.stabilise_kimg, config.schedule.fade_kimg
    nimg = int(share * make_schedule(config).end_nimg())
    lengthen(config, image_sec, nimg, 3000.0)
    assert seconds_after(config, image_sec, nimg) == pytest.approx(3000, rel=0.02)
    assert (config.schedule.stabilise_kimg, config.schedule.fade_kimg) == phases
    validate(config, 1)


@pytest.mark.parametrize("family", RECIPES)
def test_a_lengthened_run_has_the_ticks_that_it_had(family):
    config = load_config(RECIPES[family])
    pace = pace_of(config, 2e-5)
    fit(config, pace, 1200.0)
    ends = make_schedule(config).end_nimg()
    lengthen(config, {r: of.image_sec for r, of in pace.items()}, ends, 100.0)
    longer = make_schedule(config)
    assert longer.end_nimg() > ends and longer.is_tick_end(ends)


def test_a_run_does_not_become_shorter():
    config, image_sec = fitted()
    before = config.schedule.total_kimg
    for nimg in (0, 5000, int(before * 900)):
        lengthen(config, image_sec, nimg, 1.0)
        assert config.schedule.total_kimg == before


def row(side, kimg_sec):
    return {"Progress/resolution": side, "Timing/sec_per_kimg": kimg_sec}


def test_a_stage_without_ticks_has_the_pace_that_was_measured_before():
    config, image_sec = fitted()
    newest = 2000 * image_sec[8]  # A machine that is half as fast as it was.
    found = image_sec_of_run(config, [row(4, 9.0), row(4, 3.0), row(8, newest)])
    assert found[4] == 0.003
    assert found[8] == pytest.approx(2 * image_sec[8])
    assert found[16] == pytest.approx(2 * image_sec[16], rel=0.01)
    assert found[32] == pytest.approx(2 * image_sec[32], rel=0.01)


def test_every_stage_is_measured_by_training_it():
    config = load_config("digits", ["--config.model.fmap_max=4"])
    config.schedule.start_resolution, config.model.resolution = 4, 8
    pyramid, mesh = load_digits(8), make_mesh(jax.devices()[:1])
    said = []
    pace = dict(measure_pace(config, pyramid, mesh, 0.05, said.append))
    assert list(pace) == [4, 8]
    assert all(0 < p.image_sec < 1 and p.compile_sec > 0 for p in pace.values())
    assert said == ["compiling 4x4", "measuring 4x4", "compiling 8x8", "measuring 8x8"]
