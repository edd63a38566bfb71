import jax
import numpy as np
import pytest

from progan_jax.data.index_stream import IndexStream
from progan_jax.data.pyramid import build_pyramid
from progan_jax.data.sources import load_digits
from progan_jax.runtime.mesh import make_mesh
from progan_jax.training.config import make_schedule
from progan_jax.training.stage import StageProgram
from progan_jax.training.start import images_to_fit

SEED = 3


def noise_set(num_images):
    pixels = np.random.default_rng(0).integers(0, 256, (num_images, 8, 8, 1), np.uint8)
    return build_pyramid("noise", pixels, None, 0)


@pytest.fixture
def config(tiny_config):
    """Of networks with minibatch discrimination, and without the other statistic."""
    tiny_config.seed = SEED
    tiny_config.model.minibatch_discrimination = 4
    tiny_config.model.minibatch_stddev = False
    return tiny_config


def test_images_to_fit_are_the_first_500_of_the_run_at_its_first_resolution(
    config,
):
    pyramid = noise_set(700)
    images = images_to_fit(config, pyramid)
    order, _ = IndexStream(SEED, 700, mirror=False).take(0, 500)
    assert np.array_equal(images, pyramid.levels[4][order])


@pytest.mark.parametrize(
    ("num_images", "group", "fitted"),
    [(700, 16, 496), (700, 0, 500), (700, 4, 500), (30, 16, 16), (6, 16, 6)],
)
def test_images_to_fit_are_complete_groups_of_the_statistic(
    config, num_images, group, fitted
):
    config.model.minibatch_stddev, config.model.mbstd_group_size = True, group
    images = images_to_fit(config, noise_set(num_images))
    assert len(np.unique(images.reshape(fitted, -1), axis=0)) == fitted


def test_other_discriminators_have_nothing_to_fit(config):
    config.model.minibatch_discrimination = 0
    assert images_to_fit(config, noise_set(6)) is None


@pytest.mark.parametrize("devices", [1, 8])
def test_a_new_run_finds_its_real_images_two_apart_and_its_features_around_zero(
    tiny_config, devices
):
    tiny_config.model.minibatch_discrimination = 6
    tiny_config.model.d_norm = "layer"
    mesh, pyramid = make_mesh(jax.devices()[:devices]), load_digits(16)
    stage = StageProgram(tiny_config, make_schedule(tiny_config), 4, mesh)
    born, fitted = stage.create(), stage.create(pyramid)
    network = stage.steps.discriminator
    images = images_to_fit(tiny_config, pyramid)
    out, found = network.apply(
        {"params": fitted.d_params},
        np.float32(images) / 127.5 - 1,
        alpha=1.0,
        mutable=["intermediates"],
    )
    layer = found["intermediates"]["block_4x4"]["discrimination"]
    distances = np.array(layer["distances"][0], np.float64)
    assert distances.shape == (500, 500, 6)
    nearest = distances.min(axis=1)
    np.testing.assert_allclose(nearest.mean(axis=0), 2, rtol=1e-3)
    bias = np.asarray(fitted.d_params["block_4x4"]["discrimination"]["bias"])
    features = np.exp(-distances).sum(axis=1) + bias
    np.testing.assert_allclose(features.mean(axis=0), 0, atol=1e-3)
    assert np.isfinite(out.scores).all()
    # Nothing else is another.
    before, after = jax.device_get((born.d_params, fitted.d_params))
    for name in ("log_scale", "bias"):
        before["block_4x4"]["discrimination"].pop(name)
        after["block_4x4"]["discrimination"].pop(name)
    jax.tree.map(np.testing.assert_array_equal, before, after)
    jax.tree.map(np.testing.assert_array_equal, born.g_params, fitted.g_params)
