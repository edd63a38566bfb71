"""Nearest neighbours among constructed images, and their picture."""

import numpy as np
import pytest

from progan_jax.metrics.neighbours import centre, draw, nearest_neighbours, pixels


def make_images(seed, n, side=8, channels=3):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (n, side, side, channels), dtype=np.uint8)


def mean_colour(images):
    return images.mean(axis=(1, 2), dtype=np.float32)


def test_copies_among_the_real_images_are_found():
    reals = make_images(0, 20)
    fakes = reals[[13, 0, 19]].copy()
    fakes[1, 0, 0, 0] ^= 1
    parts = iter(np.split(reals, [4, 5, 17]))
    found = nearest_neighbours(fakes, parts, pixels, k=2)
    np.testing.assert_array_equal(found.indices[:, 0], [13, 0, 19])
    np.testing.assert_array_equal(found.distances[:, 0], [0, 1, 0])


def test_order_equals_that_of_all_distances():
    reals, fakes = make_images(1, 15), make_images(2, 4)
    found = nearest_neighbours(fakes, np.split(reals, [2, 4, 6]), mean_colour, k=5)
    gaps = reals.mean((1, 2)) - fakes.mean((1, 2))[:, None]
    distances = np.sqrt(np.sum(gaps**2, axis=-1))
    np.testing.assert_array_equal(found.indices, distances.argsort(axis=1)[:, :5])
    np.testing.assert_allclose(found.distances, np.sort(distances)[:, :5], rtol=1e-4)


def test_first_of_equally_near_images_is_the_nearest():
    reals = np.tile(make_images(3, 1), (10, 1, 1, 1))
    found = nearest_neighbours(reals[:1], np.split(reals, [3, 6, 9]), pixels, k=4)
    np.testing.assert_array_equal(found.indices, [[0, 1, 2, 3]])


def test_centre_crop_compares_the_centre():
    reals = make_images(4, 6)
    fakes = make_images(5, 2)
    fakes[:, 2:6, 2:6] = reals[[4, 1], 2:6, 2:6]
    fakes[:, 0] = reals[[0, 3], 0]
    found = nearest_neighbours(fakes, [reals], pixels, centre_crop=True)
    np.testing.assert_array_equal(found.indices, [[4], [1]])
    assert np.all(found.distances == 0)


def test_centre_is_of_half_the_height_and_width():
    images = make_images(6, 2, side=16)
    np.testing.assert_array_equal(centre(images), images[:, 4:12, 4:12])


def test_picture_has_the_fakes_above_their_neighbours():
    fakes, near = make_images(8, 3), make_images(7, 6).reshape(3, 2, 8, 8, 3)
    picture = draw(fakes, near)
    # Images of 8x8 are drawn with 64.
    assert picture.shape == (3 * 64 + 8 + 2, 3 * 64 + 2 * 2, 3)
    for column in range(3):
        x = column * 66
        shown = picture[:64, x : x + 64]
        np.testing.assert_array_equal(shown, np.kron(fakes[column], np.ones((8, 8, 1))))
        for rank, y in enumerate((72, 138)):
            shown = picture[y : y + 64, x : x + 64]
            expected = np.kron(near[column, rank], np.ones((8, 8, 1)))
            np.testing.assert_array_equal(shown, expected)
    assert np.all(picture[64:72] == 255) and np.all(picture[136:138] == 255)
    assert np.all(picture[:, 130:132] == 255)


def test_images_of_64_pixels_are_drawn_as_they_are():
    fakes, near = make_images(8, 1, side=96), make_images(7, 1, side=96)
    np.testing.assert_array_equal(draw(fakes, near[None])[:96], fakes[0])


def test_grey_images_have_grey_pictures():
    fakes, near = make_images(10, 2, channels=1), make_images(9, 2, channels=1)
    assert draw(fakes, near[:, None]).shape == (136, 130, 1)


def test_features_that_are_not_finite_raise():
    images = make_images(12, 3)
    with pytest.raises(ValueError, match="3 of 3 images are not finite"):
        nearest_neighbours(images, [images], lambda x: np.full((len(x), 4), np.nan))
