"""The Frechet distance, against scipy.linalg.sqrtm and closed forms."""

import math
from dataclasses import replace

import numpy as np
import pytest
import scipy.linalg

from progan_jax.metrics import frechet
from progan_jax.metrics.frechet import frechet_distance, statistics_of, trace_of_root
from tests.stylegan_xl_golden import golden


@pytest.fixture(autouse=True)
def first_warning():
    frechet._warn_of_bias.cache_clear()


def with_moments(mean, covariance, n=200, seed=0):
    """Points whose sample mean and covariance are exactly those given."""
    points = np.random.default_rng(seed).normal(size=(n, len(mean)))
    points -= points.mean(axis=0)
    root = np.linalg.cholesky(np.cov(points, rowvar=False).reshape(len(mean), -1))
    white = np.linalg.solve(root, points.T)
    return (np.linalg.cholesky(covariance) @ white).T + mean


def random_covariance(rng, d):
    points = rng.normal(size=(3 * d, d)) * np.exp(-4 * np.arange(d) / d)
    return np.cov(points @ rng.normal(size=(d, d)), rowvar=False)


def distance_with_sqrtm(a, b):
    s1, s2 = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    gap = a.mean(axis=0) - b.mean(axis=0)
    return gap @ gap + np.trace(s1 + s2 - 2 * scipy.linalg.sqrtm(s1 @ s2).real)


def test_the_distance_is_that_of_stylegan_xls_authors_program():
    """Their covariances have the divisor n."""
    reals, fakes = (
        statistics_of(golden()[f"metric/{kind}_features"]) for kind in ("real", "fake")
    )
    biased = [
        replace(s, scatter=s.scatter * (s.count - 1) / s.count) for s in (reals, fakes)
    ]
    expected = float(golden()["metric/frechet"])
    assert frechet_distance(*biased) == pytest.approx(expected, rel=1e-6)
    assert frechet_distance(reals, fakes) == pytest.approx(expected, rel=0.003)


@pytest.mark.parametrize("d", [2, 5, 40])
def test_trace_of_root_equals_sqrtm_of_random_covariances(d):
    rng = np.random.default_rng(d)
    for _ in range(3):
        s1, s2 = random_covariance(rng, d), random_covariance(rng, d)
        expected = np.trace(scipy.linalg.sqrtm(s1 @ s2)).real
        assert trace_of_root(s1, s2) == pytest.approx(expected, rel=1e-7)


def test_distance_of_features_equals_sqrtm():
    rng = np.random.default_rng(0)
    a = rng.normal(size=(300, 20)) @ rng.normal(size=(20, 20))
    b = rng.normal(0.5, 1, size=(250, 20)) @ rng.normal(size=(20, 20))
    ours = frechet_distance(statistics_of(a), statistics_of(b))
    assert ours == pytest.approx(distance_with_sqrtm(a, b), rel=1e-9)


def test_singular_covariances_equal_the_real_part_of_sqrtm_with_a_warning(capsys):
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=(12, 30)), rng.normal(size=(14, 30)) + 0.3
    ours = frechet_distance(statistics_of(a), statistics_of(b))
    assert frechet_distance(statistics_of(a), statistics_of(b)) == ours
    printed = capsys.readouterr().err
    for few in ("14 fakes for 30 features", "12 real images for 30 features"):
        assert printed.count(few) == 1  # In both calls together.
    assert ours == pytest.approx(distance_with_sqrtm(a, b), rel=1e-6)


def test_collapsed_fakes_are_as_far_as_their_mean_and_the_spread_of_the_real_images():
    reals = np.random.default_rng(2).normal(size=(100, 4))
    fakes = np.tile([2.0, 0, 0, 0], (100, 1))
    expected = np.sum((reals.mean(0) - fakes[0]) ** 2) + np.sum(reals.var(0, ddof=1))
    ours = frechet_distance(statistics_of(reals), statistics_of(fakes))
    assert ours == pytest.approx(expected, rel=1e-12)


def test_one_dimension_has_a_closed_form():
    a = statistics_of(with_moments([1.0], np.array([[4.0]])))
    b = statistics_of(with_moments([-2.0], np.array([[25.0]]), seed=1))
    assert frechet_distance(a, b) == pytest.approx((1 + 2) ** 2 + (2 - 5) ** 2)


def test_diagonal_covariances_have_a_closed_form():
    s1, s2 = np.array([1.0, 9.0, 0.25]), np.array([4.0, 0.01, 2.25])
    a = statistics_of(with_moments([0.0, 1, 2], np.diag(s1)))
    b = statistics_of(with_moments([0.5, 1, 4], np.diag(s2), seed=1))
    expected = 0.25 + 4 + np.sum((np.sqrt(s1) - np.sqrt(s2)) ** 2)
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-9)


def test_scaled_covariance_has_a_closed_form():
    covariance = random_covariance(np.random.default_rng(3), 6)
    a = statistics_of(with_moments(np.zeros(6), covariance))
    b = statistics_of(with_moments(np.zeros(6), 9 * covariance, seed=1))
    expected = (math.sqrt(9) - 1) ** 2 * np.trace(covariance)
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-7)


def test_a_set_has_no_distance_from_itself_and_never_a_negative_one():
    features = np.random.default_rng(4).normal(size=(50, 8))
    distance = frechet_distance(statistics_of(features), statistics_of(features[::-1]))
    assert 0 <= distance < 1e-10


@pytest.mark.parametrize(("count", "few"), [(9, False), (8, True)])
def test_as_many_images_as_features_are_too_few(count, few, capsys):
    features = np.random.default_rng(5).normal(size=(count, 8))
    frechet_distance(statistics_of(features), statistics_of(features + 1))
    assert ("take more than 8 images" in capsys.readouterr().err) == few
