"""Improved precision and recall, on constructed points and against loops."""

import numpy as np
import pytest

from progan_jax.metrics import precision_recall as module
from progan_jax.metrics.precision_recall import precision_recall, squared_radii
from tests.stylegan_xl_golden import golden


def radii_by_loops(points, k):
    return [
        sorted(np.linalg.norm(p - q) for j, q in enumerate(points) if j != i)[k - 1]
        for i, p in enumerate(points)
    ]


def share_by_loops(points, centres, k):
    radii = radii_by_loops(centres, k)
    inside = [
        any(np.linalg.norm(p - c) <= r for c, r in zip(centres, radii, strict=True))
        for p in points
    ]
    return sum(inside) / len(points)


@pytest.mark.parametrize("block", [7, 1000])
@pytest.mark.parametrize("k", [1, 3])
def test_random_points_equal_loops_whatever_the_blocks(monkeypatch, block, k):
    monkeypatch.setattr(module, "_BLOCK", block)
    rng = np.random.default_rng(k)
    reals, fakes = rng.normal(size=(40, 3)), rng.normal(0.8, 0.7, size=(33, 3))
    expected = share_by_loops(fakes, reals, k), share_by_loops(reals, fakes, k)
    assert all(0 < share < 1 for share in expected)
    assert precision_recall(reals, fakes, k) == expected
    radii = squared_radii(reals.astype(np.float32), k)
    np.testing.assert_allclose(np.sqrt(radii), radii_by_loops(reals, k), rtol=1e-4)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_shares_are_those_of_stylegan_xls_authors_program(dtype):
    features = [golden()[f"metric/{kind}_features"] for kind in ("real", "fake")]
    expected = [float(golden()[f"metric/{name}"]) for name in ("precision", "recall")]
    found = precision_recall(*(x.astype(dtype) for x in features))
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_far_clusters_share_nothing():
    reals, fakes = np.random.default_rng(1).normal(size=(2, 30, 5))
    assert precision_recall(reals, fakes + 1000) == (0, 0)


def test_equal_sets_share_everything():
    points = np.random.default_rng(2).normal(100, 1, size=(30, 5))
    assert precision_recall(points, points[::-1]) == (1, 1)


def test_fakes_of_one_mode_are_precise_and_recall_its_share():
    rng = np.random.default_rng(3)
    modes = np.concatenate([rng.normal(size=(20, 4)), rng.normal(size=(30, 4)) + 500])
    assert precision_recall(modes, modes[:20]) == (1, 20 / 50)


def test_equal_points_count_as_neighbours():
    points = np.array([[0.0], [0.0], [0.0], [0.0], [5.0], [6.0], [7.0], [9.0]])
    np.testing.assert_allclose(
        squared_radii(points.astype(np.float32), 3), [0, 0, 0, 0, 16, 9, 4, 16]
    )


def test_a_shift_far_from_zero_changes_nothing():
    reals, fakes = np.random.default_rng(4).normal(size=(2, 60, 6))
    expected = precision_recall(reals, fakes)
    assert precision_recall(reals + 1e6, fakes + 1e6) == expected


def test_not_more_images_than_neighbours_raise():
    with pytest.raises(
        ValueError, match="9 real images and 3 fakes: each needs more than"
    ):
        precision_recall(np.zeros((9, 2)), np.zeros((3, 2)))


def test_features_that_are_not_finite_raise():
    reals = np.zeros((9, 2))
    reals[4, 1] = np.inf
    with pytest.raises(ValueError, match="1 of 9 images are not finite"):
        precision_recall(reals, np.zeros((9, 2)))
