"""KID, against a double loop and a closed form."""

import numpy as np
import pytest

from progan_jax.metrics.kid import kid, squared_mmd


def kernel(x, y):
    return (sum(p * q for p, q in zip(x, y, strict=True)) / len(x) + 1) ** 3


def mean(values):
    values = list(values)
    return sum(values) / len(values)


def mmd_by_loops(a, b):
    a, b = a.tolist(), b.tolist()
    pairs = [(x, y) for i, x in enumerate(a) for j, y in enumerate(a) if i != j]
    others = [(x, y) for i, x in enumerate(b) for j, y in enumerate(b) if i != j]
    return (
        mean(kernel(*pair) for pair in pairs)
        + mean(kernel(*pair) for pair in others)
        - 2 * mean(kernel(x, y) for x in a for y in b)
    )


def test_discrepancy_equals_a_double_loop():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(9, 5)), rng.normal(0.7, 2, size=(7, 5))
    assert squared_mmd(a, b) == pytest.approx(mmd_by_loops(a, b), rel=1e-12)


def test_constant_sets_have_a_closed_form():
    a, b = np.full((6, 4), 2.0), np.full((5, 4), 3.0)
    expected = (2 * 2 + 1) ** 3 + (3 * 3 + 1) ** 3 - 2 * (2 * 3 + 1) ** 3
    assert squared_mmd(a, b) == pytest.approx(expected, rel=1e-12)


def test_mean_over_subsets_approaches_the_distance_of_the_distributions():
    # x = -1 or 1, y = s or -s: E k(x, x') = (2^3 + 0) / 2 and so on, by the four cases.
    rng = np.random.default_rng(1)
    signs = rng.choice([-1.0, 1.0], (2, 4000, 1))
    x, y = signs[0], 2 * signs[1]
    expected = ((2**3 + 0) + (5**3 + (-3) ** 3) - 2 * (3**3 + (-1) ** 3)) / 2
    distance, deviation = kid(x, y, seed=0, subsets=50, subset_size=200)
    assert distance == pytest.approx(expected, rel=0.05)
    assert 0 < deviation < expected


def test_sets_of_one_distribution_have_no_bias():
    rng = np.random.default_rng(2)
    values = [squared_mmd(*rng.normal(size=(2, 10, 3))) for _ in range(3000)]
    standard_error = np.std(values) / np.sqrt(len(values))
    assert abs(np.mean(values)) < 4 * standard_error
    # The biased form, with the diagonal, would lie ten such errors off.
    assert standard_error < 0.1


def test_subsets_of_the_size_of_the_set_have_no_deviation():
    rng = np.random.default_rng(3)
    a, b = rng.normal(size=(2, 20, 4)).astype(np.float32)
    distance, deviation = kid(a, b, seed=0, subsets=5, subset_size=20)
    assert distance == pytest.approx(mmd_by_loops(a, b), rel=1e-6)
    assert deviation == pytest.approx(0, abs=1e-12)


def test_seed_alone_decides_the_subsets():
    a, b = np.random.default_rng(4).normal(size=(2, 50, 4))
    first = kid(a, b, seed=0, subsets=3, subset_size=20)
    assert kid(a, b, seed=0, subsets=3, subset_size=20) == first
    assert kid(a, b, seed=1, subsets=3, subset_size=20) != first


def test_fewer_images_than_a_subset_raise():
    with pytest.raises(
        ValueError, match="2000 real images and 999 fakes are fewer than the"
    ):
        kid(np.zeros((2000, 2)), np.zeros((999, 2)), seed=0)


def test_features_that_are_not_finite_raise():
    with pytest.raises(ValueError, match="1 of 4 images are not finite"):
        kid(np.zeros((4, 1)), np.array([[1], [2], [np.nan], [3]]), seed=0)
