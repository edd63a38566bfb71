"""Combinations of StyleGAN's options."""

from dataclasses import replace

import pytest

from progan_jax.models.options import faults
from progan_jax.models.stylegan.options import (
    LossOptions,
    Options,
    describe,
    joint_faults,
)

FAULTS = {
    "width": ({"resolution": 1024, "fmap_base": 128}, "fmap_base = 128 leaves no"),
    "features": (
        {"fmap_max": 6, "mbstd_features": 4},
        "mbstd_features = 4 must divide the 6 feature maps at 4x4",
    ),
    "no mapping": (
        {"mapping_layers": 0, "w_size": 100},
        "w_size = 100 must be 512, the width of what is mapped",
    ),
    "no mapping of labels": (
        {"mapping_layers": 0, "num_classes": 3},
        "w_size = 512 must be 1024",
    ),
    "mixing": ({"styles": False}, "style_mixing = 0.9 needs styles"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_combination_that_is_invalid_is_named_in_one_line(fault):
    fields, message = FAULTS[fault]
    [line] = joint_faults(replace(Options(), **fields), LossOptions())
    assert message in line
    assert "\n" not in line


def test_the_defaults_are_valid():
    assert not list(joint_faults(Options(), LossOptions()))
    for options in (Options(), LossOptions()):
        assert not list(faults(type(options), vars(options)))


def test_fields_without_effect_do_not_matter():
    none = Options(mapping_layers=0, minibatch_stddev=False)
    for name in ("mapping_width", "mapping_lr_multiplier", "mbstd_features"):
        assert Options().matters(name)
        assert not none.matters(name)
    assert none.matters("blur")
    assert (none.stddev_group, Options().stddev_group) == (None, 4)


def test_a_card_names_the_parts_that_are_off():
    assert "without" not in describe(Options())
    assert describe(Options(noise=False, blur=False))["without"] == "noise, blur"
