"""MS-SSIM, against SciPy's convolutions in float64."""

import jax
import numpy as np
import pytest
from scipy import ndimage, signal

from progan_jax.metrics import ms_ssim as module
from progan_jax.metrics.ms_ssim import ms_ssim, similarity
from progan_jax.runtime.mesh import batched, make_mesh

WEIGHTS = [0.0448, 0.2856, 0.3001, 0.2363, 0.1333]


def make_images(seed, n, resolution=32, channels=3, smooth=2.0):
    noise = np.random.default_rng(seed).normal(
        size=(n, resolution, resolution, channels)
    )
    blurred = ndimage.gaussian_filter(noise, (0, smooth, smooth, 0))
    return np.clip(blurred / blurred.std() * 60 + 128, 0, 255).astype(np.uint8)


def ssim_with_scipy(a, b):
    """SSIM and contrast-structure of two images, the means over pixels and channels."""
    size = min(11, *a.shape[:2])
    sigma = 1.5 * size / 11
    y, x = np.mgrid[:size, :size] - (size - 1) / 2
    window = np.exp(-(x**2 + y**2) / (2 * sigma**2))
    window /= window.sum()

    def local_mean(image):
        layers = np.moveaxis(image, -1, 0)
        return np.stack([signal.convolve2d(c, window, mode="valid") for c in layers])

    mean_a, mean_b = local_mean(a), local_mean(b)
    var_a = local_mean(a * a) - mean_a**2
    var_b = local_mean(b * b) - mean_b**2
    covariance = local_mean(a * b) - mean_a * mean_b
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    luminance = (2 * mean_a * mean_b + c1) / (mean_a**2 + mean_b**2 + c1)
    contrast = (2 * covariance + c2) / (var_a + var_b + c2)
    return np.mean(luminance * contrast), np.mean(contrast)


def halve_with_numpy(image):
    return (
        image[::2, ::2] + image[1::2, ::2] + image[::2, 1::2] + image[1::2, 1::2]
    ) / 4


def ms_ssim_with_scipy(a, b):
    a, b = a.astype(np.float64), b.astype(np.float64)
    value = 1.0
    for weight in WEIGHTS[:-1]:
        value *= max(ssim_with_scipy(a, b)[1], 0) ** weight
        a, b = halve_with_numpy(a), halve_with_numpy(b)
    return value * max(ssim_with_scipy(a, b)[0], 0) ** WEIGHTS[-1]


# 16 ends with a window of one pixel, 48 with windows of even and odd sides below 11,
# and from 176 on all windows are complete.
@pytest.mark.parametrize(
    ("resolution", "channels"), [(16, 3), (32, 1), (48, 3), (176, 3)]
)
def test_pairs_equal_scipy_in_float64(resolution, channels):
    rng = np.random.default_rng(0)
    a = make_images(1, 4, resolution, channels)
    noise = rng.normal(size=a.shape) * np.array([3, 20, 60, 100])[:, None, None, None]
    b = np.clip(a + noise, 0, 255).astype(np.uint8)
    expected = [ms_ssim_with_scipy(x, y) for x, y in zip(a, b, strict=True)]
    assert min(expected) < 0.8 < max(expected)
    np.testing.assert_allclose(similarity(a, b), expected, atol=1e-5)
    interleaved = np.stack([a, b], axis=1).reshape(8, *a.shape[1:])
    assert ms_ssim(interleaved) == pytest.approx(np.mean(expected), abs=1e-5)


def test_unlike_pairs_equal_scipy_also_where_values_are_clipped():
    a, b = make_images(2, 8, 32), make_images(3, 8, 32)
    expected = [ms_ssim_with_scipy(x, y) for x, y in zip(a, b, strict=True)]
    assert 0 in expected
    np.testing.assert_allclose(similarity(a, b), expected, atol=2e-5)


@pytest.mark.parametrize("resolution", [16, 48, 128])
def test_equal_pairs_have_exactly_one(resolution):
    images = make_images(4, 3, resolution)
    assert ms_ssim(np.repeat(images, 2, axis=0)) == 1


def test_value_falls_with_the_noise():
    images = make_images(5, 8, 64)
    noise = np.random.default_rng(6).normal(size=images.shape)
    values = []
    for stddev in (0, 5, 20, 80):
        other = np.clip(images + stddev * noise, 0, 255).astype(np.uint8)
        pairs = np.stack([images, other], axis=1).reshape(16, 64, 64, 3)
        values.append(ms_ssim(pairs))
    assert values == sorted(values, reverse=True)
    assert len(set(values)) == 4


def test_value_does_not_depend_on_the_order_in_a_pair():
    images = make_images(7, 6)
    swapped = images.reshape(3, 2, 32, 32, 3)[:, ::-1].reshape(images.shape)
    assert ms_ssim(swapped) == pytest.approx(ms_ssim(images), abs=1e-6)


def test_grey_images_count_as_rgb_with_equal_channels():
    grey = make_images(8, 6, channels=1, smooth=4.0)
    colour = np.tile(grey, (1, 1, 1, 3))
    assert ms_ssim(grey) == pytest.approx(ms_ssim(colour), abs=1e-6)


def test_chunks_do_not_change_the_value(monkeypatch):
    images = make_images(9, 10)
    whole = ms_ssim(images)
    monkeypatch.setattr(module, "_CHUNK_PIXELS", 5 * 32 * 32)
    assert ms_ssim(iter(np.split(images, [3, 4]))) == pytest.approx(whole, abs=1e-6)


def test_eight_devices_give_the_value_of_one(monkeypatch):
    images = make_images(10, 38, smooth=4.0)
    monkeypatch.setattr(module, "_CHUNK_PIXELS", 20 * 32 * 32)
    eight = ms_ssim(images, batched(make_mesh()))
    one = ms_ssim(images, batched(make_mesh(jax.devices()[:1])))
    assert eight == pytest.approx(one, abs=1e-6)
    assert one == ms_ssim(images)
    assert one > 0.01


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((4, 8, 8, 3), "8x8 .* divisible by 16"),
        ((4, 40, 40, 3), "40x40 .* divisible by 16"),
        ((3, 16, 16, 3), "odd number"),
        ((0, 16, 16, 3), "0 images make no pair"),
    ],
)
def test_images_that_have_no_value_raise(shape, message):
    with pytest.raises(ValueError, match=message):
        ms_ssim(np.zeros(shape, np.uint8))


def test_images_that_are_not_uint8_raise():
    with pytest.raises(ValueError, match="must be uint8"):
        ms_ssim(np.full((4, 16, 16, 3), np.nan, np.float32))
