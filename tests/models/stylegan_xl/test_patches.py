"""Convolutions as products and sums, against XLA's own."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.test_util import check_grads

from progan_jax.models.stylegan_xl.patches import (
    _grouped,
    correlate,
    depthwise,
    same_padding,
)

LAYOUT = ("NHWC", "HWIO", "NHWC")


def draw(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape, np.float32)


def convolve(x, kernel, stride, padding, groups=1):
    return lax.conv_general_dilated(
        x,
        kernel,
        (stride, stride),
        padding,
        dimension_numbers=LAYOUT,
        feature_group_count=groups,
        precision="highest",
    )


def grouped(x, kernel, stride):
    size, c = kernel.shape[0], x.shape[-1]
    return convolve(x, kernel.reshape(size, size, 1, c), stride, "SAME", c)


@pytest.mark.parametrize(
    ("size", "stride", "padding"),
    [(3, 2, ((0, 1), (0, 1))), (4, 1, ((0, 0), (0, 0))), (3, 2, ((1, 1), (1, 1)))],
)
def test_correlate_is_a_convolution(size, stride, padding):
    x, kernel = draw(2, 8, 6, 3), draw(size, size, 3, 5, seed=1)
    theirs = convolve(x, kernel, stride, padding)
    np.testing.assert_allclose(
        correlate(x, kernel, stride, padding), theirs, atol=1e-5, rtol=0
    )


SHAPES = [(3, 1, 6), (5, 1, 6), (3, 2, 8), (5, 2, 8), (5, 2, 7), (3, 2, 5), (5, 2, 2)]


@pytest.mark.parametrize(("size", "stride", "side"), SHAPES)
def test_depthwise_is_a_convolution_of_each_map_forward_and_backward(
    size, stride, side
):
    x, kernel = draw(2, side, side + 1, 3), draw(size, size, 3, seed=1)
    ours, pull_back = jax.vjp(lambda x, k: depthwise(x, k, stride), x, kernel)
    theirs, pull_theirs_back = jax.vjp(lambda x, k: grouped(x, k, stride), x, kernel)
    np.testing.assert_allclose(ours, theirs, atol=1e-5, rtol=0)
    g = draw(*theirs.shape, seed=2)
    for a, b in zip(pull_back(g), pull_theirs_back(g), strict=True):
        np.testing.assert_allclose(a, b, atol=2e-5, rtol=0)


@pytest.mark.parametrize(("size", "stride", "side"), SHAPES)
def test_depthwise_is_a_grouped_convolution_on_accelerators(size, stride, side):
    """As no accelerator runs it, its program is compared with that of XLA's own."""
    x, kernel = draw(2, side, side + 1, 3), draw(size, size, 3, seed=1)
    run = jax.jit(lambda x, k: depthwise(x, k, stride))
    for platform in ("cuda", "tpu"):
        text = run.trace(x, kernel).lower(lowering_platforms=(platform,)).as_text()
        assert text.count("stablehlo.convolution") == 1
        assert "feature_group_count = 3" in text
    np.testing.assert_allclose(
        _grouped(x, kernel, stride), grouped(x, kernel, stride), atol=1e-5, rtol=0
    )


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("stride", [1, 2])
def test_second_derivatives_of_depthwise(stride):
    x, kernel = (np.float64(draw(*s)) for s in ((1, 4, 4, 2), (3, 3, 2)))
    run = jax.jit(lambda x, k: jnp.sin(depthwise(x, k, stride)))
    check_grads(run, (x, kernel), 2, ["rev"])


def test_same_padding_puts_the_odd_pixel_after():
    assert same_padding(jnp.zeros((1, 224, 7, 1)), 3, 2) == ((0, 1), (1, 1))
    assert same_padding(jnp.zeros((1, 8, 8, 1)), 5, 2) == ((1, 2), (1, 2))
