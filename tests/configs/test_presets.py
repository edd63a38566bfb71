"""The recipes against the reference, whose numbers stand here once more, by hand."""

import importlib
import json
import shlex

import ml_collections
import numpy as np
import pytest

from progan_jax.configs import base, celeba_hq, lsun
from progan_jax.errors import UserError
from progan_jax.training.config import get_field, make_schedule, parse_table
from progan_jax.training.schedule import Schedule
from progan_jax.training.start import open_set
from progan_jax.training.validation import validate

CIFAR10 = {
    "data.name": "cifar10",
    "model.latent_size": 128,
    "model.fmap_base": 4096,
    "model.fmap_max": 128,
    "loss.gp_target": 750.0,
    "optim.simultaneous": True,
    "schedule.total_kimg": 20000.0,
    "schedule.stabilise_kimg": "400",
    "schedule.fade_kimg": "400",
    "schedule.rampup_kimg": 0.0,
}
CELEBA = {
    "data.name": "celeba",
    "data.mirror": True,
    "model.resolution": 128,
    "model.fmap_base": 2048,
    "schedule.total_kimg": 10000.0,
    "schedule.stabilise_kimg": "800",
    "schedule.fade_kimg": "800",
    "schedule.rampup_kimg": 0.0,
}
CELEBA_HQ = {
    "data.name": "celeba_hq",
    "data.mirror": True,
    "model.resolution": 1024,
}
CELEBA_HQ_PAPER = {
    "schedule.total_kimg": 19000.0,
    "schedule.stabilise_kimg": "800",
    "schedule.fade_kimg": "800",
    "schedule.batch_size": "16, 256:14, 512:6, 1024:3",
}
LSUN_PAPER = {
    "model.resolution": 256,
    "schedule.total_kimg": 20000.0,
    "schedule.stabilise_kimg": "800",
    "schedule.fade_kimg": "800",
}
# What the later program does otherwise than the paper's, in every preset.
V2 = {
    "data.requantise_fade": False,
    "model.fused_resampling": True,
    "model.normalize_labels": True,
    "model.mbstd_group_size": 4,
    "loss.fake_labels": "reals",
    "optim.ema_after": "d_step",
    "schedule.total_kimg": 12000.0,
    "schedule.rampup_kimg": 0.0,
    "schedule.quantum_pairs": 4,
    "train.tick_kimg": (
        "160, 8:140, 16:120, 32:100, 64:80, 128:60, 256:40, 512:20, 1024:10"
    ),
    "train.grid_ticks": 1,
    "train.snapshot_ticks": 10,
}
V2_TABLES = (
    "schedule.batch_size",
    "schedule.g_learning_rate",
    "schedule.d_learning_rate",
)
# By preset: devices, batches at 4 to 1024, learning rates where they are not 0.001.
V2_BATCHES = {
    "v2_1gpu": (1, [128, 128, 128, 64, 32, 16, 8, 4, 4], {1024: 0.0015}),
    "v2_2gpus": (2, [256, 256, 128, 64, 32, 16, 8, 8, 8], {512: 0.0015, 1024: 0.002}),
    "v2_4gpus": (
        4,
        [512, 256, 128, 64, 32, 16, 16, 16, 16],
        {256: 0.0015, 512: 0.002, 1024: 0.003},
    ),
    "v2_8gpus": (
        8,
        [512, 256, 128, 64, 32, 32, 32, 32, 32],
        {128: 0.0015, 256: 0.002, 512: 0.003, 1024: 0.003},
    ),
    # Ours: four images to each of 16 devices at the least.
    "pod16": (
        16,
        [512, 256, 128, 64, 64, 64, 64, 64, 64],
        {64: 0.0015, 128: 0.002, 256: 0.003, 512: 0.003, 1024: 0.003},
    ),
}
FOR_16_GIB = {"model.dtype": "bfloat16", "model.remat": "blocks"}
FOLDER_SMALL = {
    "data.mirror": True,
    "data.augment": "color,translation,cutout",
    "model.fmap_base": 4096,
    "model.fmap_max": 256,
    "schedule.total_kimg": 4000.0,
    "schedule.stabilise_kimg": "200",
    "schedule.fade_kimg": "200",
    "schedule.batch_size": "32, 256:16, 512:8, 1024:4",
    "train.snapshot_ticks": 10,
}
# TFDS's names and the authors', where these are not the same.
RESPELT = {
    "church_outdoor": "churchoutdoor",
    "conference_room": "conferenceroom",
    "dining_room": "diningroom",
    "dining_table": "diningtable",
    "living_room": "livingroom",
    "potted_plant": "pottedplant",
    "tv-monitor": "tvmonitor",
}
SAME = (
    *("airplane", "bedroom", "bicycle", "bird", "boat", "bottle", "bridge", "bus"),
    *("car", "cat", "chair", "classroom", "cow", "dog", "horse", "kitchen"),
    *("motorbike", "person", "restaurant", "sheep", "sofa", "tower", "train"),
)
LSUN = {name: name for name in SAME} | RESPELT


def load(name, *arguments) -> ml_collections.ConfigDict:
    return importlib.import_module(f"progan_jax.configs.{name}").get_config(*arguments)


def leaves(config, prefix=""):
    for name, value in config.items():
        if isinstance(value, ml_collections.ConfigDict):
            yield from leaves(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def changes(config, reference=None):
    """Returns the fields that are not as in the reference, base.py by default."""
    before = dict(leaves(reference or base.get_config()))
    after = dict(leaves(config))
    assert after.keys() == before.keys()
    assert all(type(after[field]) is type(before[field]) for field in before)
    assert config.is_locked
    return {field: after[field] for field in after if after[field] != before[field]}


def prepared(root, name="faces", resolution=64):
    """Makes what describes a prepared set, without its levels."""
    folder = root / name
    folder.mkdir(parents=True)
    write_record(folder, resolution=resolution)
    return folder


def write_record(folder, **fields):
    """Writes what prepare_data writes last."""
    record = {"identity": {}, "resolution": 64, "channels": 3}
    record |= {"num_images": 5, "num_classes": 0} | fields
    (folder / "pyramid.json").write_text(json.dumps(record))
    np.save(folder / "labels.npy", np.zeros(5, np.int32))


def num_pairs(schedule: Schedule, resolution=None):
    return sum(
        (schedule.stage_end(stage) - stage.start_nimg)
        / schedule.pair_nimg(stage.resolution)
        for stage in schedule.stages()
        if resolution in (None, stage.resolution)
    )


@pytest.mark.parametrize(
    ("name", "arguments", "expected"),
    [
        ("cifar10", [], CIFAR10),
        (
            "cifar10_conditional",
            [],
            {f: v for f, v in CIFAR10.items() if f != "loss.gp_target"}
            | {"model.num_classes": 10},
        ),
        ("celeba", [], CELEBA),
        ("celeba_hq", [], CELEBA_HQ | CELEBA_HQ_PAPER),
        ("celeba_hq", ["paper"], CELEBA_HQ | CELEBA_HQ_PAPER),
        ("lsun_bedroom", [], LSUN_PAPER | {"data.name": "lsun/bedroom"}),
    ],
)
def test_recipe_of_the_paper_differs_in_what_is_documented(name, arguments, expected):
    config = load(name, *arguments)
    assert changes(config) == expected
    validate(config, 1)


def test_conditional_cifar10_has_gamma_and_class_terms_of_weight_1():
    config = load("cifar10_conditional")
    assert config.loss.gp_target == config.loss.label_weight == 1
    assert changes(config, load("cifar10")) == {
        "model.num_classes": 10,
        "loss.gp_target": 1.0,
    }


@pytest.mark.parametrize("preset", V2_BATCHES)
@pytest.mark.parametrize(
    ("recipe", "category", "own"),
    [
        ("celeba_hq", "", CELEBA_HQ),
        (
            "lsun",
            "cat,",
            {"data.name": "lsun/cat", "data.mirror": True, "model.resolution": 256},
        ),
    ],
)
def test_later_preset_differs_in_what_is_documented(recipe, category, own, preset):
    devices, batches, rates = V2_BATCHES[preset]
    config = load(recipe, category + preset)
    differing = changes(config)
    tables = {field: differing.pop(field) for field in V2_TABLES}
    assert differing == own | V2 | (FOR_16_GIB if preset == "pod16" else {})
    validate(config, devices)
    batch_size, g_rate, d_rate = tables.values()
    assert list(parse_table(batch_size, "batch", 1).values()) == batches
    assert g_rate == d_rate
    expected = dict.fromkeys(parse_table("0", "rate"), 0.001) | rates
    assert parse_table(g_rate, "rate") == expected


def test_the_pods_rates_rise_one_resolution_before_those_for_half_its_batch():
    rates = [
        parse_table(load("celeba_hq", preset).schedule.g_learning_rate, "rate")
        for preset in ("v2_8gpus", "pod16")
    ]
    for resolution in (4, 8, 16, 32, 64, 128, 256, 512):
        assert rates[1][resolution] == rates[0][2 * resolution]
    assert max(rates[1].values()) == max(rates[0].values())


def test_presets_are_all_tested():
    assert set(celeba_hq.PRESETS) == {"paper", *V2_BATCHES}
    assert sorted(lsun.CATEGORIES) == sorted(LSUN)
    assert len(LSUN) == 30


@pytest.mark.parametrize(
    ("preset", "millions"),
    [("paper", 3.26), ("v2_1gpu", 1.35), ("v2_8gpus", 0.278)],
)
def test_presets_train_as_many_pairs_as_the_reference_counts(preset, millions):
    pairs = num_pairs(make_schedule(load("celeba_hq", preset)))
    # The reference gives three digits.
    assert pairs / 1e6 == pytest.approx(millions, rel=4e-3)


def test_later_preset_trains_each_resolution_as_long_as_the_reference_counts():
    schedule = make_schedule(load("celeba_hq", "v2_1gpu"))
    counts = [4688, 9375, 9375, 18750, 37500, 75000, 150000, 300000, 750000]
    for k, count in enumerate(counts):
        # A quantum of four pairs may fall to the neighbour, half of one at each end.
        assert num_pairs(schedule, 4 << k) == pytest.approx(count, abs=8)


@pytest.mark.parametrize(("name", "authors"), LSUN.items())
def test_lsun_category_by_tfds_or_by_the_authors_spelling(name, authors):
    config = load("lsun", name)
    expected = LSUN_PAPER | {"data.name": f"lsun/{name}"}
    if name not in ("bedroom", "dog"):
        expected["data.mirror"] = True
    assert changes(config) == expected
    assert load("lsun", authors) == load("lsun", f"{authors},paper") == config
    for devices in (1, 2, 4, 8):
        validate(config, devices)


def test_lsun_knows_the_categories_of_tfds():
    module = pytest.importorskip("tensorflow_datasets.image.lsun")
    names = {config.name for config in module.Lsun.BUILDER_CONFIGS}
    assert names == set(lsun.CATEGORIES)


def test_lsun_bedroom_is_one_of_them():
    assert load("lsun", "bedroom") == load("lsun_bedroom")


def test_full_sets_are_not_mirrored_by_later_presets_either():
    assert not load("lsun", "bedroom,v2_1gpu").data.mirror
    assert not load("lsun", "dog,v2_8gpus").data.mirror


@pytest.mark.parametrize("resolution", [64, 1024])
def test_folder_is_the_papers_recipe_for_a_prepared_set(tmp_path, resolution):
    folder = prepared(tmp_path, resolution=resolution)
    config = load("folder", str(folder))
    expected = {
        "data.name": "faces",
        "data.data_dir": str(tmp_path),
        "model.resolution": resolution,
    }
    assert changes(config) == expected
    small = load("folder_small", str(folder))
    assert changes(small) == expected | FOLDER_SMALL
    for devices in (1, 2, 4):
        validate(config, devices)
        validate(small, devices)


@pytest.mark.parametrize(("resolution", "gamma"), [(32, 0.5), (128, 8)])
def test_a_small_folder_may_have_the_relativistic_loss(tmp_path, resolution, gamma):
    folder = prepared(tmp_path, resolution=resolution)
    config = load("folder_small", f"{folder},relativistic")
    validate(config, 1)
    loss = {
        "loss.kind": "relativistic",
        "loss.r1_weight": gamma,
        "loss.r2_weight": gamma,
    }
    plain = load("folder_small", str(folder))
    assert changes(config) == changes(plain) | loss
    assert refusal("folder_small", f"{folder},hinge") == (
        f"--config=folder_small:{folder},hinge: 'hinge' must be LOSS of "
        "folder_small:PATH,LOSS, which is relativistic; write that or nothing"
    )


@pytest.mark.parametrize("recipe", ["folder", "folder_small"])
@pytest.mark.parametrize(
    ("channels", "in_set", "learnt"), [(1, 10, 10), (3, 2, 2), (1, 1, 0), (3, 0, 0)]
)
def test_channels_and_classes_of_a_folder_are_those_of_the_set(
    tmp_path, recipe, channels, in_set, learnt
):
    folder = prepared(tmp_path)
    before = load(recipe, str(folder))
    write_record(folder, channels=channels, num_classes=in_set)
    model = load(recipe, str(folder)).model
    assert (model.channels, model.num_classes) == (channels, learnt)
    write_record(folder)
    assert load(recipe, str(folder)) == before


def test_a_damaged_record_of_a_folder_is_refused(tmp_path):
    folder = prepared(tmp_path)
    (folder / "pyramid.json").write_text("{")
    assert f"{folder / 'pyramid.json'} cannot be read" in refusal("folder", str(folder))


@pytest.mark.parametrize("recipe", ["folder", "folder_small"])
def test_a_folder_without_its_largest_level_is_not_trained_at_a_smaller_one(
    tmp_path, recipe
):
    folder = prepared(tmp_path, resolution=8)
    (folder / "r004" / "1.0.0").mkdir(parents=True)
    config = load(recipe, str(folder))
    assert config.model.resolution == 8
    missing = rf"{folder}/r008/1\.0\.0: dataset_info\.json or features\.json cannot"
    with pytest.raises(UserError, match=missing):
        open_set(config)


@pytest.mark.parametrize("path", [".", "../faces", "../faces/", "./"])
def test_folder_of_any_spelling_has_name_and_parent(tmp_path, monkeypatch, path):
    monkeypatch.chdir(prepared(tmp_path))
    data = load("folder", path).data
    assert (data.name, data.data_dir) == ("faces", str(tmp_path))


def test_folder_at_home_is_found(tmp_path, monkeypatch):
    prepared(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert load("folder", "~/faces").data.data_dir == str(tmp_path)


def test_an_unfinished_pyramid_wants_its_command_again(tmp_path):
    folder = prepared(tmp_path)
    (folder / "pyramid.json").unlink()
    (folder / ".partial").mkdir()
    message = refusal("folder", str(folder))
    assert "the pyramid is not finished; run its prepare_data command" in message
    assert "folder:" not in message.partition("finished")[2]
    write_record(folder)  # Stopped as it was cleaning up.
    assert load("folder", str(folder)).data.name == folder.name


@pytest.mark.parametrize("recipe", ["folder", "folder_small"])
def test_unprepared_folder_is_refused_with_the_command_that_prepares_it(
    recipe, tmp_path
):
    images = tmp_path / "my images"
    (images / "r2d2").mkdir(parents=True)
    (images / "r064").mkdir()  # No level.
    message = refusal(recipe, str(images))
    assert f"{images}: it holds no prepared set" in message
    assert (
        "python -m progan_jax.tools.prepare_data "
        f"{shlex.quote(f'folder:{images}')} --out=DIR --resolution=R" in message
    )
    assert f"{tmp_path / 'none'}: it is not a folder" in refusal(
        recipe, str(tmp_path / "none")
    )
    assert "DIR/NAME" in refusal(recipe)


def refusal(recipe, *arguments):
    with pytest.raises(UserError) as caught:
        load(recipe, *arguments)
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize(
    ("recipe", "arguments", "given", "allowed"),
    [
        ("celeba_hq", ["v2_3gpus"], "'v2_3gpus'", "paper, v2_1gpu"),
        ("celeba_hq", [""], "''", "paper, v2_1gpu"),
        ("lsun", [], "''", "bedroom, bridge"),
        ("lsun", ["kat"], "'kat'", "did you mean cat?"),
        ("lsun", ["Bedroom"], "'Bedroom'", "did you mean bedroom?"),
        ("lsun", ["cat,"], "''", "paper, v2_1gpu"),
        ("lsun", ["cat,paper,v2_1gpu"], "'paper,v2_1gpu'", "paper, v2_1gpu"),
        ("lsun", ["v2_1gpu"], "'v2_1gpu'", "church_outdoor"),
    ],
)
def test_wrong_argument_is_refused(recipe, arguments, given, allowed):
    message = refusal(recipe, *arguments)
    assert f"--config={recipe}:{''.join(arguments)}: {given}" in message
    assert allowed in message


# What the reference, A.9 and A.12, lets one switch, and the fields that do it.
TOGGLES = {
    "conditional": {"model.num_classes": 10},
    "first classes": {"model.num_classes": 4, "data.truncate_labels": True},
    "4k grid": {"train.grid": "4k"},
    "a class to each row": {"train.grid_by_class": True},
    "no growing": {
        "schedule.start_resolution": 1024,
        "schedule.stabilise_kimg": "0",
        "schedule.fade_kimg": "0",
        "schedule.total_kimg": 10000.0,
    },
    "no pixel norm": {"model.pixel_norm": False},
    "no equalized learning rate": {"model.equalized": False},
    "no leaky ReLU": {"model.activation": "relu"},
    "no averaging": {"optim.ema_decay": 0.0},
    "no repeats": {"schedule.quantum_pairs": 1},
    "no reset": {"optim.reset_at_fades": False},
    "benchmark": {
        "schedule.stabilise_kimg": "3",
        "schedule.fade_kimg": "3",
        "schedule.total_kimg": 51.0,
        "train.tick_kimg": "1",
    },
    "verbose": {
        "train.tick_kimg": "1",
        "train.grid_ticks": 1,
        "train.snapshot_ticks": 100,
    },
    "simultaneous": {"optim.simultaneous": True},
    "whole-batch statistic": {"model.mbstd_group_size": 0},
    "labels apart": {"model.normalize_labels": False},
    "unfused": {"model.fused_resampling": False},
    "re-quantised fade": {"data.requantise_fade": True},
    "noise on reals": {"data.dequantise": True},
    "average after G": {"optim.ema_after": "g_step"},
    "warm-up": {"schedule.rampup_kimg": 40.0},
    "random labels": {"loss.fake_labels": "random"},
    "half precision": {"model.dtype": "bfloat16"},
}


@pytest.mark.parametrize("toggle", TOGGLES)
def test_toggle_is_a_field_and_valid(toggle):
    config = load("celeba_hq", "v2_1gpu")
    config.update_from_flattened_dict(TOGGLES[toggle])
    for field, value in TOGGLES[toggle].items():
        assert get_field(config, field) == value
    validate(config, 1)
