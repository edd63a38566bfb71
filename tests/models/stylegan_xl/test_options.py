"""Combinations of StyleGAN-XL's options, and what they say of themselves."""

from dataclasses import replace

import pytest

from progan_jax.errors import UserError
from progan_jax.models.options import faults
from progan_jax.models.stylegan_xl.options import (
    LossOptions,
    Options,
    describe,
    joint_faults,
    loss_at,
)
from progan_jax.training.validation import validate

KNOWN = "lite0, deit_tiny, deit_small, deit_base, dinov2_small"

MODEL = {
    "more classes than rows": (
        {"num_classes": 7, "embedding_rows": 6},
        "config.model.num_classes = 7 must be at most config.model.embedding_rows = 6, "
        "the rows of the table of class embeddings; lower it, or raise that with "
        "config.model.embedding_file = ''",
    ),
    "a table without classes": (
        {"embedding_file": "t.npz"},
        "config.model.embedding_file = 't.npz' is for classes, and "
        "config.model.num_classes = 0; set it to '', or train with classes",
    ),
    "a size of lite0 without lite0": (
        {"backbones": "deit_tiny", "backbone_size": 64},
        "config.model.backbone_size = 64 is the side of lite0's input, and "
        "config.model.backbones = 'deit_tiny'; set it to 0, or name lite0, too",
    ),
    "a backbone that is none": (
        {"backbones": "lite0, vgg"},
        f"config.model.backbones = 'lite0, vgg': 'vgg' must be one of {KNOWN}; choose "
        "one",
    ),
    "no backbone": (
        {"backbones": ""},
        f"config.model.backbones = '': '' must be one of {KNOWN}; choose one",
    ),
    "a backbone twice": (
        {"backbones": "lite0,lite0"},
        "config.model.backbones = 'lite0,lite0' must name each network once; leave out "
        "the second",
    ),
    "a file of nothing": (
        {"backbone_weights": "weights.pth"},
        "config.model.backbone_weights = 'weights.pth': 'weights.pth' must be "
        f"NAME=FILE with a NAME of {KNOWN}; write for example 'lite0=FILE'",
    ),
    "no file": (
        {"backbone_weights": "lite0="},
        "config.model.backbone_weights = 'lite0=': 'lite0' must be NAME=FILE with a "
        f"NAME of {KNOWN}; write for example 'lite0=FILE'",
    ),
    "a size between steps": (
        {"backbone_size": 100},
        "config.model.backbone_size = 100 must be 0 or a multiple of 32 from 64, for "
        "the smallest maps that heads take; choose one",
    ),
    "too small a size": (
        {"backbone_size": 32},
        "config.model.backbone_size = 32 must be 0 or a multiple of 32 from 64, for "
        "the smallest maps that heads take; choose one",
    ),
    "a row that is none": (
        {"embedding_rows": 2, "embedding_choice": "1,-2"},
        "config.model.embedding_choice = '1,-2': '-2' must be the number of a row; "
        "write numbers as in '404,817'",
    ),
    "too few rows": (
        {"embedding_rows": 6, "embedding_choice": "404, 817"},
        "config.model.embedding_choice = '404, 817' must have "
        "config.model.embedding_rows = 6 numbers and has 2; set that to 2",
    ),
    "a stage of no number": (
        {"resolution": 32, "stages": "16 x"},
        "config.model.stages has 'x'; write RESOLUTION or RESOLUTION:LAYERS, such as "
        '"16 32:5"',
    ),
    "a stage of no power of two": (
        {"resolution": 32, "stages": "12"},
        "config.model.stages = '12': 12 must be a power of two from 4 to 1024; change "
        "it",
    ),
    "an up factor that is none": (
        {"resolution": 32, "stages": "16 32"},
        "config.model.stages = '16 32': 32 after 32 must be 2, 4, 8 or 16 times as "
        "large; change the resolutions, or config.model.resolution, the last one",
    ),
    "an up factor that is too large": (
        {"resolution": 512, "stages": "16"},
        "config.model.stages = '16': 512 after 16 must be 2, 4, 8 or 16 times as "
        "large; change the resolutions, or config.model.resolution, the last one",
    ),
    "too few layers": (
        {"resolution": 64, "stages": "16 32:2"},
        "config.model.stages = '16 32:2': 2 layers must be at least 3; raise them",
    ),
}


@pytest.mark.parametrize("fault", MODEL)
def test_a_combination_that_is_invalid_is_named_in_one_line(fault):
    fields, message = MODEL[fault]
    assert list(joint_faults(replace(Options(), **fields), LossOptions())) == [message]


def test_guidance_needs_classes():
    loss = LossOptions(guidance_weight=8.0)
    above = Options(resolution=32, stages="16")
    assert list(joint_faults(above, loss)) == [
        "config.loss.guidance_weight = 8 needs classes, and config.model.num_classes = "
        "0; set it to 0, or train with classes"
    ]
    assert not list(joint_faults(replace(above, num_classes=1000), loss))
    many = replace(above, num_classes=1001, embedding_rows=1001)
    assert list(joint_faults(many, loss)) == [
        "config.loss.guidance_weight = 8 needs classes of ImageNet's 1000, and "
        "config.model.num_classes = 1001; set it to 0"
    ]
    assert list(joint_faults(Options(num_classes=1000), loss)) == [
        "config.loss.guidance_weight = 8 is for the stages above the stem, and "
        "config.model.stages = ''; set it to 0, or name stages"
    ]


def test_a_stage_has_the_options_of_its_own_network():
    chain = Options(resolution=128, stages="16 32:5 64", head_layers=6)
    assert chain.sides == (16, 32, 64, 128)
    assert chain.at(16) == replace(chain, resolution=16, stages="")
    assert chain.at(32).chain == ((16, 10), (32, 5))
    assert chain.at(64).chain == ((16, 10), (32, 5), (64, 6))
    assert chain.at(128).chain == chain.chain
    with pytest.raises(ValueError, match="256 is not one of the stages, 16, 32, 64"):
        chain.at(256)


def test_path_lengths_are_for_the_stem_and_guidance_is_for_what_is_above():
    chain = Options(resolution=64, stages="16 32", num_classes=5)
    loss = LossOptions(guidance_weight=8.0, path_weight=2.0)
    weights = {
        side: (of.guidance_weight, of.path_weight)
        for side in chain.sides
        for of in [loss_at(chain, loss, side)]
    }
    assert weights == {16: (0, 2), 32: (8, 0), 64: (8, 0)}


def test_the_defaults_are_valid():
    assert not list(joint_faults(Options(), LossOptions()))
    for options in (Options(), LossOptions()):
        assert not list(faults(type(options), vars(options)))


def refused(config, devices=1):
    with pytest.raises(UserError) as error:
        validate(config, devices)
    return str(error.value).splitlines()


def test_each_device_needs_whole_groups(tiny_xl):
    tiny_xl.model.stats_batch = 8
    tiny_xl.schedule.batch_size = "24"
    validate(tiny_xl, 1)
    assert refused(tiny_xl, 2) == [
        "config.schedule.batch_size = '24': each of 2 device(s) must get equally many "
        "images, a multiple of config.model.stats_batch = 8, which rules out 24 (at "
        "16); choose 16 or 32 for 24, or set config.runtime.num_devices to 1, the "
        "largest number of devices that keeps all groups of the run complete"
    ]
    # Where a device has fewer images than a group, it is not made smaller.
    tiny_xl.schedule.batch_size = "4"
    assert "rules out 4 (at 16); choose 8 for 4" in refused(tiny_xl)[0]


def test_parts_of_a_batch_are_whole_groups(tiny_xl):
    tiny_xl.model.stats_batch = 4
    tiny_xl.schedule.batch_size, tiny_xl.schedule.microbatch = "16", "2"
    assert refused(tiny_xl) == [
        "config.schedule.microbatch = '2' must divide the images of a device into "
        "complete groups of config.model.stats_batch; choose 4, 8, 0 (all) for 2 (at "
        "16: 16 images, groups of 4)"
    ]
    tiny_xl.schedule.microbatch = "8"
    validate(tiny_xl, 1)
    tiny_xl.model.stats_batch = 0
    assert refused(tiny_xl) == [
        "config.schedule.microbatch = '8' would split batches (at 16), which is not "
        "possible with config.model.stats_batch = 0; set it to 0 (all)"
    ]


@pytest.mark.parametrize(
    ("group", "batch", "microbatch", "devices", "part"),
    [(1, "8", "0", 8, 1), (3, "3", "0", 1, 3), (3, "6", "3", 1, 3)],
)
def test_the_penalty_takes_half_of_each_part(
    tiny_xl, group, batch, microbatch, devices, part
):
    tiny_xl.model.stats_batch = group
    tiny_xl.schedule.batch_size, tiny_xl.schedule.microbatch = batch, microbatch
    assert refused(tiny_xl, devices) == [
        f"config.schedule.batch_size = '{batch}': a device takes {part} image(s) at a "
        "time at 16x16, and half as many for the penalty on G, which must be whole; "
        "choose an even number, by batch_size or config.schedule.microbatch"
    ]
    tiny_xl.loss.path_weight = 0.0
    validate(tiny_xl, devices)


def test_networks_of_one_stage_do_not_grow(tiny_xl):
    tiny_xl.schedule.start_resolution = 8
    (line,) = refused(tiny_xl)
    assert "config.schedule.start_resolution = 8 must be 16" in line


def test_a_run_of_stages_that_cannot_be_is_refused_in_one_line(tiny_xl):
    tiny_xl.model.update(resolution=32, stages="8 16")
    tiny_xl.schedule.update(start_resolution=8, fade_kimg="0", total_kimg=10.0)
    tiny_xl.schedule.stabilise_kimg = "1"
    validate(tiny_xl, 1)
    wrong = {
        "start_resolution": (4, "must be one of the stages, 8, 16, 32; choose one"),
        "fade_kimg": ("1", "do not fade in (at 16, 32); set it to '0'"),
        "stabilise_kimg": ("0", "the stage of 8x8 would never end; give it a length"),
        "plateau_evaluations": (2, "needs a value that is measured in training"),
    }
    for field, (value, message) in wrong.items():
        with tiny_xl.unlocked():
            changed = tiny_xl.copy_and_resolve_references()
        changed.schedule[field] = value
        (line,) = refused(changed)
        assert f"config.schedule.{field} = {value!r}" in line and message in line
    tiny_xl.schedule.start_resolution = 16
    assert (
        "16 begins above the stem, which has 8x8; name a trained one in"
        in (refused(tiny_xl)[0])
    )
    tiny_xl.init_from = "runs/stem"
    validate(tiny_xl, 1)


def test_names_and_files_are_read_around_spaces():
    options = Options(
        backbones=" deit_base , lite0",
        backbone_weights="deit_base = a/b.safetensors, lite0=c=d.pth,",
        embedding_choice=" 404, 817 ,",
    )
    assert options.backbone_names == ("deit_base", "lite0")
    files = {"deit_base": "a/b.safetensors", "lite0": "c=d.pth"}
    assert options.weight_paths == files
    assert options.chosen_rows == ("404", "817")


def test_fields_without_effect_do_not_matter():
    for name in ("embedding_rows", "embedding_size"):
        assert Options(num_classes=3).matters(name) and not Options().matters(name)
    assert Options(stages="16").matters("head_layers")
    assert not Options().matters("head_layers") and Options().matters("layers")


def test_a_card_counts_the_layers_of_all_stages():
    stem = describe(Options(layers=10))["synthesis"]
    assert stem == "10 layers and ToRGB, equivariant to translation"
    # The paper has 21 and 39 with ToRGB; its last stage has 5 layers.
    chain = describe(Options(resolution=64, stages="16 32"))["synthesis"]
    assert chain == (
        "20 layers and ToRGB, equivariant to translation, in stages of 16x16, 32x32, "
        "64x64"
    )
    last = Options(
        resolution=1024, head_layers=5, stages="16 32:7 64:7 128:7 256:7 512:7"
    )
    assert describe(last)["synthesis"].startswith("38 layers and ToRGB")


def test_a_card_names_backbones_groups_and_embeddings():
    options = Options(backbones="lite0", backbone_size=64, stats_batch=8)
    assert describe(options)["class embeddings"] == "none"
    rows = describe(replace(options, num_classes=5))
    assert rows["backbones of D"] == "lite0 (3.0 M, Apache-2.0), lite0 at 64"
    assert rows["images per group of statistics"] == "8"
    assert rows["class embeddings"] == "random at the start"
    rows = describe(Options(embedding_file="/home/me/table.npz", num_classes=5))
    assert rows["images per group of statistics"] == "the batch"
    assert rows["class embeddings"] == "from table.npz at the start"
