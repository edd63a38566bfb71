"""What backbones see, against SciPy."""

import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage

from progan_jax.models.augmentation import augment, draw
from progan_jax.models.stylegan_xl.backbone_inputs import normalise, prepare, resize
from progan_jax.models.stylegan_xl.backbones import BACKBONES

LITE0, TINY = BACKBONES["lite0"], BACKBONES["deit_tiny"]


def images(side):
    random = np.random.default_rng(0)
    return random.uniform(-1, 1, (2, side, side, 3)).astype("f4")


@pytest.mark.parametrize(("old", "new"), [(4, 14), (16, 6), (8, 8), (7, 3)])
def test_resizing_is_linear_between_the_centres_of_pixels(old, new):
    """Without antialiasing: between the nearest two pixels, also where it shrinks."""
    given = images(old)
    places = (np.arange(new) + 0.5) * old / new - 0.5
    grid = np.meshgrid(np.arange(2), places, places, np.arange(3), indexing="ij")
    theirs = scipy.ndimage.map_coordinates(given, grid, order=1, mode="nearest")
    np.testing.assert_allclose(resize(given, new), theirs, atol=1e-5)


def test_colours_are_those_of_each_network():
    white = np.ones((1, 1, 1, 3), np.float32)
    np.testing.assert_allclose(normalise(white, LITE0)[0, 0, 0], 1)
    np.testing.assert_allclose(normalise(-white, LITE0)[0, 0, 0], -1)
    expected = [(1 - 0.485) / 0.229, (1 - 0.456) / 0.224, (1 - 0.406) / 0.225]
    np.testing.assert_allclose(normalise(white, TINY)[0, 0, 0], expected, rtol=1e-6)
    expected = [-0.485 / 0.229, -0.456 / 0.224, -0.406 / 0.225]
    np.testing.assert_allclose(normalise(-white, TINY)[0, 0, 0], expected, rtol=1e-6)


def test_images_are_augmented_at_their_own_size(key):
    given, drawn = images(16), draw(key, jnp.arange(2), 16)
    theirs = prepare(augment(given, drawn), TINY, 24)
    np.testing.assert_array_equal(prepare(given, TINY, 24, drawn), theirs)
    assert not np.allclose(theirs, prepare(given, TINY, 24))
