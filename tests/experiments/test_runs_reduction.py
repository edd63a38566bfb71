"""Recipes made shorter and smaller, by hand arithmetic."""

import pytest

from progan_jax.configs import celeba, cifar10
from progan_jax.errors import UserError
from progan_jax.experiments.runs import Reduction
from progan_jax.training.config import make_schedule


def test_all_lengths_shrink_together():
    config = celeba.get_config()
    config.schedule.rampup_kimg = 40.0
    config.schedule.fade_kimg = "800, 128:400"
    Reduction(scale=0.01).apply(config)
    schedule = make_schedule(config)
    assert config.schedule.total_kimg == 100
    assert config.schedule.rampup_kimg == 0.4
    assert schedule.stabilise_kimg[64] == schedule.fade_kimg[64] == 8
    assert schedule.fade_kimg[128] == 4
    assert schedule.tick_kimg[128] == 1


@pytest.mark.parametrize(("scale", "apart"), [(0.01, 20.0), (0.0001, 1.0)])
def test_snapshots_are_a_tenth_of_the_run_apart_and_one_kimg_at_least(scale, apart):
    # 20,000 kimg; their names have integer kimg, so that nearer ones would be one.
    config = cifar10.get_config()
    config.schedule.stabilise_kimg = config.schedule.fade_kimg = "4"
    Reduction(scale=scale).apply(config)
    train = config.train
    assert float(train.tick_kimg) * train.snapshot_ticks == pytest.approx(apart)
    assert train.grid_ticks == train.snapshot_ticks


def test_the_recipe_itself_is_left_alone():
    config, recipe = cifar10.get_config(), cifar10.get_config()
    Reduction().apply(config)
    assert config.to_dict() == recipe.to_dict()
    assert Reduction().num_images("is") == 0
    assert list(Reduction().changes()) == []


def test_networks_shrink_to_resolution_and_width():
    config = celeba.get_config()
    Reduction(max_resolution=32, fmap_max=16).apply(config)
    assert (config.model.resolution, config.model.fmap_max) == (32, 16)
    assert [s.resolution for s in make_schedule(config).stages()] == [4, 8, 16, 32]


def test_a_run_that_does_not_grow_starts_at_the_largest_resolution():
    config = celeba.get_config()
    config.schedule.start_resolution = 128
    Reduction(max_resolution=32).apply(config)
    assert config.schedule.start_resolution == 32


def test_limits_above_the_recipe_change_nothing():
    config, recipe = cifar10.get_config(), cifar10.get_config()
    Reduction(max_resolution=128, fmap_max=512).apply(config)
    assert config.to_dict() == recipe.to_dict()


def test_a_scale_at_which_the_last_resolution_is_never_held_is_refused():
    # 400 kimg for each of six phases: 2,400 of 20,000 kimg; a pair is 16 images.
    config = cifar10.get_config()
    config.schedule.total_kimg = 2400.0
    with pytest.raises(UserError, match=r"--scale=0.5: 32x32 would never be held"):
        Reduction(scale=0.5).apply(config)


@pytest.mark.parametrize(
    ("metric", "scale", "expected"),
    [
        ("swd", 0.5, 8192),
        ("ms_ssim", 0.1, 2000),
        ("is", 0.0101, 520),  # 505, then at least 512, and ten equal splits.
        ("swd", 0.001, 512),
        ("modes", 0.1, 25_600),
        ("modes", 0.001, 520),  # Ten equal draws.
        ("kid", 0.001, 1000),  # Its subsets have so many.
        ("swd", 2.0, 0),  # A longer run is measured as published.
    ],
)
def test_fewer_images_are_measured_in_proportion(metric, scale, expected):
    assert Reduction(scale=scale).num_images(metric) == expected


def test_every_change_is_listed():
    changes = list(Reduction(0.01, 32, 16).changes())
    assert changes[0].startswith("0.01 times the images of the recipe")
    assert changes[2:] == ["32x32 at most", "16 feature maps at most"]
