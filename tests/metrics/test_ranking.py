"""Which values may rank models whose discriminators learnt something before."""

import ml_collections
import pytest

from progan_jax.configs import base
from progan_jax.metrics.protocols import METRICS, metric_of
from progan_jax.metrics.ranking import (
    frozen_networks,
    mark,
    ranking,
    shares_pretraining,
)

LITE0, DINO = ("lite0",), ("dinov2_small", "lite0")


@pytest.mark.parametrize(
    ("value", "metric"),
    [
        ("fid_768_clean", "fid"),
        ("fid_mixed_2", "fid_mixed_2"),
        ("precision_psi0.7", "pr"),
        ("recall_vgg16", "pr_vgg16"),
        ("inception_score_std", "is"),
        ("fd_dinov2", "fd_dinov2"),
        ("ms_ssim", None),
    ],
)
def test_values_belong_to_the_metric_of_their_longest_name(value, metric):
    assert metric_of(value) == metric


def test_every_value_is_of_its_metric():
    for metric, row in METRICS.items():
        for pattern in row.values:
            assert metric_of(pattern.format(metric=metric, suffix="")) == metric


def test_a_discriminator_on_pixels_shares_with_no_metric():
    assert not [metric for metric in METRICS if shares_pretraining(metric, ())]
    assert ranking(()) == ("fd_dinov2", "swd_average")


def test_a_projected_discriminator_shares_imagenet_with_inception_and_vgg16():
    shared = {metric for metric in METRICS if shares_pretraining(metric, LITE0)}
    mixed = {f"fid_mixed_{latents}" for latents in (2, 3, 4)}
    assert shared == {"fid", "sfid", "kid", "is", "pr", "pr_vgg16"} | mixed
    assert ranking(LITE0) == ("fd_dinov2", "swd_average")
    assert mark("fid_768", LITE0) == " (shares pretraining)"
    assert not mark("rfid", LITE0) and not mark("swd_16", LITE0)
    assert not mark("ms_ssim", LITE0) and not mark("fd_dinov2", LITE0)


def test_a_discriminator_on_dinov2_takes_its_distance_out_of_the_ranking():
    assert ranking(DINO) == ("swd_average",)
    assert mark("fd_dinov2", DINO) and mark("fid", DINO)


def test_frozen_networks_are_read_from_a_configuration():
    model = base.get_config("stylegan_xl").model
    assert frozen_networks(model) == ("deit_base", "lite0")
    assert frozen_networks(base.get_config("stylegan").model) == ()
    assert frozen_networks(ml_collections.ConfigDict({"backbones": ""})) == ()
