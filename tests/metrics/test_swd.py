"""The sliced Wasserstein distance, against SciPy's filters and a plain NumPy route."""

import math

import jax
import numpy as np
import pytest
from scipy import ndimage

from progan_jax.metrics.swd import (
    Patches,
    average,
    distances,
    draw_patches,
    laplacian_pyramid,
    sliced_distance,
    swd,
)
from progan_jax.runtime.mesh import batched, make_mesh
from tests.metrics import plain_swd


@pytest.fixture
def one_repeat(monkeypatch):
    monkeypatch.setattr("progan_jax.metrics.swd._REPEATS", 1)


def make_images(seed, n=16, resolution=32, channels=3, smooth=1.0):
    """Smooth random images, uint8, of full contrast."""
    noise = np.random.default_rng(seed).normal(
        size=(n, resolution, resolution, channels)
    )
    blurred = ndimage.gaussian_filter(noise, (0, smooth, smooth, 0))
    return np.clip(blurred / blurred.std() * 50 + 128, 0, 255).astype(np.uint8)


def test_pyramid_equals_scipy_filters_in_float64():
    images = make_images(0, n=3, resolution=64) / 127.5 - 1
    ours = laplacian_pyramid(np.float32(images), 3)
    assert [level.shape[1] for level in ours] == [64, 32, 16]
    for n, image in enumerate(images):
        for level, expected in zip(ours, plain_swd.pyramid(image, 3), strict=True):
            np.testing.assert_allclose(level[n], expected, atol=1e-5)


def test_pyramid_adds_up_to_the_image():
    images = make_images(1, n=2, resolution=64)
    pyramid = [np.asarray(x) for x in laplacian_pyramid(np.float32(images), 3)]
    for n, image in enumerate(images):
        rebuilt = pyramid[-1][n]
        for level in reversed(pyramid[:-1]):
            rebuilt = level[n] + plain_swd.expanded(rebuilt)
        np.testing.assert_allclose(rebuilt, image, atol=255e-6)


def all_patches(level):
    """Every 7x7 patch that lies inside [s, s, C], flat."""
    windows = np.lib.stride_tricks.sliding_window_view(level, (7, 7), (0, 1))
    return np.moveaxis(windows, 2, -1).reshape(-1, 7 * 7 * level.shape[-1])


@pytest.mark.parametrize("index", [0, 1])
def test_patches_are_of_their_own_image_from_edge_to_edge(index):
    images = make_images(2, n=2)
    drawn = draw_patches(images, seed=0, number=0, per_image=4000)[32 >> index]
    for image, patches in zip(images, drawn.values.reshape(2, 4000, -1), strict=True):
        possible = all_patches(plain_swd.pyramid(image, 2)[index])
        nearest = [
            np.argmin(np.square(possible - patch).sum(1)) for patch in patches[:50]
        ]
        np.testing.assert_allclose(patches[:50], possible[nearest], atol=1e-3)
        # Of 4000 draws from 676 or 100 places, few places if any stay empty.
        distinct = len(np.unique(np.round(patches, 2), axis=0))
        assert 0.97 * len(possible) < distinct <= len(possible)


@pytest.mark.slow
def test_parts_and_devices_leave_the_patches_as_they_are(monkeypatch):
    images = make_images(3, n=11)
    whole = draw_patches(images, seed=0, number=0, per_image=8)
    monkeypatch.setattr("progan_jax.metrics.swd._CHUNK_PIXELS", 4 * 32 * 32)
    parts = [images[:1], images[1:8], images[8:]]
    mesh = make_mesh(jax.devices()[:4])
    for sharding in (None, batched(mesh)):
        drawn = draw_patches(parts, seed=0, number=0, per_image=8, batched=sharding)
        for resolution, patches in whole.items():
            other = drawn[resolution].values
            np.testing.assert_allclose(other, patches.values, rtol=0, atol=1e-4)


def test_directions_split_over_devices_give_the_same_distance(monkeypatch):
    a, b = (
        patches_of(np.random.default_rng(i).normal(size=(500, 147))) for i in (0, 1)
    )
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    alone, split = (
        sliced_distance(jax.random.key(0), a, b, 16, sharding)
        for sharding in (None, batched(make_mesh()))
    )
    assert split == pytest.approx(alone, rel=1e-6)


def patches_of(values, mean=(0, 0, 0), stddev=(1, 1, 1)):
    """Patches that are taken as normalised already, unless statistics are given."""
    values = np.asarray(values, np.float32)
    return Patches(values, np.asarray(mean, float), np.asarray(stddev, float))


def test_statistics_are_those_of_each_channel():
    images = make_images(4, n=9) // np.array([1, 2, 4], np.uint8)
    patches = draw_patches(images, seed=0, number=0, per_image=8)[16]
    channels = patches.values.reshape(-1, 3).astype(np.float64)
    np.testing.assert_allclose(patches.mean, channels.mean(0), rtol=1e-6)
    np.testing.assert_allclose(patches.stddev, channels.std(0), rtol=1e-5)


def test_sets_are_normalised_by_their_own_statistics():
    rng = np.random.default_rng(4)
    mean, stddev = np.array([5, -3, 100]), np.array([2, 30, 7])
    a, b = rng.normal(size=(2, 1000, 49, 3))
    plain = [patches_of(x.reshape(1000, 147)) for x in (a, 1.3 * b)]
    scaled = patches_of((a * stddev + mean).reshape(1000, 147), mean, stddev)
    expected = sliced_distance(jax.random.key(0), *plain, 16)
    distance = sliced_distance(jax.random.key(0), scaled, plain[1], 16)
    assert distance == pytest.approx(expected, rel=1e-4)


def test_distance_equals_a_plain_program():
    reals, fakes = make_images(4, n=64), make_images(5, n=64, smooth=1.4)
    expected = plain_swd.swd(reals, fakes, np.random.default_rng(6), repeats=4)
    # Both draw patches and directions of their own: some per cent.
    ours = swd(reals, fakes, seed=0)
    assert list(ours.values()) == pytest.approx(expected, rel=0.12)


def test_distance_of_given_patches_and_directions_is_exact():
    sets = [
        draw_patches(make_images(seed, smooth=smooth), seed=0, number=seed)[16]
        for seed, smooth in ((0, 1.0), (1, 1.4))
    ]
    axes = np.array(jax.random.normal(jax.random.key(0), (32, 147)), np.float64)
    axes /= np.sqrt(np.sum(axes**2, axis=1, keepdims=True))
    along = []
    for patches in sets:
        pixels = patches.values.reshape(-1, 7, 7, 3).astype(np.float64)
        normal = (pixels - pixels.mean((0, 1, 2))) / pixels.std((0, 1, 2))
        along.append(np.sort(normal.reshape(-1, 147) @ axes.T, axis=0))
    expected = np.mean(np.abs(along[0] - along[1]))
    distance = sliced_distance(jax.random.key(0), *sets, 32)
    assert distance == pytest.approx(expected, rel=1e-6)


def test_shifted_sets_are_as_far_apart_as_the_shift():
    key_set, key = jax.random.split(jax.random.key(0))
    a = np.zeros((500, 3))
    a[:, :1] = jax.random.normal(key_set, (500, 1))
    along_one_axis = sliced_distance(key, patches_of(a), patches_of(a + 2.5), 4000)
    # Of u uniform on the sphere of three dimensions, |u1 + u2 + u3| is sqrt(3)/2.
    assert along_one_axis == pytest.approx(2.5 * math.sqrt(3) / 2, rel=0.02)


def test_the_same_patches_in_another_order_have_no_distance():
    a = np.random.default_rng(6).normal(size=(500, 147))
    distance = sliced_distance(jax.random.key(0), patches_of(a), patches_of(a[::-1]), 8)
    assert distance == pytest.approx(0, abs=1e-6)


def test_a_shift_counts_by_its_mean_share_along_random_directions():
    key_set, key = jax.random.split(jax.random.key(1))
    a = np.asarray(jax.random.normal(key_set, (50, 147)))
    shift = np.linspace(-1, 1, 147, dtype=np.float32)
    # E|u.s| for u uniform on the unit sphere of d dimensions.
    share = math.exp(math.lgamma(147 / 2) - math.lgamma(148 / 2)) / math.sqrt(math.pi)
    expected = np.linalg.norm(shift) * share
    distance = sliced_distance(key, patches_of(a), patches_of(a + shift), 20000)
    assert distance == pytest.approx(expected, rel=0.02)


def test_accelerators_and_the_cpu_agree(monkeypatch):
    a, b = np.random.default_rng(7).normal(size=(2, 3000, 147))
    sets = patches_of(a, (1, 2, 3), (4, 5, 6)), patches_of(1.5 * b)
    on_cpu = sliced_distance(jax.random.key(0), *sets, 32)
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    on_device = sliced_distance(jax.random.key(0), *sets, 32)
    assert on_device == pytest.approx(on_cpu, rel=1e-5)


def test_distance_grows_with_the_noise_and_is_least_for_the_same_images(one_repeat):
    reals = make_images(8, n=64)
    noise = np.random.default_rng(9).normal(size=reals.shape)
    distances = [
        swd(reals, np.clip(reals + stddev * noise, 0, 255).astype(np.uint8), seed=0)
        for stddev in (0, 20, 40, 80)
    ]
    for resolution in (32, 16):
        levels = [distance[resolution] for distance in distances]
        assert levels == sorted(levels)


def test_seed_alone_decides_the_draws(one_repeat):
    reals, fakes = make_images(10), make_images(11, smooth=2.0)
    first = swd(reals, fakes, seed=0)
    assert swd(reals, fakes, seed=0) == first
    assert swd(reals, fakes, seed=1) != first


def test_grey_images_count_as_rgb_with_equal_channels(one_repeat):
    reals, fakes = make_images(12, channels=1), make_images(13, channels=1, smooth=2.0)
    colour = [np.tile(images, (1, 1, 1, 3)) for images in (reals, fakes)]
    expected = swd(*colour, seed=0)
    assert swd(reals, fakes, seed=0) == pytest.approx(expected, rel=1e-6)


def test_flat_fakes_are_far_away_instead_of_undefined():
    reals, flat = make_images(14), np.full((16, 32, 32, 3), 77, np.uint8)
    assert all(100 < level < 2000 for level in swd(reals, flat, seed=0).values())


@pytest.mark.parametrize("resolution", [16, 128])
def test_levels_end_at_16_and_average_is_their_plain_mean(resolution, one_repeat):
    images = make_images(15, n=2, resolution=resolution)
    levels = swd(images, images[::-1], seed=0)
    assert list(levels) == [r for r in (128, 64, 32, 16) if r <= resolution]
    assert average(levels) == pytest.approx(sum(levels.values()) / len(levels))


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((4, 8, 8, 3), "8x8 .* power of two from 16"),
        ((4, 48, 48, 3), "48x48 .* power of two"),
        ((4, 16, 32, 3), r"\[4, 16, 32, 3\] must be uint8 \[n, r, r, 1 or 3\]"),
        ((4, 16, 16, 2), r"must be uint8 \[n, r, r, 1 or 3\]"),
    ],
)
def test_images_without_a_pyramid_raise(shape, message):
    with pytest.raises(ValueError, match=message):
        swd(np.zeros(shape, np.uint8), np.zeros(shape, np.uint8), seed=0)


def test_sets_of_other_sizes_raise():
    images = make_images(16, n=3)
    few, many = (
        draw_patches(images[:n], seed=0, number=0, per_image=4) for n in (2, 3)
    )
    with pytest.raises(ValueError, match="differ in number or size"):
        distances(few, many, seed=0)
    with pytest.raises(ValueError, match="no images"):
        draw_patches([], seed=0, number=0)


def test_images_that_are_not_uint8_raise():
    images = make_images(16)
    with pytest.raises(ValueError, match="must be uint8"):
        swd(images, images / np.float32(255), seed=0)
