"""Layers with random weights that are never trained."""

import jax.numpy as jnp
import numpy as np
import pytest

from progan_jax.models.stylegan_xl.random_layers import RandomConv, RandomEnlargement

LAYERS = {
    "1x1": (RandomConv(64), 32),
    "3x3": (RandomConv(64, 3), 9 * 32),
    # Of transposed convolutions PyTorch counts the outputs.
    "enlargement": (RandomEnlargement(64, 2), 4 * 64),
}


@pytest.mark.parametrize("name", LAYERS)
def test_weights_are_uniform_within_one_over_the_root_of_the_fan_in(key, name):
    layer, fan_in = LAYERS[name]
    stats = layer.init(key, jnp.zeros((1, 4, 4, 32)))["stats"]
    for array in map(np.asarray, stats.values()):
        bound = fan_in**-0.5
        assert 0.9 * bound < np.abs(array).max() <= bound
    np.testing.assert_allclose(stats["kernel"].std(), bound / 3**0.5, rtol=0.05)
    assert abs(stats["kernel"].mean()) < 0.1 * bound


def test_each_key_draws_other_weights(key):
    layer, x = RandomConv(2), jnp.zeros((1, 1, 1, 3))
    first, again = (layer.init(key, x)["stats"]["kernel"] for _ in range(2))
    other = layer.init({"params": jnp.asarray([0, 7], "uint32")}, x)["stats"]["kernel"]
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
