import jax
import numpy as np
import pytest

from progan_jax.models.progan import mode_test
from progan_jax.models.progan.networks import Discriminator, Generator
from progan_jax.models.progan.options import Options
from progan_jax.training.costs import (
    activation_count,
    count_params,
    multiply_adds,
    stage_cost,
)


def test_parameters_are_the_papers_23_million_each():
    cost = stage_cost(Generator(1024), Discriminator(1024), 4)
    assert (cost.g_params, cost.d_params) == (23_079_115, 23_087_249)


@pytest.mark.parametrize(
    ("resolution", "published"),
    [(4, 0.042), (8, 0.344), (16, 1.55), (32, 6.38), (256, 28.1), (1024, 42.6)],
)
def test_multiply_adds_are_the_published_ones(resolution, published):
    found = multiply_adds(Generator(resolution)) / 1e9
    assert found == pytest.approx(published, rel=0.01)


def test_multiply_adds_of_the_mode_test_are_those_of_hand_arithmetic():
    g = mode_test.Generator(32, Options(latent_size=64, fmap_base=128, fmap_max=64))
    convs = 8**2 * 9 * 64 * 32 + 16**2 * 9 * 32 * 16 + 32**2 * 9 * 16 * 8
    assert multiply_adds(g) == 64 * 16 * 64 + convs
    assert activation_count(g) == 4**2 * 64 + 8**2 * 32 + 16**2 * 16 + 32**2 * 8


def test_activations_are_two_layers_for_each_resolution():
    maps = {4: 512, 8: 512, 16: 512, 32: 512, 64: 256}
    expected = sum(2 * r * r * number for r, number in maps.items())
    assert activation_count(Generator(64)) == expected


def test_state_is_four_times_g_and_three_times_d_in_float32():
    cost = stage_cost(Generator(32), Discriminator(32), 4)
    assert cost.state_bytes == 4 * (4 * cost.g_params + 3 * cost.d_params)


def test_step_memory_grows_with_the_batch_and_halves_in_bfloat16():
    small = stage_cost(Generator(32), Discriminator(32), 4).step_bytes
    assert stage_cost(Generator(32), Discriminator(32), 8).step_bytes == 2 * small
    half = Generator(32, Options(dtype="bfloat16"))
    assert stage_cost(half, Discriminator(32), 4).step_bytes == small // 2


def test_arrays_and_shapes_are_counted_alike():
    tree = {"a": np.zeros((2, 3)), "b": {"c": np.zeros(4)}}
    shapes = jax.eval_shape(lambda: tree)
    assert count_params(tree) == count_params(shapes) == 10
