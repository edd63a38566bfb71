"""Both ways of resizing, against loops over pixels."""

import itertools
import math

import numpy as np
import pytest

from progan_jax.metrics.inception import resize_clean, resize_tf1


def make_images(size, channels=3, n=2):
    random = np.random.default_rng(size)
    return random.integers(0, 256, (n, size, size, channels), np.uint8)


def interpolate(image, i, j, side):
    """Returns one pixel of TensorFlow 1's bilinear resizing, in float64."""
    size = len(image)
    image = image.astype(np.float64)
    y, x = i * size / side, j * size / side
    top, left = math.floor(y), math.floor(x)
    bottom, right = min(top + 1, size - 1), min(left + 1, size - 1)
    dy, dx = y - top, x - left
    return (
        (1 - dy) * (1 - dx) * image[top, left]
        + (1 - dy) * dx * image[top, right]
        + dy * (1 - dx) * image[bottom, left]
        + dy * dx * image[bottom, right]
    )


@pytest.mark.parametrize("size", [32, 299, 512])
def test_tf1_equals_a_loop_over_pixels(size):
    images = make_images(size)
    resized = np.asarray(resize_tf1(images, 299))
    assert resized.shape == (2, 299, 299, 3)
    assert resized.dtype == np.float32
    places = [0, 1, *range(2, 297, 23), 297, 298]
    for i, j in itertools.product(places, places):
        expected = interpolate(images[1], i, j, 299)
        # Places are rounded to float32: up to 512 * 2^-24 pixels, times a step of 255.
        np.testing.assert_allclose(resized[1, i, j], expected, atol=0.01)


def cubic(x):
    """The kernel of Keys with a = -1/2, which Pillow calls bicubic."""
    x = abs(x)
    if x < 1:
        return 1.5 * x**3 - 2.5 * x**2 + 1
    return -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2 if x < 2 else 0.0


def clean_matrix(size, side):
    """The weights [side, size] of an antialiased filter with half-pixel centres."""
    scale = max(size / side, 1)
    matrix = np.zeros((side, size))
    for i in range(side):
        centre = (i + 0.5) * size / side
        for j in range(size):
            matrix[i, j] = cubic((j + 0.5 - centre) / scale)
    return matrix / matrix.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("size", [32, 512])
def test_clean_is_an_antialiased_bicubic_filter_in_float(size):
    images = make_images(size, n=1)
    matrix = clean_matrix(size, 299)
    expected = np.einsum("iy,yxc,jx->ijc", matrix, images[0], matrix, optimize=True)
    resized = resize_clean(images, 299)
    assert resized.dtype == np.float32
    np.testing.assert_allclose(resized[0], expected.clip(0, 255), atol=1e-3)
    assert np.any(resized != np.round(resized))


def test_the_two_modes_differ_where_images_shrink():
    images = make_images(512, n=1)
    assert np.abs(resize_tf1(images, 299) - resize_clean(images, 299)).max() > 50
