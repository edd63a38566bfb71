"""Directions from labels and from scores, where the right answer is known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from progan_jax.errors import UserError
from progan_jax.inference.editing import edit
from progan_jax.inference.learned_directions import find_direction, find_rising
from progan_jax.inference.linear import held_out_accuracy
from tests.inference.test_projection import make_generator
from tests.styled import styled


def draw(n, size, seed=0):
    return np.random.default_rng(seed).standard_normal((n, size)).astype(np.float32)


def cosine(a, b):
    return a @ b / np.linalg.norm(a) / np.linalg.norm(b)


def brightness(images):
    return jnp.mean(images, axis=(1, 2, 3))


def test_labels_by_a_plane_in_w_give_its_normal_as_long_as_the_deviation():
    g, z = styled("plain"), draw(1500, 16)
    w = g.mapping(z)
    normal = np.linalg.svd(w - w.mean(axis=0))[2][0]  # Where w varies most.
    found = find_direction(g, z, (w - w.mean(axis=0)) @ normal > 0)
    assert cosine(found.vector, normal) > 0.95
    assert found.agreement > 0.95
    unit = found.vector / np.linalg.norm(found.vector)
    assert np.linalg.norm(found.vector) == pytest.approx(np.std(w @ unit), rel=0.01)


def test_labels_by_a_plane_in_z_give_its_normal_where_there_is_no_w():
    g, z = make_generator("progan"), draw(800, 8)
    normal = np.array([0, 0, 0.6, 0, 0, 0, -0.8, 0], np.float32)
    found = find_direction(g, z, z @ normal)
    assert cosine(found.vector, normal) > 0.97
    assert np.linalg.norm(found.vector) == pytest.approx(1, abs=1e-6)


def test_what_differs_between_classes_is_no_direction():
    g, z = styled("fused"), draw(400, 16)
    classes = np.arange(400) % 2
    # A plane in w would tell the classes.
    assert held_out_accuracy(g.mapping(z, classes), classes == 1) > 0.9
    assert find_direction(g, z, classes, classes).agreement < 0.7


@pytest.mark.parametrize("family", ["progan", "stylegan"])
def test_a_score_rises_along_its_direction(family):
    g = make_generator(family)
    found = find_rising(g, brightness, count=24)
    style = {"noise": "fixed", "truncation_psi": 1.0} if family == "stylegan" else {}
    images = edit(g, draw(32, 8, seed=9), found, [-0.5, 0, 0.5], **style)
    down, plain, up = images.mean(axis=(1, 2, 3, 4))
    assert down < plain < up
    assert 0.5 < found.agreement <= 1


def test_the_rise_of_a_linear_score_of_z_is_its_gradient():
    g = make_generator("progan", pixel_norm=False, normalize_latents=False, g_slope=1.0)
    found = find_rising(g, brightness, count=9)  # Not a whole number of batches.

    def mean(z):
        images = g.network.apply(g.variables, z[None], None, np.float32(1))
        return images.mean()

    slope = jax.grad(mean)(jnp.zeros(8))
    assert cosine(found.vector, np.asarray(slope)) == pytest.approx(1, abs=1e-4)
    assert found.agreement == 1


def test_a_class_can_be_chosen_for_a_score():
    found = find_rising(styled("fused"), brightness, count=8, label=3)
    assert found.vector.shape == (16,) and np.isfinite(found.vector).all()


@pytest.mark.parametrize(
    ("score", "message"),
    [
        (jnp.mean, r"score: of 8 images it returns the shape \[\]; return one number"),
        (lambda x: jnp.round(brightness(x)), "score: its gradient is zero or not fin"),
        (lambda x: jnp.sqrt(0 * brightness(x)), "score: its gradient is zero or not"),
    ],
)
def test_scores_that_give_no_direction_are_one_line(score, message):
    with pytest.raises(UserError, match=message) as caught:
        find_rising(make_generator("progan"), score, count=8)
    assert "\n" not in str(caught.value)
