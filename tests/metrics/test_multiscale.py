import jax
import numpy as np
import pytest

from progan_jax.metrics.multiscale import multiscale


def noise(n=1, side=16, channels=3, seed=0):
    random = np.random.default_rng(seed)
    return random.uniform(0, 255, (n, side, side, channels)).astype(np.float32)


def pixels_by_numpy(a, b):
    """The part of the pixels, for one pair [r, r, C]."""
    a, b = (x.astype(np.float64) / 127.5 - 1 for x in (a, b))
    total = 0
    while len(a) > 4:
        below = [
            x.reshape(len(x) // 2, 2, len(x) // 2, 2, -1).mean((1, 3)) for x in (a, b)
        ]
        first, second = (
            x - y.repeat(2, 0).repeat(2, 1) for x, y in zip((a, b), below, strict=True)
        )
        total += np.mean((first - second) ** 2)
        a, b = below
    return total + np.mean((a - b) ** 2)


@pytest.mark.parametrize("side", [4, 16])
def test_pixels_are_compared_at_every_level_of_a_laplacian_pyramid(side):
    a, b = noise(2, side), noise(2, side, seed=1)
    distance = multiscale(3)
    without = jax.tree.map(np.zeros_like, distance)  # Features of no weight.
    expected = [pixels_by_numpy(x, y) for x, y in zip(a, b, strict=True)]
    np.testing.assert_allclose(without(a, b), expected, rtol=1e-5)
    assert (np.asarray(distance(a, b)) > expected).all()


@pytest.mark.parametrize("channels", [1, 3])
def test_it_is_zero_for_equal_images_and_grows_with_the_difference(channels):
    a, b = noise(channels=channels), noise(channels=channels, seed=1)
    distance = jax.jit(multiscale(channels))
    values = [float(distance(a, a + share * (b - a))[0]) for share in (0, 0.1, 0.5, 1)]
    assert values[0] == 0
    assert sorted(values) == values
