"""The number of kernels: equal operations count once, calls by what they compute."""

import jax
import jax.numpy as jnp

from benchmarks.kernel_counts import count_compiled, count_lowered
from tests.benchmarks.test_profiles import HLO


def test_equal_operations_count_once_also_in_functions():
    @jax.jit
    def product(x, y):
        return x @ y

    def run(x, y):
        return product(x, y) + product(x, y) + product(y, x)

    x = jnp.ones((2, 2))
    lowered = jax.jit(run).trace(x, x).lower(lowering_platforms=("cuda",))
    assert count_lowered(lowered)["stablehlo.dot_general"] == 2


def test_calls_of_libraries_count_by_what_they_compute():
    more = """
  %gemm.1 = f32[2]{0} custom-call(%x), custom_call_target="__cublas$gemm"
  %dot.1 = f32[2]{0} dot(%x, %y), lhs_contracting_dims={0}
  %sort.1 = f32[2]{0} custom-call(%x), custom_call_target="cub_sort"
"""
    found = count_compiled(HLO + more)
    assert found == {"fusion": 1, "convolution": 1, "dot": 2, "custom-call": 1}
