"""StyleGAN's recipes, against the reference's numbers."""

import pytest

from progan_jax.configs import stylegan_ablation, stylegan_ffhq, stylegan_lsun
from progan_jax.explain import explain
from progan_jax.training.config import make_schedule, parse_table
from progan_jax.training.validation import validate
from tests.configs.test_presets import (
    changes,
    load,
    num_pairs,
    prepared,
    refusal,
    write_record,
)

# What every recipe of the authors' program has in common; batches are those of 8 GPUs.
PROGRAM = {
    "data.requantise_fade": False,
    "optim.ema_half_life_kimg": 10.0,
    "optim.ema_after": "d_step",
    "schedule.start_resolution": 8,
    "schedule.total_kimg": 25000.0,
    "schedule.rampup_kimg": 0.0,
    "schedule.quantum_pairs": 4,
    "train.tick_kimg": (
        "160, 8:140, 16:120, 32:100, 64:80, 128:60, 256:40, 512:30, 1024:20"
    ),
    "train.grid": "4k",
    "train.grid_ticks": 1,
    "train.snapshot_ticks": 10,
    "eval.metrics": "fid",
}
TABLES = ("batch_size", "g_learning_rate", "d_learning_rate")
RATES = {128: 0.0015, 256: 0.002, 512: 0.003, 1024: 0.003}
# By preset: devices, batches at 4 to 1024, D's steps of a training at 1024x1024.
PRESETS = {
    "1gpu": (1, [128, 128, 128, 64, 32, 16, 8, 4, 4], 4_895_312),
    "2gpus": (2, [256, 256, 128, 64, 32, 16, 8, 8, 8], 2_592_969),
    "4gpus": (4, [512, 256, 128, 64, 32, 16, 16, 16, 16], 1_367_969),
    "8gpus": (8, [512, 256, 128, 64, 32, 32, 32, 32, 32], 717_969),
}


def differing(config):
    """Returns what differs from base.py, and the tables of batches and rates."""
    found = changes(config, load("base", "stylegan"))
    tables = [
        list(parse_table(found.pop(f"schedule.{t}"), t, 0.0).values()) for t in TABLES
    ]
    return found, tables


def rates(most=1.0):
    table = parse_table("0.001", "rate") | RATES
    return [min(rate, most) for rate in table.values()]


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("name", ["ffhq", "ffhq512", "ffhq256"])
def test_ffhq_is_the_authors_program_on_any_number_of_gpus(name, preset):
    devices, batches, _ = PRESETS[preset]
    config = load("stylegan_ffhq", f"{name},{preset}")
    found, tables = differing(config)
    side = {"ffhq": 1024, "ffhq512": 512, "ffhq256": 256}[name]
    own = {"data.name": "ffhq", "data.mirror": True, "model.resolution": side}
    assert found == PROGRAM | own
    assert tables == [batches, rates(), rates()]
    assert config.seed == 1000
    validate(config, devices)


def test_the_default_is_ffhq_at_its_full_size_on_eight_gpus():
    default = load("stylegan_ffhq")
    assert (
        default == load("stylegan_ffhq", "ffhq") == load("stylegan_ffhq", "ffhq,8gpus")
    )


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_train_as_many_steps_as_the_reference_counts(preset):
    schedule = make_schedule(load("stylegan_ffhq", f"ffhq,{preset}"))
    # A quantum of four steps at each of seven ends of a stage.
    assert num_pairs(schedule) == pytest.approx(PRESETS[preset][2], abs=28)


def test_each_resolution_trains_as_long_as_the_reference_counts():
    schedule = make_schedule(load("stylegan_ffhq"))
    counts = [2_344, 9_375, 18_750, *[37_500] * 4, 537_500]
    for k, count in enumerate(counts):
        assert num_pairs(schedule, 8 << k) == pytest.approx(count, abs=8)


@pytest.mark.parametrize(
    ("name", "kimg"), [("ffhq", 8400), ("ffhq512", 7200), ("ffhq256", 6000)]
)
def test_the_full_resolution_has_faded_in_when_the_reference_says(name, kimg):
    schedule = make_schedule(load("stylegan_ffhq", name))
    full = schedule.kimg_to_full_resolution()
    assert full == pytest.approx(kimg, abs=0.3)  # Two quanta of four batches.


def test_celeba_hq_has_wgan_gp_and_lower_rates_or_the_loss_of_ffhq():
    own = {"data.name": "celeba_hq", "data.mirror": True, "model.resolution": 1024}
    found, tables = differing(load("stylegan_celeba_hq"))
    assert found == PROGRAM | own | {"loss.kind": "wgan_gp"}
    assert tables[1:] == [rates(0.002)] * 2
    found, tables = differing(load("stylegan_celeba_hq", "logistic,1gpu"))
    assert found == PROGRAM | own
    assert tables == [PRESETS["1gpu"][1], rates(), rates()]


@pytest.mark.parametrize(
    ("category", "side", "kimg"),
    [("bedroom", 256, 70000.0), ("cat", 256, 70000.0), ("car", 512, 46000.0)],
)
def test_lsun_is_not_mirrored_and_as_long_as_in_the_paper(category, side, kimg):
    found, tables = differing(load("stylegan_lsun", f"{category},4gpus"))
    own = {"data.name": f"lsun/{category}", "model.resolution": side}
    assert found == PROGRAM | own | {"schedule.total_kimg": kimg}
    assert tables == [PRESETS["4gpus"][1], rates(), rates()]
    assert load("stylegan_lsun", category) == load("stylegan_lsun", f"{category},8gpus")


def test_presets_and_sets_are_all_tested():
    assert list(stylegan_ffhq.PRESETS) == list(PRESETS)
    assert list(stylegan_ffhq.RESOLUTIONS) == ["ffhq", "ffhq512", "ffhq256"]
    assert list(stylegan_lsun.CATEGORIES) == ["bedroom", "cat", "car"]


MIXING = {"model.style_mixing": 0.0}
NOISE = {"model.noise": False, **MIXING}
CONSTANT = {"model.constant_input": False, **NOISE}
# Section S.10 of the reference, switch by switch.
TRADITIONAL = {
    "model.styles": False,
    "model.pixel_norm": True,
    "model.instance_norm": False,
    "model.mapping_layers": 0,
    "model.truncation_psi": 1.0,
    **CONSTANT,
}
ROWS = {
    "B": TRADITIONAL,
    "C": CONSTANT,
    "D": NOISE,
    "E": MIXING,
    "F": {},
    "mix0": MIXING,
    "mix50": {"model.style_mixing": 0.5},
    "mix100": {"model.style_mixing": 1.0},
    "traditional0": TRADITIONAL,
    # Of eight layers, as F's.
    "traditional8": {k: v for k, v in TRADITIONAL.items() if "mapping" not in k},
    "style0": {"model.mapping_layers": 0},
    "style1": {"model.mapping_layers": 1},
    "style2": {"model.mapping_layers": 2},
}


@pytest.mark.parametrize("row", ROWS)
def test_rows_of_the_ablation_differ_from_f_in_what_the_reference_says(row):
    config = load("stylegan_ablation", f"ffhq,{row}")
    assert changes(config, load("stylegan_ffhq")) == ROWS[row]
    validate(config, 8)
    wgan_gp = load("stylegan_ablation", f"celeba_hq,{row}")
    assert changes(wgan_gp, load("stylegan_celeba_hq")) == ROWS[row]
    assert wgan_gp.loss.kind == "wgan_gp"


@pytest.mark.parametrize("name", ["ffhq", "celeba_hq"])
def test_row_a_of_the_ablation_is_progressive_gan(name):
    config = load("stylegan_ablation", f"{name},A")
    given = changes(config, load("celeba_hq", "v2_8gpus"))
    assert given == ({} if name == "celeba_hq" else {"data.name": "ffhq"})
    assert list(stylegan_ablation.ROWS) == list(ROWS)


def test_a_folder_is_trained_by_the_program_with_its_own_size_and_classes(tmp_path):
    folder = prepared(tmp_path)
    write_record(folder, channels=1, num_classes=10)
    config = load("stylegan_folder", str(folder))
    found, tables = differing(config)
    own = {"data.name": "faces", "data.data_dir": str(tmp_path)}
    model = {"resolution": 64, "channels": 1, "num_classes": 10}
    assert found == PROGRAM | own | {f"model.{k}": v for k, v in model.items()}
    assert tables == [PRESETS["8gpus"][1], rates(), rates()]
    validate(config, 1)
    write_record(folder, resolution=4)
    assert load("stylegan_folder", str(folder)).schedule.start_resolution == 4
    assert "is not a folder" in refusal("stylegan_folder", str(tmp_path / "none"))


@pytest.mark.parametrize(
    ("recipe", "argument", "given", "allowed"),
    [
        ("stylegan_ffhq", "ffhq128", "'ffhq128'", "ffhq, ffhq512, ffhq256"),
        ("stylegan_ffhq", "", "''", "ffhq, ffhq512"),
        ("stylegan_ffhq", "ffhq,3gpus", "'3gpus'", "1gpu, 2gpus"),
        ("stylegan_ffhq", "ffhq,", "''", "1gpu, 2gpus"),
        ("stylegan_celeba_hq", "hinge", "'hinge'", "wgan_gp, logistic"),
        ("stylegan_lsun", "dog", "'dog'", "bedroom, cat, car"),
        ("stylegan_ablation", "ffhq,G", "ffhq,G", "A, B, C, D, E, F, mix0"),
        ("stylegan_ablation", "F", "F", "ffhq, celeba_hq"),
    ],
)
def test_a_wrong_argument_is_refused(recipe, argument, given, allowed):
    message = refusal(recipe, argument)
    assert f"--config={recipe}:{argument}" in message
    assert given in message and allowed in message


def test_the_demonstration_is_the_program_in_small():
    config = load("stylegan_digits")
    validate(config, 1)
    assert (config.family, config.data.name) == ("stylegan", "digits")
    assert make_schedule(config).kimg_to_full_resolution() < config.schedule.total_kimg


def test_a_training_is_explained_stage_by_stage_with_all_parameters():
    config = load("stylegan_ffhq", "ffhq,1gpu")
    config.runtime.num_devices = 1
    lines = explain(config, False).split("\n")
    rows = [line.split() for line in lines[2:10]]
    assert [row[0] for row in rows] == [f"{8 << k}x{8 << k}" for k in range(8)]
    # Section S.9 of the reference.
    assert rows[-1][-4:-2] == ["26,219,627", "23,087,249"]
    assert rows[2][-4:-2] == ["22,841,356", "20,726,785"]
    assert max(map(len, lines)) <= 100
