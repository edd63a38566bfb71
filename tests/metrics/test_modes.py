import math
from types import SimpleNamespace

import numpy as np
import pytest

from progan_jax.metrics.classifier import Classifier
from progan_jax.metrics.modes import count_modes, image_modes, measure


class Reader(Classifier):
    """Reads the digit that stands in an image's first pixel."""

    def logits(self, images):
        assert images.shape[1:] == (8, 8, 1)
        return np.eye(10)[images[:, 0, 0, 0]]


def reader(**changes):
    info = {
        "architecture": "digit",
        "width": 32,
        "num_classes": 10,
        "channels": 1,
        "data_set": {"name": "mnist"},
        "test_accuracy": 0.99,
    }
    return Reader({}, info | changes, "0" * 64)


def images_of(modes):
    """Images whose channels are the digits of the modes, written with zeros."""
    images = np.zeros((len(modes), 8, 8, 3), np.uint8)
    images[:, 0, 0] = [[int(digit) for digit in f"{mode:03d}"] for mode in modes]
    return images


@pytest.mark.parametrize("repeats", [1, 7])
def test_all_modes_alike_are_a_thousand_without_divergence(repeats):
    found, kl = count_modes(np.tile(np.arange(1000), repeats))
    assert found == 1000
    assert kl == pytest.approx(0, abs=1e-12)


def test_one_mode_diverges_by_the_logarithm_of_a_thousand():
    found, kl = count_modes(np.full(100, 999))
    assert found == 1
    assert kl == pytest.approx(math.log(1000))
    assert round(kl, 2) == 6.91


def test_half_of_the_modes_diverge_by_the_logarithm_of_two():
    found, kl = count_modes(np.arange(0, 1000, 2))
    assert found == 500
    assert kl == pytest.approx(math.log(2))


def test_uneven_modes_diverge_by_the_sum_over_them():
    # Mode 0 three times in four, mode 1 once in four.
    found, kl = count_modes(np.array([0, 0, 1, 0]))
    assert found == 2
    assert kl == pytest.approx(0.75 * math.log(750) + 0.25 * math.log(250))


def test_modes_are_written_red_first():
    modes = np.random.default_rng(0).integers(0, 1000, 3000)
    np.testing.assert_array_equal(image_modes(reader(), images_of(modes)), modes)


def test_values_are_mean_and_deviation_over_the_evaluations():
    draws = [np.arange(1000) % modes for modes in (250, 500, 1000)]
    images = images_of(np.concatenate(draws))
    values = measure(
        SimpleNamespace(
            classifier=reader(),
            chunks=lambda: iter(np.array_split(images, 7)),
            constants={"evaluations": 3},
        )
    )
    assert values["modes_found"] == pytest.approx(1750 / 3)
    # Of the population.
    assert values["modes_found_std"] == pytest.approx(np.std([250, 500, 1000]))
    assert values["modes_kl"] == pytest.approx((math.log(4) + math.log(2)) / 3)


@pytest.mark.parametrize(
    ("changes", "images", "words"),
    [
        ({"num_classes": 7}, images_of([1]), "7 classes and 1 channels"),
        ({"channels": 3}, images_of([1]), "10 classes and 3 channels"),
        ({}, images_of([1])[..., :1], r"must be \[n, r, r, 3\]"),
    ],
)
def test_what_is_not_stacked_digits_raises(changes, images, words):
    with pytest.raises(ValueError, match=words):
        image_modes(reader(**changes), images)
