import importlib
from dataclasses import asdict

import jax
import jax.numpy as jnp
import ml_collections
import pytest

from progan_jax.configs import base
from progan_jax.errors import UserError
from progan_jax.training.config import (
    make_networks,
    make_schedule,
    make_step_options,
    parse_grid,
    parse_table,
    stddev_groups,
)
from progan_jax.training.schedule import Stage

CONFIGS = ["base", "cifar10", "digits", "lsun_bedroom"]


def load(name):
    return importlib.import_module(f"progan_jax.configs.{name}").get_config()


def leaves(config, prefix=""):
    for name, value in config.items():
        if isinstance(value, ml_collections.ConfigDict):
            yield from leaves(value, f"{prefix}{name}.")
        else:
            yield prefix + name, type(value)


def test_a_table_is_a_base_value_and_exceptions():
    table = parse_table("16, 256:14,1024:3", "f", 1)
    assert list(table) == [4, 8, 16, 32, 64, 128, 256, 512, 1024]
    assert [table[r] for r in (4, 128, 256, 512, 1024)] == [16, 16, 14, 16, 3]


def test_a_table_of_integers_has_no_other():
    assert parse_table("0.5", "f") == dict.fromkeys(parse_table("1", "f"), 0.5)
    with pytest.raises(UserError, match="write whole numbers"):
        parse_table("0.5", "schedule.batch_size", 1)


@pytest.mark.parametrize("text", ["", "a", "16, 48:3", "16, 32", "16, 32:a", "4:1:2"])
def test_a_table_of_another_form_is_refused(text):
    with pytest.raises(UserError, match=r"config\.schedule\.x = .* a table is"):
        parse_table(text, "schedule.x")


@pytest.mark.parametrize("text", ["1e308", "8, 32:inf", "9" * 400])
def test_a_table_above_all_runs_is_refused(text):
    with pytest.raises(UserError, match="must be at most 1e9; lower it"):
        parse_table(text, "schedule.x", 1 if text.isdigit() else 1.0)


@pytest.mark.parametrize("text", ["-1", "8, 32:0", "nan"])
def test_a_table_below_its_bound_is_refused(text):
    with pytest.raises(UserError, match="must be at least 1"):
        parse_table(text, "schedule.x", 1.0)


def test_every_config_is_a_diff_of_base():
    fields = dict(leaves(base.get_config()))
    for name in CONFIGS:
        assert dict(leaves(load(name))) == fields, name


def test_cifar10_is_the_papers_unconditional_recipe():
    config = load("cifar10")
    assert config.model.num_classes == 0
    assert config.model.mbstd_group_size == 0
    assert (config.model.fmap_base, config.model.fmap_max) == (4096, 128)
    assert config.model.latent_size == 128
    assert config.loss.gp_target == 750
    assert config.optim.simultaneous
    assert config.schedule.total_kimg == 20000
    schedule = make_schedule(config)
    assert schedule.stabilise_kimg[4] == schedule.fade_kimg[8] == 400
    assert set(schedule.batch_size.values()) == {16}
    assert not config.data.mirror


def test_schedule_takes_every_table_of_the_config(tiny_config):
    tiny_config.schedule.batch_size = "8, 16:4"
    tiny_config.schedule.d_learning_rate = "0.001, 8:0.5"
    tiny_config.optim.d_repeats = 3
    schedule = make_schedule(tiny_config)
    assert schedule.batch_size[16] == 4
    assert schedule.d_learning_rate[8] == 0.5
    assert schedule.pair_nimg(4) == 24
    assert schedule.quantum_pairs == 2


def test_schedule_continues_from_recorded_stages(tiny_config):
    recorded = (Stage(4, 0, 0), Stage(8, 512, 500))
    assert make_schedule(tiny_config, recorded).stage_at(512).start_nimg == 512


def test_networks_take_the_fields_of_the_model(tiny_config):
    tiny_config.model.num_classes = 5
    tiny_config.model.dtype = "bfloat16"
    tiny_config.model.activation = "relu"
    tiny_config.model.fused_resampling = True
    tiny_config.model.g_norm, tiny_config.model.d_norm = "batch", "layer"
    tiny_config.model.g_slope = 0.3
    tiny_config.model.minibatch_discrimination = 7
    g, d = make_networks(tiny_config, 8, per_device_batch=8)
    assert g.resolution == d.resolution == 8
    assert g.options == d.options
    assert asdict(g.options) == tiny_config.model.to_dict()
    image = jax.eval_shape(
        g.init_with_output, jax.random.key(0), jnp.ones((2, 8)), jnp.ones((2, 5))
    )[0]
    assert (image.shape, image.dtype) == ((2, 8, 8, 1), jnp.float32)


@pytest.mark.parametrize(("field", "batch", "used"), [(4, 8, 4), (4, 2, 2), (0, 8, 0)])
def test_the_groups_statistic_is_at_most_the_devices_batch(
    tiny_config, field, batch, used
):
    tiny_config.model.mbstd_group_size = field
    assert make_networks(tiny_config, 8, batch)[1].options.mbstd_group_size == used


def test_groups_of_the_statistic_follow_from_devices(tiny_config):
    tiny_config.schedule.batch_size = "8, 16:2"
    assert stddev_groups(tiny_config, 1) == {4: 4, 8: 4, 16: 2}
    assert stddev_groups(tiny_config, 4) == {4: 2, 8: 2, 16: 0}
    tiny_config.model.mbstd_group_size = 0
    assert stddev_groups(tiny_config, 2) == {4: 8, 8: 8, 16: 2}
    tiny_config.model.minibatch_stddev = False
    assert stddev_groups(tiny_config, 1) == {}


@pytest.mark.parametrize(("space", "scale"), [("full", 4.0), ("stage", 1.0)])
def test_penalty_is_scaled_to_its_space(tiny_config, space, scale):
    tiny_config.loss.gp_norm_space = space
    assert make_step_options(tiny_config, 4, 8).resolution_ratio == scale


def test_coefficient_of_the_noise_is_the_losses(tiny_config):
    assert make_step_options(tiny_config, 4, 8).loss.noise_coefficient == 0
    tiny_config.loss.noise_coefficient = 0.2
    assert make_step_options(tiny_config, 4, 8).loss.noise_coefficient == 0.2


def test_half_life_replaces_the_decay_at_every_batch_size(tiny_config):
    assert make_step_options(tiny_config, 4, 8).ema_decay == 0.999
    tiny_config.optim.ema_half_life_kimg = 10.0
    for batch in (8, 64):
        decay = make_step_options(tiny_config, 4, batch).ema_decay
        assert decay ** (10_000 / batch) == pytest.approx(0.5)


@pytest.mark.parametrize("text", ["16x8", "1x999"])
def test_grids_are_columns_by_rows(text):
    assert parse_grid(text) == tuple(map(int, text.split("x")))


@pytest.mark.parametrize("text", ["0x8", "16", "16x8x2", "ax8", ""])
def test_other_texts_are_no_grid(text):
    assert parse_grid(text) is None
