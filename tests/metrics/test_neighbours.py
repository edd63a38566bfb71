"""Nearest neighbours among constructed images, and their figure."""

import numpy as np
import pytest

from progan_jax.metrics import neighbours as module
from progan_jax.metrics.neighbours import centre, draw, nearest_neighbours, pixels


def make_images(seed, n, side=8, channels=3):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (n, side, side, channels), dtype=np.uint8)


def mean_colour(images):
    return images.mean(axis=(1, 2), dtype=np.float32)


@pytest.mark.parametrize("chunk_images", [1, 3, 100])
def test_copies_among_the_reals_are_found(monkeypatch, chunk_images):
    monkeypatch.setattr(module, "_CHUNK_PIXELS", chunk_images * 64)
    reals = make_images(0, 20)
    fakes = reals[[13, 0, 19]].copy()
    fakes[1, 0, 0, 0] ^= 1
    parts = iter(np.split(reals, [4, 5, 17]))
    found = nearest_neighbours(fakes, parts, pixels, k=2)
    np.testing.assert_array_equal(found.indices[:, 0], [13, 0, 19])
    np.testing.assert_array_equal(found.distances[:, 0], [0, 1, 0])
    np.testing.assert_array_equal(found.images, reals[found.indices])


@pytest.mark.parametrize("chunk_images", [2, 100])
def test_order_equals_that_of_all_distances(monkeypatch, chunk_images):
    monkeypatch.setattr(module, "_CHUNK_PIXELS", chunk_images * 64)
    reals, fakes = make_images(1, 15), make_images(2, 4)
    found = nearest_neighbours(fakes, reals, mean_colour, k=5)
    gaps = reals.mean((1, 2)) - fakes.mean((1, 2))[:, None]
    distances = np.sqrt(np.sum(gaps**2, axis=-1))
    np.testing.assert_array_equal(found.indices, distances.argsort(axis=1)[:, :5])
    np.testing.assert_allclose(found.distances, np.sort(distances)[:, :5], rtol=1e-4)


def test_first_of_equally_near_reals_is_the_nearest(monkeypatch):
    monkeypatch.setattr(module, "_CHUNK_PIXELS", 3 * 64)
    reals = np.tile(make_images(3, 1), (10, 1, 1, 1))
    found = nearest_neighbours(reals[:1], reals, pixels, k=4)
    np.testing.assert_array_equal(found.indices, [[0, 1, 2, 3]])


def test_centre_crop_compares_the_centre_and_shows_the_whole():
    reals = make_images(4, 6)
    fakes = make_images(5, 2)
    fakes[:, 2:6, 2:6] = reals[[4, 1], 2:6, 2:6]
    fakes[:, 0] = reals[[0, 3], 0]
    found = nearest_neighbours(fakes, reals, pixels, centre_crop=True)
    np.testing.assert_array_equal(found.indices, [[4], [1]])
    assert np.all(found.distances == 0)
    np.testing.assert_array_equal(found.images[:, 0], reals[[4, 1]])


def test_centre_is_of_half_the_height_and_width():
    images = make_images(6, 2, side=16)
    np.testing.assert_array_equal(centre(images), images[:, 4:12, 4:12])


def test_figure_has_the_fakes_above_their_neighbours():
    reals, fakes = make_images(7, 9), make_images(8, 3)
    found = nearest_neighbours(fakes, reals, pixels, k=2)
    figure = draw(fakes, found)
    # Images of 8x8 are drawn with 64.
    assert figure.shape == (3 * 64 + 8 + 2, 3 * 64 + 2 * 2, 3)
    for column in range(3):
        x = column * 66
        shown = figure[:64, x : x + 64]
        np.testing.assert_array_equal(shown, np.kron(fakes[column], np.ones((8, 8, 1))))
        for rank, y in enumerate((72, 138)):
            real = reals[found.indices[column, rank]]
            shown = figure[y : y + 64, x : x + 64]
            np.testing.assert_array_equal(shown, np.kron(real, np.ones((8, 8, 1))))
    assert np.all(figure[64:72] == 255) and np.all(figure[136:138] == 255)
    assert np.all(figure[:, 130:132] == 255)


def test_images_of_64_pixels_are_drawn_as_they_are():
    reals, fakes = make_images(7, 4, side=96), make_images(8, 1, side=96)
    figure = draw(fakes, nearest_neighbours(fakes, reals, pixels, k=1))
    np.testing.assert_array_equal(figure[:96], fakes[0])


def test_grey_images_have_grey_figures():
    reals, fakes = make_images(9, 5, channels=1), make_images(10, 2, channels=1)
    assert draw(fakes, nearest_neighbours(fakes, reals, pixels)).shape == (136, 130, 1)


def test_sets_that_cannot_be_compared_raise():
    fakes = make_images(11, 2)
    with pytest.raises(ValueError, match=r"\[16, 16, 3\] and fakes \[8, 8, 3\] differ"):
        nearest_neighbours(fakes, make_images(11, 4, side=16), pixels)
    with pytest.raises(ValueError, match="3 reals are fewer than the k = 4"):
        nearest_neighbours(fakes, make_images(11, 3), pixels, k=4)
    with pytest.raises(ValueError, match="0 reals are fewer than the k = 1"):
        nearest_neighbours(fakes, iter([]), pixels)
    with pytest.raises(ValueError, match="must be uint8"):
        nearest_neighbours(fakes / 255, fakes, pixels)


def test_features_of_another_form_raise():
    images = make_images(12, 3)
    with pytest.raises(ValueError, match="6 rows of features for 3 images"):
        nearest_neighbours(images, images, lambda x: np.zeros((2 * len(x), 4)))
    with pytest.raises(ValueError, match="3 of 3 images are not finite"):
        nearest_neighbours(images, images, lambda x: np.full((len(x), 4), np.nan))
