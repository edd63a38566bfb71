"""The blur of D's images, against numbers of the authors' program and NumPy."""

import jax
import numpy as np
import pytest

from progan_jax.models.stylegan_xl.blurring import blur, blur_sigma
from tests.stylegan_xl_d import channels_first, channels_last
from tests.stylegan_xl_golden import assert_close, below, golden

SIGMAS = ("2.0", "1.4", "0.7", "0.34", "0.3")


def test_all_stored_sigmas_are_tested():
    assert set(below("blur")) == {f"sigma_{sigma}" for sigma in SIGMAS}


@pytest.mark.parametrize("sigma", SIGMAS)
def test_blurred_images_are_the_authors(sigma):
    given = channels_last(golden()["blur_images"])
    ours = jax.jit(blur)(given, np.float32(sigma))
    assert_close(channels_first(ours), golden()[f"blur/sigma_{sigma}"], 1e-6)


@pytest.mark.parametrize(
    ("nimg", "sigma"), [(0, 2), (90_000, 1.4), (249_000, 0.34), (300_000, 0), (1e7, 0)]
)
def test_sigma_falls_to_zero(nimg, sigma):
    np.testing.assert_allclose(jax.jit(blur_sigma)(nimg), sigma, atol=1e-6)


def test_without_sigma_images_stay_bit_for_bit():
    given = channels_last(golden()["blur_images"])
    np.testing.assert_array_equal(blur(given, blur_sigma(300_000)), given)


def test_weights_are_powers_of_two():
    """One bright pixel, sigma 1: up to three pixels away."""
    given = np.zeros((1, 15, 15, 1), "f4")
    given[0, 7, 7] = 1
    powers = 2.0 ** -(np.arange(-7, 8) ** 2) * (abs(np.arange(-7, 8)) <= 3)
    powers /= powers.sum()
    blurred = blur(given, 1)[0, :, :, 0]
    np.testing.assert_allclose(blurred, np.outer(powers, powers), atol=1e-7)


def test_gradients_are_finite_at_any_sigma():
    given = channels_last(golden()["blur_images"])
    for sigma in (0, 0.2, 2):
        gradient = jax.grad(lambda x, s=sigma: (blur(x, s) ** 2).sum())(given)
        assert np.isfinite(gradient).all()
