"""The schedules of short runs: new ones, and those of runs that go on."""

import json

import pytest

from benchmarks import short_plan
from progan_jax.errors import UserError
from progan_jax.runtime.command_line import list_fields
from progan_jax.training.config import make_schedule, make_step_options
from progan_jax.training.fitting import Pace
from progan_jax.training.validation import validate

# A thousand images take 0.04, 0.08, 0.16 and 0.32 s.
PACE = {r: Pace(1e-5 * r, 20.0) for r in (4, 8, 16, 32)}


def new(recipe, tmp_path, *overrides):
    return short_plan.new_config(recipe, overrides, tmp_path)


def training_sec(config, begin=0):
    """The time that the schedule's images take at the pace, stage by stage."""
    schedule = make_schedule(config)
    return sum(
        (schedule.stage_end(s) - max(s.start_nimg, begin))
        * PACE[s.resolution].image_sec
        for s in schedule.stages()
        if schedule.stage_end(s) > begin
    )


def spare_sec(seconds, num_stages):
    """What a run has for training: 9/10 of the time after its start and its stages'."""
    return 0.9 * (seconds - 15 * (1 + num_stages))


@pytest.mark.parametrize(("recipe", "stages"), [("cifar10", 4), ("stylegan_xl", 1)])
def test_a_new_run_fills_the_time_that_training_can_have(recipe, stages, tmp_path):
    config = new(recipe, tmp_path)
    pace = {r: PACE[r] for r in make_schedule(config).resolutions}
    short_plan.fit_new(recipe, (), config, pace, 400.0)
    assert training_sec(config) == pytest.approx(spare_sec(400, stages), rel=0.02)
    validate(config, 1)


def test_the_end_is_one_of_six_evaluations(tmp_path):
    config = new("cifar10", tmp_path)
    short_plan.fit_new("cifar10", (), config, PACE, 400.0)
    every = config.eval.every_kimg
    end = make_schedule(config).end_nimg() / 1000
    assert end // every == 6
    assert end - 6 * every < every / 10


def test_a_run_in_its_last_stage_is_lengthened_by_the_time(tmp_path):
    config = new("cifar10", tmp_path)
    short_plan.fit_new("cifar10", (), config, PACE, 400.0)
    nimg = make_schedule(config).end_nimg()
    before = config.schedule.fade_kimg
    short_plan.fit_longer(config, PACE, nimg, 300.0)
    assert training_sec(config, nimg) == pytest.approx(spare_sec(300, 1), rel=0.02)
    assert config.schedule.fade_kimg == before
    evaluations = config.schedule.total_kimg // config.eval.every_kimg
    assert evaluations - nimg / 1000 // config.eval.every_kimg == pytest.approx(
        6, abs=1
    )


def test_a_run_that_was_stopped_while_it_grew_has_time_for_what_is_left(tmp_path):
    config = new("cifar10", tmp_path)
    short_plan.fit_new("cifar10", (), config, PACE, 400.0)
    stage = make_schedule(config).stages()[1]
    nimg = stage.start_nimg + 1600
    short_plan.fit_longer(config, PACE, nimg, 500.0)
    assert training_sec(config, nimg) == pytest.approx(spare_sec(500, 3), rel=0.02)


def test_too_little_time_for_growth_keeps_the_length(tmp_path):
    config = new("cifar10", tmp_path)
    short_plan.fit_new("cifar10", (), config, PACE, 400.0)
    before = config.schedule.total_kimg
    short_plan.fit_longer(config, PACE, 1600, 61.0)
    assert config.schedule.total_kimg == before
    validate(config, 1)


def test_a_slow_machine_without_time_still_has_a_valid_schedule(tmp_path):
    config = new("stylegan_xl", tmp_path)
    short_plan.fit_new("stylegan_xl", (), config, {32: Pace(0.25, 300.0)}, 5.0)
    validate(config, 1)


@pytest.mark.parametrize("recipe", short_plan.RECIPES)
def test_what_the_user_sets_is_not_fitted(recipe, tmp_path):
    overrides = "--config.data.mirror=true", "--config.train.tick_kimg=7"
    config = new(recipe, tmp_path, *overrides)
    pace = {r: PACE[r] for r in make_schedule(config).resolutions}
    short_plan.fit_new(recipe, overrides, config, pace, 400.0)
    assert (config.data.mirror, config.train.tick_kimg) == (True, "7")


@pytest.mark.parametrize("recipe", short_plan.RECIPES)
def test_what_is_measured_is_the_program_that_is_trained(recipe, tmp_path):
    config = new(recipe, tmp_path)
    resolutions = make_schedule(config).resolutions
    before = [make_step_options(config, r, 64) for r in resolutions]
    pace = {r: PACE[r] for r in resolutions}
    short_plan.fit_new(recipe, (), config, pace, 400.0)
    assert [make_step_options(config, r, 64) for r in resolutions] == before


def test_a_run_that_goes_on_keeps_its_configuration(tmp_path):
    begun = new("cifar10", tmp_path, "--config.model.fmap_max=8", "--config.seed=7")
    (tmp_path / "config.json").write_text(json.dumps({"config": begun.to_dict()}))
    overrides = ("--config.eval.num_images=64",)
    config = short_plan.run_config("cifar10", overrides, tmp_path / "moved", tmp_path)
    changed = {"eval.num_images": 64, "data.data_dir": str(tmp_path / "moved")}
    assert list_fields(config) == list_fields(begun) | changed


def test_an_unknown_recipe_is_one_line(tmp_path):
    with pytest.raises(UserError, match="'cifar' must be one of cifar10, stylegan_xl;"):
        new("cifar", tmp_path)
