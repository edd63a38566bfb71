"""EQ-T: the authors' translations and values, and generators of known equivariance."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from progan_jax.configs import base
from progan_jax.data.pyramid import build_pyramid
from progan_jax.errors import UserError
from progan_jax.evaluate import check_network
from progan_jax.inference.sampling import Sampler
from progan_jax.metrics.equivariance import decibels, squared_errors, translate
from progan_jax.metrics.image_sources import Fakes, Reals
from progan_jax.metrics.measure import MeasureOptions, Measurer
from progan_jax.runtime.mesh import batched, make_mesh
from tests.stylegan_xl_d import channels_last
from tests.stylegan_xl_golden import g_variables, generator, golden

KINDS = {"int": False, "frac": True}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("case", range(3))
def test_images_are_moved_as_by_the_authors_program(case, kind):
    arrays = golden()
    images = jnp.asarray(channels_last(arrays["eq/images"]))
    moves = jnp.asarray(arrays[f"eq/{case}/t"]) * images.shape[1]
    moved, inside = translate(images, moves, fractional=KINDS[kind])
    expected = channels_last(arrays[f"eq/{case}/{kind}"])
    np.testing.assert_allclose(moved[: len(expected)], expected, atol=2e-6)
    np.testing.assert_array_equal(inside, arrays[f"eq/{case}/{kind}_mask"] > 0)


@pytest.mark.parametrize("kind", KINDS)
def test_ratios_are_those_of_the_authors_program(kind):
    arrays = golden()
    z, u = (jnp.asarray(arrays[f"eqt/{kind}/{name}"]) for name in ("z", "u"))
    network = generator("uncond")
    labels = jnp.zeros(z.shape[:2], jnp.int32)
    variables = g_variables("uncond")
    sums = squared_errors(network, variables, z, labels, u, fractional=KINDS[kind])
    squares, count = np.asarray(sums, np.float64).sum(axis=0)
    expected = float(arrays[f"eqt/{kind}/psnr"])
    assert decibels(squares / count) == pytest.approx(expected, abs=0.02)


class Waves:
    """Two periods of a sine, whose phases are the latents; it may ignore moves."""

    resolution, num_classes = 32, 0

    def __init__(self, ignores=False):
        self.ignores = ignores

    def apply(self, variables, z, labels=None, *, method, transform=None):
        if method == "mapping":
            return z
        at = (jnp.arange(32) + 0.5) / 32 - 1 / 3  # Inexact, as networks' places are.
        if not self.ignores:
            at = at + transform[0, 2]
        columns = jnp.sin(4 * jnp.pi * at[None] + z)
        return jnp.broadcast_to(columns[:, None, :, None], (len(z), 32, 32, 1))


def ratio(waves, fractional):
    z = jnp.asarray(np.random.default_rng(0).uniform(0, 6.3, (200, 4, 1)), jnp.float32)
    u = jax.random.uniform(jax.random.key(1), (200, 2))
    labels = jnp.zeros((200, 4), jnp.int32)
    sums = squared_errors(waves, {}, z, labels, u, fractional=fractional)
    squares, count = np.asarray(sums, np.float64).sum(axis=0)
    return decibels(squares / count)


def test_waves_that_move_along_agree_as_far_as_arithmetic_and_filter_do():
    assert ratio(Waves(), fractional=False) > 110
    # Lanczos' filter reproduces a sine of sixteen pixels to about 40 dB.
    assert 35 < ratio(Waves(), fractional=True) < 60


def test_waves_that_stay_have_the_ratio_of_their_difference():
    """Mean square of sin(x) - sin(x - d) is 1 - cos(d), d uniform in [-pi/2, pi/2]."""
    expected = decibels(1 - 2 / np.pi)
    assert ratio(Waves(ignores=True), fractional=True) == pytest.approx(expected, abs=1)


@pytest.fixture(scope="module")
def fakes():
    """Of the golden stem, with the classes of real images."""
    pixels = np.random.default_rng(0).integers(0, 256, (40, 16, 16, 3), np.uint8)
    labels = np.arange(40, dtype=np.int32) % 5
    reals = Reals(build_pyramid("noise", pixels, labels, 5), 16, 3, False)
    return Fakes(Sampler(generator("stem"), 8), g_variables("stem"), 1.0, reals, "it")


def measured(fakes, metric, sharding=None, count=36):
    options = MeasureOptions((metric,), num_images=count)
    measurer = Measurer(fakes.reals, options, sharding)
    values = measurer.measure(metric, fakes, count)
    assert set(measurer.names(metric)) == values.keys() == {metric}
    assert measurer.settings(metric)["farthest"] == 0.125
    return values[metric]


@pytest.mark.parametrize("metric", ["eqt_int", "eqt_frac"])
def test_a_snapshot_has_one_ratio_whatever_the_number_of_devices(fakes, metric):
    alone = measured(fakes, metric)
    assert 20 < alone < 150
    sharding = batched(make_mesh(jax.devices()[:3]))
    assert measured(fakes, metric, sharding) == pytest.approx(alone, abs=0.05)


def test_images_that_are_not_finite_or_never_moved_have_no_ratio():
    with pytest.raises(ValueError, match="images are not finite"):
        decibels(float("nan"))
    with pytest.raises(ValueError, match="all images agree exactly"):
        decibels(0.0)
    assert decibels(4.0) == pytest.approx(0)


@pytest.mark.parametrize("family", ["progan", "stylegan"])
def test_other_families_are_refused_in_one_line(family):
    config = base.get_config(family)
    with pytest.raises(UserError) as caught:
        check_network(config, ("swd", "eqt_int"), (1.0,))
    message = str(caught.value)
    assert message.startswith("config.eval.metrics: eqt_int moves the input of the")
    assert family in message and "\n" not in message


def test_stylegan_xl_is_not_refused():
    check_network(base.get_config("stylegan_xl"), ("eqt_int", "eqt_frac"), (1.0,))
