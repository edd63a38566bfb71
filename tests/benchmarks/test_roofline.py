"""Floors against numbers worked out by hand."""

import pytest

from benchmarks.roofline import Floors, Peaks, floors
from progan_jax.models.progan.networks import Discriminator, Generator
from progan_jax.models.progan.options import Options


@pytest.mark.parametrize(("dtype", "width"), [("float32", 4), ("bfloat16", 2)])
def test_floors_of_a_small_network_are_those_worked_out_by_hand(dtype, width):
    options = Options(latent_size=4, fmap_base=16, fmap_max=2, dtype=dtype)
    networks = Generator(8, options), Discriminator(8, options)
    dense, first = 4 * (4 * 4 * 2), 4 * 4 * (3 * 3 * 2 * 2)
    block = 2 * (8 * 8 * (3 * 3 * 2 * 2))
    assert dense + first + block == 5312
    numbers = 2 * (4 * 4 * 2) + 2 * (8 * 8 * 2)
    g_rgb = 2 * (2 * 3 + 3)
    g_params = dense + 2 + 3 * (3 * 3 * 2 * 2 + 2) + g_rgb
    d_rgb = 2 * (3 * 2 + 2)
    d_last = (3 * 3 * 3 * 2 + 2) + (4 * 4 * 2 * 2 + 2) + (2 + 1)
    d_params = 2 * (3 * 3 * 2 * 2 + 2) + d_rgb + d_last
    found = floors(*networks, batch=3)
    assert found.flops == 20 * 2 * 5312 * 3
    optimizers = 40 * g_params + 28 * d_params
    assert found.num_bytes == 20 * 2 * numbers * width * 3 + optimizers


def test_the_larger_floor_binds():
    floor = Floors(flops=6e9, num_bytes=2e9)
    assert floor.seconds(Peaks(flops=1e9, bandwidth=1e9)) == 6
    assert floor.seconds(Peaks(flops=1e9, bandwidth=1e8)) == 20
