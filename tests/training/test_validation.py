"""Every mistake in a configuration is one line: field, value, rule and fix."""

import dataclasses

import numpy as np
import pytest

from progan_jax.data.pyramid import build_pyramid
from progan_jax.errors import UserError
from progan_jax.training.validation import validate, validate_data


def faults(config):
    with pytest.raises(UserError) as error:
        validate(config, 1)
    return str(error.value).split("\n")


def set_field(config, field, value):
    *group, name = field.split(".")
    (config[group[0]] if group else config)[name] = value


def test_a_good_configuration_passes(tiny_config):
    validate(tiny_config, 1)


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("model.fmap_decay", 2000.0, "must be at most 10"),
        ("model.fmap_decay", float("inf"), "must be at most 10"),
        ("schedule.total_kimg", 1e300, "must be at most 1000000"),
        ("seed", 2**32, "must be at most 4294967295"),
        ("loss.gp_weight", float("inf"), "must be finite"),
        ("loss.drift_weight", float("nan"), "must be at least 0"),
        ("runtime.pairs_per_dispatch", 10**9, "must be at most 10000"),
        ("model.resolution", 48, "must be one of 4, 8, 16"),
        ("model.resolution", 2048, "must be one of 4, 8, 16"),
        ("model.channels", 4, "must be one of 1, 3"),
        ("model.dtype", "float16", "must be one of float32, bfloat16, float64"),
        ("model.remat", "all", "must be one of none, blocks"),
        ("model.latent_size", 0, "must be at least 1"),
        ("model.g_norm", "layer", "must be one of none, batch"),
        ("model.d_norm", "pixel", "must be one of none, layer, batch"),
        ("model.topology", "small", "must be one of progan, mode_test"),
        ("model.d_divisor", 0, "must be at least 1"),
        ("model.g_slope", -0.1, "must be at least 0"),
        ("model.g_slope", 1.5, "must be at most 1"),
        ("model.minibatch_discrimination", -1, "must be at least 0"),
        ("loss.noise_coefficient", -0.2, "must be at least 0"),
        ("loss.noise_coefficient", float("inf"), "must be finite"),
        ("model.fmap_max", 0, "must be at least 1"),
        ("model.activation", "gelu", "must be one of leaky_relu, relu"),
        ("loss.kind", "hinge", "must be one of wgan_gp, lsgan, relativistic"),
        ("loss.gp_target", 0.0, "must be above 0"),
        ("loss.gp_norm_space", "half", "must be one of full, stage"),
        ("optim.beta2", 1.0, "must lie in [0, 1)"),
        ("optim.ema_decay", -0.1, "must lie in [0, 1)"),
        ("optim.d_repeats", 0, "must be at least 1"),
        ("schedule.total_kimg", -1.0, "must be above 0"),
        ("schedule.batch_size", "8, 5:3", "a table is a value for all resolutions"),
        ("schedule.batch_size", "0", "0 at 4 must be at least 1"),
        ("schedule.fade_kimg", "-1", "must be at least 0"),
        ("train.grid", "big", "must be '1080p', '4k' or COLUMNSxROWS"),
        ("train.keep_checkpoints", 0, "must be at least 1"),
        ("data.name", "", "names no data set"),
        ("data.feed", "fast", "must be one of auto, resident, streamed"),
        ("data.augment", "color,flip", "'flip' must be one of color, translation, cut"),
        ("runtime.pairs_per_dispatch", 0, "must be at least 1"),
    ],
)
def test_a_bad_value_is_one_line_with_field_value_and_rule(
    tiny_config, field, value, words
):
    set_field(tiny_config, field, value)
    (line,) = faults(tiny_config)
    assert line.startswith(f"config.{field} = {value!r}")
    assert words in line


@pytest.mark.parametrize("family", ["stylegan", "stylegan_xl"])
def test_another_family_than_the_recipes_is_one_line(tiny_config, family):
    tiny_config.family = family
    assert faults(tiny_config) == [
        f"config.family = {family!r} does not fit config.model, since a recipe's "
        "family cannot be changed; choose a recipe of that family"
    ]


def test_all_faults_are_reported_at_once(tiny_config):
    set_field(tiny_config, "model.resolution", 33)
    set_field(tiny_config, "loss.kind", "hinge")
    assert len(faults(tiny_config)) == 2


@pytest.mark.parametrize(
    ("field", "value", "off"),
    [
        ("model.fused_resampling", True, "False"),
        ("model.minibatch_discrimination", 100, "0"),
        ("loss.noise_coefficient", 0.2, "0.0"),
    ],
)
def test_what_the_mode_tests_networks_lack_is_refused(tiny_config, field, value, off):
    tiny_config.loss.kind = "lsgan"
    set_field(tiny_config, field, value)
    validate(tiny_config, 1)
    tiny_config.model.topology = "mode_test"
    (line,) = faults(tiny_config)
    assert line == (
        f"config.{field} = {value} is not available with config.model.topology = "
        f"'mode_test'; set it to {off}"
    )


def test_a_divisor_of_ds_maps_leaves_integers(tiny_config):
    # 8, 8, 8 and 4 maps at 2x2 to 16x16.
    tiny_config.model.d_divisor = 2
    validate(tiny_config, 1)
    tiny_config.model.d_divisor = 8
    (line,) = faults(tiny_config)
    assert line == (
        "config.model.d_divisor = 8 must divide G's feature maps, which rules out 4 "
        "(at 16x16); choose a divisor of 4"
    )


def test_noise_is_of_lsgan_alone(tiny_config):
    tiny_config.loss.noise_coefficient = 0.2
    (line,) = faults(tiny_config)
    assert line == (
        "config.loss.noise_coefficient = 0.2 is for LSGAN only, and config.loss.kind = "
        "'wgan_gp'; set it to 0, or config.loss.kind to 'lsgan'"
    )
    tiny_config.loss.kind = "lsgan"
    validate(tiny_config, 1)


@pytest.mark.parametrize("penalty", ["r1_weight", "r2_weight"])
def test_r1_and_r2_are_of_the_relativistic_loss_alone(tiny_config, penalty):
    tiny_config.loss[penalty] = 0.5
    (line,) = faults(tiny_config)
    assert line == (
        f"config.loss.{penalty} = 0.5 is for the relativistic loss only, and "
        "config.loss.kind = 'wgan_gp'; set it to 0, or config.loss.kind to "
        "'relativistic'"
    )
    tiny_config.loss.kind = "relativistic"
    tiny_config.loss.r1_weight = tiny_config.loss.r2_weight = 0.5
    validate(tiny_config, 1)
    tiny_config.optim.simultaneous = True
    validate(tiny_config, 1)
    tiny_config.loss.noise_coefficient = 0.2
    (line,) = faults(tiny_config)
    assert "noise_coefficient = 0.2 is for LSGAN only" in line


def test_networks_of_a_fixed_structure_do_not_grow(tiny_stylegan):
    tiny_stylegan.model.structure = "fixed"
    with pytest.raises(UserError) as caught:
        validate(tiny_stylegan, 1)
    assert str(caught.value) == (
        "config.schedule.start_resolution = 8 must be 16, since networks with "
        "config.model.structure = 'fixed' do not grow; set it to that"
    )
    tiny_stylegan.schedule.start_resolution = 16
    validate(tiny_stylegan, 1)


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"g_norm": "batch"}, "config.model.g_norm = 'batch'"),
        ({"d_norm": "batch"}, "config.model.d_norm = 'batch'"),
        (
            {"g_norm": "batch", "minibatch_discrimination": 5},
            "config.model.g_norm = 'batch' and "
            "config.model.minibatch_discrimination = 5",
        ),
    ],
)
def test_layers_of_the_whole_batch_have_no_microbatches(tiny_config, fields, told):
    tiny_config.model.update(fields)
    validate(tiny_config, 1)
    tiny_config.schedule.microbatch = "8, 16:4"
    (line,) = faults(tiny_config)
    assert line == (
        "config.schedule.microbatch = '8, 16:4' would split batches (at 16), which is "
        f"not possible with {told}; set it to 0 (all)"
    )


def test_layer_norm_and_noise_may_have_microbatches(tiny_config):
    tiny_config.model.d_norm = "layer"
    tiny_config.loss.kind, tiny_config.loss.noise_coefficient = "lsgan", 0.2
    tiny_config.schedule.microbatch = "4"
    validate(tiny_config, 1)


def test_a_schedule_that_never_reaches_the_resolution_is_refused(tiny_config):
    tiny_config.schedule.total_kimg = 0.2
    (line,) = faults(tiny_config)
    # 4x4 for 0.064, then a fade and a hold of 0.064 each at 8x8, then the last fade.
    assert line == (
        "config.schedule.total_kimg = 0.2: the run ends before 16x16 has faded in at "
        "0.256 kimg; raise it above 0.256, or shorten stabilise_kimg, fade_kimg or "
        "quantum_pairs"
    )


def test_quanta_longer_than_stages_count_for_the_end(tiny_config):
    # Quanta of 0.4 kimg: 4x4, then 8x8, then 16x16 for one each, if need be.
    tiny_config.schedule.quantum_pairs = 50
    tiny_config.schedule.total_kimg = 0.5
    (line,) = faults(tiny_config)
    assert "has faded in at 0.8 kimg; raise it above 0.8" in line
    tiny_config.schedule.total_kimg = 0.81
    validate(tiny_config, 1)


def test_distances_need_images_of_16_pixels(tiny_config):
    tiny_config.eval.stage_swd_images = 64
    validate(tiny_config, 1)
    tiny_config.model.resolution = 8
    (line,) = faults(tiny_config)
    assert line == (
        "config.eval.stage_swd_images = 64 needs images of 16x16 or more, and "
        "config.model.resolution = 8; set it to 0"
    )


def test_stages_without_length_are_refused(tiny_config):
    tiny_config.schedule.stabilise_kimg = tiny_config.schedule.fade_kimg = "0"
    (line,) = faults(tiny_config)
    assert "a run that grows needs a length for its stages" in line


def test_a_start_above_the_end_is_refused(tiny_config):
    tiny_config.schedule.start_resolution = 32
    (line,) = faults(tiny_config)
    assert line == (
        "config.schedule.start_resolution = 32 must not exceed "
        "config.model.resolution = 16; lower it"
    )


def test_simultaneous_updates_have_no_repeats(tiny_config):
    tiny_config.optim.simultaneous = True
    tiny_config.optim.d_repeats = 2
    (line,) = faults(tiny_config)
    assert "config.optim.d_repeats = 2 must be 1 for simultaneous updates" in line


def test_widths_that_vanish_are_refused(tiny_config):
    tiny_config.model.fmap_base = 4
    tiny_config.model.resolution = 32
    tiny_config.schedule.total_kimg = 10.0
    (line,) = faults(tiny_config)
    assert line == (
        "config.model.fmap_base = 4 leaves no feature map at 32x32; raise it to 16 or "
        "more"
    )


@pytest.fixture
def pyramid():
    images = np.zeros((4, 16, 16, 1), np.uint8)
    return build_pyramid("set", images, np.int32([0, 1, 2, 0]), 3)


@pytest.mark.parametrize(
    ("field", "value", "changes", "words"),
    [
        ("channels", 3, {}, "= 3: the images of set have 1; set --config.model.ch"),
        ("num_classes", 5, {}, "= 5: set has 3 classes; set it to that, to 0, or"),
        ("num_classes", 3, {"labels": None}, "= 3: set has no labels; set it to 0"),
    ],
)
def test_networks_that_do_not_fit_the_data_are_refused(
    tiny_config, pyramid, field, value, changes, words
):
    tiny_config.model[field] = value
    with pytest.raises(UserError) as error:
        validate_data(tiny_config, dataclasses.replace(pyramid, **changes))
    assert str(error.value).startswith(f"config.model.{field} {words}")


def test_networks_that_fit_the_data_pass(tiny_config, pyramid):
    validate_data(tiny_config, pyramid)
    tiny_config.model.num_classes = 3
    validate_data(tiny_config, pyramid)


def test_fewer_classes_than_the_sets_are_taken_when_asked_for(tiny_config, pyramid):
    tiny_config.model.num_classes = 2
    with pytest.raises(UserError, match=r"or to less with config\.data\.truncate_lab"):
        validate_data(tiny_config, pyramid)
    tiny_config.data.truncate_labels = True
    validate_data(tiny_config, pyramid)
    tiny_config.model.num_classes = 4
    with pytest.raises(UserError, match="num_classes = 4: set has 3 classes"):
        validate_data(tiny_config, pyramid)


def test_rows_by_class_need_classes(tiny_config, pyramid):
    tiny_config.train.grid_by_class = True
    validate_data(tiny_config, pyramid)
    with pytest.raises(UserError, match="grid_by_class = True: set has no labels; set"):
        validate_data(tiny_config, dataclasses.replace(pyramid, labels=None))
