"""The count of a program's work, against XLA's own and against counting by hand."""

import jax
import jax.numpy as jnp
import pytest
from jax import lax

from benchmarks.counting import flops_by_resolution, pair_flops
from progan_jax.runtime.mesh import make_mesh
from progan_jax.training.config import make_schedule
from progan_jax.training.stage import StageProgram


def xla_flops(run, *shapes):
    return jax.jit(run).lower(*shapes).cost_analysis()["flops"]


@pytest.mark.parametrize(
    "options",
    [
        {"window_strides": (1, 1), "padding": "SAME"},
        {"window_strides": (2, 2), "padding": ((1, 1), (1, 1))},
        {"window_strides": (1, 1), "padding": ((2, 2), (1, 0)), "lhs_dilation": (2, 3)},
        {"window_strides": (1, 2), "padding": "VALID", "rhs_dilation": (2, 1)},
    ],
)
def test_convolutions_count_as_xla_counts_them(options):
    def convolve(x, kernel):
        names = ("NHWC", "HWIO", "NHWC")
        return lax.conv_general_dilated(x, kernel, dimension_numbers=names, **options)

    shapes = (jax.ShapeDtypeStruct(s, "float32") for s in ((2, 8, 6, 3), (3, 3, 3, 5)))
    shapes = tuple(shapes)
    assert flops_by_resolution(convolve, *shapes)[0] == xla_flops(convolve, *shapes)


def test_products_count_by_their_layer_and_as_often_as_a_scan_runs_them():
    def run(x, w):
        def turn(x, _):
            with jax.named_scope("block_8x8"):
                return x @ w, None

        with jax.named_scope("to_rgb_4x4"):
            y = x @ w
        return lax.scan(turn, y, None, length=5)[0] @ w

    x, w = jnp.ones((2, 3)), jnp.ones((3, 3))
    one = 2 * 2 * 3 * 3
    assert flops_by_resolution(run, x, w) == {4: one, 8: 5 * one, 0: one}


def test_only_the_branch_of_the_platform_counts():
    def run(x):
        return lax.platform_dependent(
            x, cpu=lambda x: x @ x, default=lambda x: x @ x @ x @ x
        )

    assert flops_by_resolution(run, jnp.ones((4, 4))) == {0: 2 * 4**3}


@pytest.fixture
def program(tiny_config):
    def make(**fields):
        config = tiny_config.copy_and_resolve_references()
        config.model.fmap_base, config.model.fmap_max = 1024, 128
        config.update_from_flattened_dict(fields)
        mesh = make_mesh(jax.devices()[:1])
        return StageProgram(config, make_schedule(config), 8, mesh)

    return make


def test_a_pair_counts_once_however_many_a_dispatch_runs(program):
    counted = [
        program(**{"runtime.pairs_per_dispatch": pairs})
        .lower((32, 8, 8, 1))
        .cost_analysis()["flops"]
        for pairs in (2, 32)
    ]
    assert counted[0] == pytest.approx(counted[1], rel=1e-4)
    # XLA counts everything, which is little beside convolutions and products.
    own = pair_flops(program(), 8, 1).total()
    assert 0.9 * counted[0] < own < counted[0]


def test_a_pair_is_all_in_layers_and_has_its_d_repeats(program):
    once = pair_flops(program(), 8, 1)
    thrice = pair_flops(program(**{"optim.d_repeats": 3}), 8, 1)
    assert set(once) == {4, 8}
    assert 2 < thrice[8] / once[8] < 3
