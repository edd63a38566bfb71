"""The configurations of the mode test against the reference's words."""

import pytest

from progan_jax.configs import base, mnist_modes
from progan_jax.errors import UserError
from progan_jax.explain import explain
from progan_jax.models.layers import num_maps
from progan_jax.runtime.command_line import list_fields
from progan_jax.training.config import make_networks, make_schedule
from progan_jax.training.validation import validate

ALL = {
    "seed": 0,
    "data.name": "stacked_mnist",
    "model.topology": "mode_test",
    "model.latent_size": 64,
    "model.fmap_base": 128,
    "model.fmap_max": 64,
    "model.g_slope": 0.3,
    "model.tanh": True,
    "loss.drift_weight": 0.0,
    "optim.d_repeats": 5,
    "schedule.batch_size": "64",
    "eval.metrics": "modes",
}
FIXED = {"schedule.start_resolution": 32, "schedule.total_kimg": 10_000.0}
VARIANTS = {
    "wgan_gp": {
        **FIXED,
        "model.equalized": False,
        "model.pixel_norm": False,
        "model.g_norm": "batch",
        "model.d_norm": "batch",
        "model.minibatch_stddev": False,
    },
    "our_norm": {**FIXED, "model.minibatch_stddev": False},
    "mbstd": FIXED,
    # 15,000 kimg is base.py's length too.
    "progression": {"schedule.stabilise_kimg": "500", "schedule.fade_kimg": "2000"},
}


@pytest.mark.parametrize("divisor", mnist_modes.DIVISORS)
@pytest.mark.parametrize("variant", mnist_modes.VARIANTS)
def test_every_variant_differs_from_the_base_as_the_reference_says(divisor, variant):
    config = mnist_modes.get_config(f"{divisor},{variant}")
    before, after = list_fields(base.get_config()), list_fields(config)
    changed = {k: v for k, v in after.items() if v != before[k]}
    divided = {"model.d_divisor": int(divisor)}
    assert changed == ALL | VARIANTS[variant] | divided
    assert config.is_locked
    config.runtime.num_devices = 1
    validate(config, 1)
    assert "32x32" in explain(config)


def test_only_progression_grows_and_its_stages_last_as_the_reference_says():
    for variant in mnist_modes.VARIANTS:
        schedule = make_schedule(mnist_modes.get_config(f"2,{variant}"))
        stages = {s.resolution: s for s in schedule.stages()}
        grows = variant == "progression"
        assert list(stages) == ([4, 8, 16, 32] if grows else [32])
        assert schedule.total_kimg == (15_000 if grows else 10_000)
    # Three fades and three stages before; each ends at the next pair of 320 images.
    full = schedule.fade_end(stages[32])
    assert full == pytest.approx(3 * 500e3 + 3 * 2000e3, abs=6 * 320)


def test_only_the_last_stage_takes_images_as_they_are():
    config = mnist_modes.get_config("4,progression")
    networks = {r: make_networks(config, r, 64) for r in (4, 8, 16, 32)}
    assert [d.resolution == d.options.resolution for _, d in networks.values()] == [
        False,
        False,
        False,
        True,
    ]
    assert {d.options.d_divisor for _, d in networks.values()} == {4}
    assert [num_maps(g.options, r) for r, (g, _) in networks.items()] == [64, 32, 16, 8]


@pytest.mark.parametrize("argument", ["", "4", "4,b", "3,mbstd", "mbstd,4", "4,mbstd,"])
def test_any_other_argument_is_refused_with_the_valid_ones(argument):
    with pytest.raises(UserError, match="K one of 4, 2 and VARIANT one of wgan_gp, "):
        mnist_modes.get_config(argument)
