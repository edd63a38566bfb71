"""Truncation of a StyleGAN-XL, against the authors' program: means and centres."""

from dataclasses import asdict
from functools import cache

import numpy as np
import pytest

from progan_jax.errors import UserError
from progan_jax.inference.generator import TrainedGenerator
from progan_jax.models.common import to_weights
from tests.stylegan_xl_golden import G_OPTIONS, assert_close, g_variables, golden

PSI = 0.6


@cache
def stem():
    """The golden stem, of five classes, as a trained generator."""
    options = G_OPTIONS["stem"]
    info = {"family": "stylegan_xl", "options": asdict(options)}
    info["stage"] = {"resolution": options.resolution, "alpha": 1.0}
    return TrainedGenerator(to_weights(g_variables("stem")), info, "stem")


@cache
def seed3():
    """Latents and classes of their seed."""
    z = np.random.RandomState(3).randn(3, 16).astype(np.float32)
    return z, golden()["truncation/seed3_classes"]


def theirs(name):
    return golden()[f"truncation/{name}/w"][:, None]


def test_latents_of_a_seed_are_mapped_to_the_authors_w():
    w = stem().mapping(*seed3())
    assert_close(w[:, None], theirs("seed3_untruncated"))


@pytest.mark.parametrize("name", ["seed3_classmean", "seed3_class1"])
def test_w_move_towards_the_mean_of_their_class(name):
    z, classes = seed3()
    label = 1 if name == "seed3_class1" else classes
    w = stem().truncate(stem().mapping(z, label), PSI, label=label)
    assert_close(w, np.repeat(theirs(name), stem().num_layers, axis=1))


@pytest.mark.parametrize("name", ["seed3_multimodal", "seed3_class1_multimodal"])
def test_w_move_towards_the_nearest_centre_whatever_their_class(name):
    z, classes = seed3()
    w = stem().mapping(z, 1 if "class1" in name else classes)
    centres = golden()["truncation/centroids"]
    found = stem().truncate(w, PSI, centres=centres)
    assert found.dtype == np.float32
    assert_close(found, np.repeat(theirs(name), stem().num_layers, axis=1))


def test_layers_move_to_centres_of_their_own_up_to_the_cutoff():
    layers, centres = stem().num_layers, np.eye(2, 32, dtype=np.float32)
    w = np.zeros((1, layers, 32), np.float32)
    w[0, 0, 0] = w[0, 1:, 1] = 0.8
    found = stem().truncate(w, 0.0, 2, centres=centres)
    np.testing.assert_array_equal(found[0, :2], centres)
    np.testing.assert_array_equal(found[0, 2:], w[0, 2:])


MISTAKES = {
    "shape": (np.zeros((2, 31)), None, r"centres has the shape \[2, 31\] and must"),
    "none": (np.zeros((0, 32)), None, r"centres has the shape \[0, 32\] and must"),
    "numbers": (np.full((1, 32), np.nan), None, "centres has numbers that are not"),
    "text": ("abc", None, "centres is no array of numbers"),
    "class": (np.zeros((1, 32)), 1, "label and centres exclude each other"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_centres_that_do_not_fit_are_refused_in_one_line(mistake):
    centres, label, message = MISTAKES[mistake]
    with pytest.raises(UserError, match="^" + message) as caught:
        stem().truncate(np.zeros((1, 32)), PSI, label=label, centres=centres)
    assert "\n" not in str(caught.value)
