"""Mean and covariance of features, against NumPy's."""

import numpy as np
import pytest

from progan_jax.metrics.frechet import statistics_of


def make_features(seed, n, d=6):
    rng = np.random.default_rng(seed)
    # Far from zero, as the mean of rectified features is: sums of squares would lose
    # digits there.
    return rng.normal(1000, 1, (n, d)) @ rng.normal(size=(d, d))


@pytest.mark.parametrize("rows", [1, 2, 7, 39, 40, 100])
def test_parts_of_any_size_give_the_covariance_of_numpy(rows, monkeypatch):
    monkeypatch.setattr("progan_jax.metrics.frechet._ROWS", rows)
    features = make_features(0, 40)
    statistics = statistics_of(features)
    assert statistics.count == 40
    np.testing.assert_allclose(statistics.mean, features.mean(0), rtol=1e-12)
    expected = np.cov(features, rowvar=False)
    np.testing.assert_allclose(
        statistics.covariance, expected, rtol=0, atol=1e-10 * np.abs(expected).max()
    )


def test_float32_features_are_summed_in_float64():
    features = make_features(2, 5000, d=2).astype(np.float32)
    statistics = statistics_of(features)
    expected = np.cov(features.astype(np.float64), rowvar=False)
    assert statistics.covariance.dtype == np.float64
    np.testing.assert_allclose(statistics.covariance, expected, rtol=1e-9)


def test_features_that_are_not_finite_raise():
    bad = make_features(7, 5)
    bad[2, 3] = np.nan
    with pytest.raises(ValueError, match="1 of 5 images are not finite"):
        statistics_of(bad)


@pytest.mark.parametrize("n", [0, 1])
def test_one_image_has_no_covariance(n):
    with pytest.raises(ValueError, match=rf"{n} image\(s\) have no covariance"):
        statistics_of(make_features(9, n))
