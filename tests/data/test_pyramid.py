import itertools
import re
from fractions import Fraction

import numpy as np
import pytest

from progan_jax.data import pyramid as pyramid_lib
from progan_jax.data.pyramid import build_pyramid, halve


def _random_images(n, r, channels=3, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (n, r, r, channels), dtype=np.uint8)


def _slow_halve(images):
    """Exact fractions; Python's round goes to even."""
    n, r, _, channels = images.shape
    result = np.zeros((n, r // 2, r // 2, channels), np.uint8)
    for i, y, x, c in np.ndindex(result.shape):
        block = images[i, 2 * y : 2 * y + 2, 2 * x : 2 * x + 2, c]
        result[i, y, x, c] = round(Fraction(sum(map(int, block.ravel())), 4))
    return result


def test_halve_is_the_exact_mean_rounded_to_even():
    images = _random_images(2, 8)
    np.testing.assert_array_equal(halve(images), _slow_halve(images))


@pytest.mark.parametrize(
    ("block", "mean"),
    [
        ((0, 0, 1, 1), 0),  # 0.5
        ((1, 1, 2, 2), 2),  # 1.5
        ((2, 2, 3, 3), 2),  # 2.5
        ((255, 255, 255, 254), 255),
        ((255, 255, 255, 255), 255),
    ],
)
def test_halves_go_to_the_even_neighbour(block, mean):
    assert halve(np.reshape(np.uint8(block), (1, 2, 2, 1))).item() == mean


def test_halve_in_chunks_equals_halve_at_once(monkeypatch):
    images = _random_images(7, 4)
    whole = halve(images)
    monkeypatch.setattr(pyramid_lib, "_CHUNK", 3)
    np.testing.assert_array_equal(halve(images), whole)


def test_every_level_is_made_from_the_rounded_one_above():
    images = _random_images(3, 32)
    pyramid = build_pyramid("noise", images, None, num_classes=0)
    assert sorted(pyramid.levels) == [4, 8, 16, 32]
    assert pyramid.levels[32] is images
    for small, large in itertools.pairwise(sorted(pyramid.levels)):
        assert pyramid.levels[small].dtype == np.uint8
        np.testing.assert_array_equal(
            pyramid.levels[small], _slow_halve(pyramid.levels[large])
        )


def test_pyramid_describes_its_set():
    labels = np.array([2, 0, 2], np.int32)
    pyramid = build_pyramid("set", _random_images(3, 8, channels=1), labels, 4)
    assert (pyramid.resolution, pyramid.channels, pyramid.num_images) == (8, 1, 3)
    assert pyramid.label_counts == (1, 0, 2, 0)
    assert build_pyramid("set", _random_images(3, 8), None, 0).label_counts == ()


def test_fingerprint_depends_on_pixels_and_labels_but_not_on_names():
    images, labels = _random_images(3, 8), np.array([0, 1, 0], np.int32)

    def fingerprint(name="a", images=images, labels=labels):
        return build_pyramid(name, images, labels, num_classes=2).fingerprint

    other_pixel, other_label = images.copy(), labels.copy()
    other_pixel[2, 7, 7, 2] ^= 1
    other_label[2] = 1
    assert re.fullmatch("[0-9a-f]{32}", fingerprint())
    assert fingerprint() == fingerprint(name="b") == fingerprint(images=images.copy())
    changed = [
        fingerprint(),
        fingerprint(images=other_pixel),
        fingerprint(labels=other_label),
        fingerprint(labels=None),
        fingerprint(images=images[::-1]),
    ]
    assert len(set(changed)) == len(changed)
