"""Planes that tell latents apart, against ones that are known."""

import numpy as np
import pytest

from progan_jax.errors import UserError
from progan_jax.inference.linear import fit_plane, held_out_accuracy, split_in_two


def latents_and_side(n, noise=0.0, shift=0.0):
    rng = np.random.default_rng(0)
    latents = rng.standard_normal((n, 6))
    normal = np.array([3.0, 0, 0, -4, 0, 0]) / 5
    noisy = latents @ normal + noise * rng.standard_normal(n) + shift
    return latents, normal, noisy > 0


def angle(a, b):
    return np.degrees(np.arccos(a @ b / np.linalg.norm(a) / np.linalg.norm(b)))


@pytest.mark.parametrize("scale", [0.01, 1, 100])
def test_the_normal_of_a_plane_is_found_at_any_scale_and_place(scale):
    latents, normal, positive = latents_and_side(2000, shift=0.5)
    found = fit_plane(scale * latents + 7, positive)
    assert angle(found, normal) < 4


def test_labels_that_are_often_wrong_still_give_the_normal():
    latents, normal, positive = latents_and_side(4000, noise=1.0)
    assert angle(fit_plane(latents, positive), normal) < 6


def test_fewer_latents_than_dimensions_are_enough_for_a_normal():
    latents = np.random.default_rng(1).standard_normal((10, 40))
    latents[:, 0] += np.repeat([-4.0, 4.0], 5)
    found = fit_plane(latents, np.repeat([False, True], 5))
    assert np.argmax(np.abs(found)) == 0 and found[0] > 0


def test_what_is_told_is_told_of_latents_that_were_held_out():
    latents, _, positive = latents_and_side(1000)
    assert held_out_accuracy(latents, positive) > 0.95
    # Of labels by chance a plane in 40 dimensions tells most that it was fitted to.
    rng = np.random.default_rng(2)
    latents, positive = rng.standard_normal((80, 40)), rng.random(80) > 0.5
    rows = latents - latents.mean(axis=0)
    assert np.mean((rows @ fit_plane(latents, positive) > 0) == positive) > 0.8
    assert 0.3 < held_out_accuracy(latents, positive) < 0.7


def test_a_rare_kind_counts_as_much_as_the_other():
    rng = np.random.default_rng(3)
    latents, positive = rng.standard_normal((400, 3)), np.arange(400) < 20
    assert held_out_accuracy(latents, positive) == pytest.approx(0.5, abs=0.1)


def test_labels_are_split_by_value_or_by_their_median():
    assert split_in_two(np.array([0, 1, 1, 1, 0])).tolist() == [0, 1, 1, 1, 0]
    assert split_in_two(np.array([-1, 1, -1, 1])).tolist() == [0, 1, 0, 1]
    assert split_in_two(np.array([0.1, 0.9, 0.5, 0.7])).tolist() == [0, 1, 0, 1]


@pytest.mark.parametrize("labels", [[1, 1, 1], [0, 1, 1], [0, 0, np.nan, np.nan]])
def test_labels_of_one_kind_are_refused(labels):
    with pytest.raises(UserError, match="label at least 2 of each") as caught:
        split_in_two(np.array(labels, float))
    assert "\n" not in str(caught.value)
