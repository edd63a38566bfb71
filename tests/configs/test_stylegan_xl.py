"""StyleGAN-XL's recipe, against the reference's numbers."""

import math

import numpy as np
import pytest

from progan_jax.configs import stylegan_xl
from progan_jax.models.common import weight_shapes
from progan_jax.training.config import (
    make_networks,
    make_schedule,
    make_step_options,
)
from progan_jax.training.validation import validate
from tests.configs.test_presets import changes, load, prepared, refusal, write_record

# What the authors' program has, beside the values of base.py and of the options.
PROGRAM = {
    "data.mirror": True,
    "data.requantise_fade": False,
    "data.augment": "color,translation,cutout",
    "model.stats_batch": 8,
    "optim.ema_decay": 0.5**0.0032,
    "optim.ema_rampup": 0.05,
    "schedule.start_resolution": 16,
    "schedule.total_kimg": 25000.0,
    "schedule.rampup_kimg": 0.0,
    "schedule.batch_size": "2048, 128:256, 256:256, 512:256, 1024:256",
    "schedule.fade_kimg": "0",
    "schedule.microbatch": "8",
    "train.tick_kimg": "4",
    "train.grid_ticks": 50,
    "train.snapshot_ticks": 50,
    "train.checkpoint_ticks": 50,
    "eval.metrics": "fid",
}
RATES = ("g_learning_rate", "d_learning_rate")
SMALL = {
    "model.fmap_base": 32768,
    "model.fmap_max": 512,
    "model.layers": 7,
    "model.head_layers": 4,
    "model.train_input": False,
}
# Ours.
TINY = {
    **SMALL,
    "model.resolution": 32,
    "model.fmap_base": 1024,
    "model.fmap_max": 64,
    "model.w_size": 128,
    "model.backbones": "lite0",
    "model.backbone_size": 64,
    "model.stats_batch": 16,
    "loss.blur_kimg": 8.0,
    "loss.path_start_kimg": 40.0,
    "optim.ema_half_life_kimg": 10.0,
    "schedule.start_resolution": 32,
    "schedule.total_kimg": 100.0,
    "train.tick_kimg": "1",
    "train.grid": "16x10",
    "train.grid_ticks": 10,
    "train.snapshot_ticks": 10,
    "train.checkpoint_ticks": 5,
    "eval.metrics": "swd",
}
WIDTHS = {"full": {}, "small": SMALL, "tiny": TINY}
SETS = {
    "imagenet": {"data.name": "imagenet", "model.num_classes": 1000},
    "cifar10": {
        "data.name": "cifar10",
        "model.num_classes": 10,
        "model.embedding_rows": 10,
        "model.embedding_choice": "404,817,15,281,353,207,30,339,510,867",
    },
    "ffhq": {"data.name": "ffhq"},
    "pokemon": {"data.name": "pokemon"},
}


# CIFAR-10's images are of 32x32; the paper trains a stem of 16x16 before.
STAGES = {
    "model.resolution": 32,
    "model.stages": "16",
    "schedule.stabilise_kimg": "25000.0",
    "schedule.total_kimg": 50000.0,
}


def differing(config):
    """Returns what differs from the base, and the rates and betas."""
    found = changes(config, load("base", "stylegan_xl"))
    rates = [float(found.pop(f"schedule.{name}")) for name in RATES]
    betas = [found.pop(f"optim.{name}") for name in ("beta2", "d_beta2")]
    return found, rates, betas


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", SETS)
def test_recipe_is_the_authors_program_of_any_width(name, width):
    config = load("stylegan_xl", f"{name},{width}")
    found, rates, betas = differing(config)
    expected = PROGRAM | SETS[name] | WIDTHS[width]
    if name == "cifar10" and width != "tiny":
        expected |= STAGES
    if width == "tiny":
        # As in base.py: "16" and "0".
        del expected["schedule.batch_size"], expected["schedule.microbatch"]
        if "model.num_classes" in expected:
            expected["train.grid_by_class"] = True
    assert found == expected
    d_rate = 0.0005 if width == "tiny" else 0.002 * 16 / 17
    np.testing.assert_allclose(rates, [0.002, d_rate], rtol=1e-12)
    np.testing.assert_allclose(betas, [0.99 ** (4 / 5), 0.99 ** (16 / 17)], rtol=1e-12)
    assert (config.optim.beta1, config.optim.epsilon) == (0.0, 1e-8)
    for devices in (1,) if width == "tiny" else (1, 8, 256):
        validate(config, devices)


def test_without_an_argument_it_is_imagenet_at_its_full_width():
    full = load("stylegan_xl", "imagenet,full")
    assert load("stylegan_xl") == load("stylegan_xl", "imagenet") == full


def test_options_without_a_recipe_are_the_authors():
    config = load("stylegan_xl")
    model, loss = config.model, config.loss
    assert (model.latent_size, model.w_size, model.mapping_layers) == (64, 512, 2)
    assert (model.fmap_base, model.fmap_max, model.layers) == (65536, 1024, 10)
    assert (model.embedding_rows, model.embedding_size) == (1000, 320)
    assert (model.backbones, model.w_average_decay) == ("deit_base,lite0", 0.998)
    assert (model.equivariance, model.head_layers) == ("translation", 7)
    assert (loss.reduction, loss.labels, loss.guidance_weight) == ("sum", "data", 0)
    assert (loss.blur_sigma, loss.blur_kimg) == (2, 300)
    assert (loss.path_weight, loss.path_every, loss.path_decay) == (2, 4, 0.01)
    assert loss.path_start_kimg == 1000
    assert not config.optim.simultaneous and config.optim.d_repeats == 1


def test_the_average_has_a_half_life_that_rises_to_640_thousand_images():
    options = make_step_options(load("stylegan_xl"), 16, 2048)
    assert options.ema_decay == pytest.approx(0.5 ** (2048 / 640_000))
    # The authors' rule is by the batch, which is smaller at 128x128.
    options_128 = make_step_options(load("stylegan_xl", "imagenet,128"), 128, 256)
    assert options_128.ema_decay == pytest.approx(0.5 ** (256 / 80_000))
    # After so many images the ramp is at its end: a twentieth of them is 640,000.
    ramp = 0.5 ** (1 / (options.ema_ramp * 12.8e6))
    assert ramp == pytest.approx(options.ema_decay)
    assert options.microbatches == 256
    assert make_step_options(load("stylegan_xl"), 16, 2048, 8).microbatches == 32


@pytest.mark.parametrize(
    ("argument", "mapping", "synthesis"),
    [
        ("imagenet", 669_248, 101_214_215),
        ("pokemon,small", 615_936 - 320_000, 18_885_639),
    ],
)
def test_generators_have_as_many_parameters_as_the_reference_counts(
    argument, mapping, synthesis
):
    """An unconditional network of ours has no table of 320,000 unused numbers."""
    config = load("stylegan_xl", argument)
    generator, _ = make_networks(config, config.model.resolution, 8)
    shapes = weight_shapes(generator)
    sizes = [
        sum(math.prod(shape) for path, shape in shapes.items() if path[0] == network)
        for network in ("mapping", "synthesis")
    ]
    assert sizes == [mapping, synthesis]


def test_a_resolution_may_follow_a_set_or_a_width():
    for argument in ("ffhq,32", "ffhq,full,32", "ffhq,small,32", "ffhq,tiny,16"):
        config = load("stylegan_xl", argument)
        side = int(argument[-2:])
        assert config.model.resolution == config.schedule.start_resolution == side
        validate(config, 1)


def test_stages_are_as_long_as_a_stem_each():
    config = load("stylegan_xl", "imagenet,16-32-128")
    assert (config.model.stages, config.model.resolution) == ("16 32", 128)
    schedule = make_schedule(config)
    assert [stage.resolution for stage in schedule.stages()] == [16, 32, 128]
    lengths = [(schedule.stage_end(s) - s.start_nimg) for s in schedule.stages()]
    assert lengths == pytest.approx([25e6] * 3, rel=1e-3)
    assert [schedule.batch_size[side] for side in (16, 32, 128)] == [2048, 2048, 256]
    assert config.model.train_input
    validate(config, 1)
    tiny = load("stylegan_xl", "cifar10,tiny,8-16-32")
    assert (tiny.model.stages, tiny.schedule.total_kimg) == ("8 16", 300)
    assert not tiny.model.train_input
    validate(tiny, 1)


def test_a_folder_has_its_own_classes_and_the_stems_resolution(tmp_path):
    folder = prepared(tmp_path)
    config = load("stylegan_xl", f"folder={folder},small")
    found, *_ = differing(config)
    own = {"data.name": "faces", "data.data_dir": str(tmp_path)}
    assert found == PROGRAM | SMALL | own
    validate(config, 1)
    # More classes than ImageNet has take a larger table.
    write_record(folder, num_classes=1200)
    model = load("stylegan_xl", f"folder={folder}").model
    assert (model.num_classes, model.embedding_rows) == (1200, 1200)
    write_record(folder, num_classes=10)
    model = load("stylegan_xl", f"folder={folder}").model
    assert (model.num_classes, model.embedding_rows) == (10, 1000)


def test_classes_of_a_folder_take_imagenets_rows_of_their_names(tmp_path):
    names = ["Golden_Retriever", "my dog", "n02123045"]
    folder = prepared(tmp_path)
    write_record(folder, num_classes=3, class_names=names)
    model = load("stylegan_xl", f"folder={folder},tiny").model
    # "tabby" is 281; "my dog" takes the first row that is left.
    assert (model.embedding_rows, model.embedding_choice) == (3, "207,0,281")
    write_record(folder, num_classes=2, class_names=["me", "you"])
    model = load("stylegan_xl", f"folder={folder},tiny").model
    assert (model.embedding_rows, model.embedding_choice) == (1000, "")


def test_sets_and_widths_are_all_tested():
    assert list(stylegan_xl.CLASSES) == list(SETS)
    assert list(stylegan_xl.WIDTHS) == list(WIDTHS)


@pytest.mark.parametrize(
    ("argument", "given", "allowed"),
    [
        ("lsun", "'lsun'", "imagenet, cifar10, ffhq, pokemon, folder=DIR/NAME"),
        ("", "''", "imagenet, cifar10, ffhq"),
        ("tiny", "'tiny'", "SET,WIDTH,STAGES"),
        ("ffhq,huge", "'huge'", "full, small, tiny"),
        ("ffhq,", "''", "full, small, tiny"),
        ("ffhq,32,small", "'small'", "SET,WIDTH,STAGES"),
        ("ffhq,small,32,32", "'32'", "SET,WIDTH,STAGES"),
        ("ffhq,small,48", "'48'", "such as 16-32"),
        ("ffhq,small,16-48", "'16-48'", "such as 16-32"),
        ("ffhq,small,48", "'48'", "powers of two from 4 to 1024"),
    ],
)
def test_a_wrong_argument_is_refused_in_one_line(argument, given, allowed):
    message = refusal("stylegan_xl", argument)
    assert f"--config=stylegan_xl:{argument}: {given}" in message
    assert allowed in message
    assert "; " in message


def test_a_folder_that_is_none_is_refused(tmp_path):
    message = refusal("stylegan_xl", f"folder={tmp_path / 'none'},tiny")
    assert "is not a folder" in message
    assert "name the folder of a prepared set" in refusal("stylegan_xl", "folder=")


@pytest.mark.parametrize(
    ("given", "wrong"),
    [("huge", "huge"), ("huge,32", "huge"), ("32,tiny", "tiny"), ("tiny,4,8", "8")],
)
def test_what_follows_a_prepared_set_must_be_width_or_stages(tmp_path, given, wrong):
    message = refusal("stylegan_xl", f"folder={prepared(tmp_path)},{given}")
    assert f"{wrong!r} must be WIDTH or STAGES" in message


@pytest.mark.parametrize(
    ("rest", "side"), [("", 16), (",tiny", 32), (",64", 64), (",tiny,16-32", 32)]
)
@pytest.mark.parametrize("name", ["Holiday, 2024", "small,32,of"])
def test_a_path_may_have_commas(tmp_path, name, rest, side):
    folder = tmp_path / name
    prepared(tmp_path).rename(folder)
    config = load("stylegan_xl", f"folder={folder}{rest}")
    assert config.data.name == name
    assert config.model.resolution == side
    assert (config.model.fmap_max == 64) == ("tiny" in rest)
    missing = f"{tmp_path / 'none'}, 2024"
    message = refusal("stylegan_xl", f"folder={missing}{rest}")
    assert f"--config=FILE:{missing}: it is not a folder" in message
