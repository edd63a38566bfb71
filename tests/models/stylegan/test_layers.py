"""StyleGAN's layers against NumPy and SciPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.signal

from progan_jax.models.stylegan.layers import (
    apply_style,
    blur2d,
    broadcast_w,
    instance_norm,
)

TAPS = np.outer([1, 2, 1], [1, 2, 1]) / 16


def draw(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape, np.float32)


def scipys_blur(x):
    maps = x.transpose(0, 3, 1, 2)
    blurred = [[scipy.signal.convolve2d(m, TAPS, "same") for m in n] for n in maps]
    return np.array(blurred).transpose(0, 2, 3, 1)


@pytest.mark.parametrize("shape", [(2, 4, 4, 3), (1, 5, 8, 2), (1, 2, 2, 1)])
def test_blur_is_a_convolution_of_each_map_padded_with_zeros(shape):
    x = draw(*shape)
    np.testing.assert_allclose(blur2d(x), scipys_blur(x), atol=1e-6)


def test_blur_darkens_borders():
    blurred = blur2d(jnp.ones((1, 4, 4, 1)))[0, :, :, 0]
    assert (blurred[0, 0], blurred[0, 1], blurred[1, 1]) == (9 / 16, 3 / 4, 1)


def test_gradients_of_blur_are_its_adjoint_to_any_order():
    x, g = draw(1, 4, 6, 2), draw(1, 4, 6, 2, seed=1)
    matrix = np.stack(
        [scipys_blur(e.reshape(x.shape)).ravel() for e in np.eye(x.size)], axis=1
    )
    _, pull_back = jax.vjp(blur2d, x)
    pulled = matrix.T @ g.ravel()
    np.testing.assert_allclose(pull_back(g)[0].ravel(), pulled, atol=1e-6)

    def square(x):
        return jnp.sum(jnp.square(blur2d(x))) / 2

    second = jax.grad(lambda x: jnp.vdot(jax.grad(square)(x), g))(x)
    expected = matrix.T @ (matrix @ g.ravel())
    np.testing.assert_allclose(second.ravel(), expected, atol=1e-6)


@pytest.mark.usefixtures("strict_dtypes")
@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_blur_keeps_the_dtype(dtype):
    assert blur2d(jnp.ones((1, 4, 4, 1), dtype)).dtype == dtype


def test_instance_norm_is_taken_over_the_pixels_of_a_map():
    x = draw(3, 4, 5, 2) * 7 + 3
    mean = x.mean((1, 2), keepdims=True)
    stddev = x.std((1, 2), keepdims=True)
    np.testing.assert_allclose(instance_norm(x), (x - mean) / stddev, atol=1e-5)


def test_instance_norm_of_a_constant_map_is_zero_and_steep():
    """Karras et al.'s constant of ones starts there: 1e4 = 1 / sqrt(epsilon)."""
    x = np.ones((1, 4, 4, 1), np.float32)
    assert not np.any(instance_norm(x))
    gradient = jax.grad(lambda x: instance_norm(x)[0, 1, 2, 0])(x)[0, :, :, 0]
    expected = np.full((4, 4), -1e4 / 16)
    expected[1, 2] += 1e4
    np.testing.assert_allclose(gradient, expected, rtol=1e-5)


def test_instance_norm_of_bfloat16_has_statistics_in_float32():
    x = (draw(1, 64, 64, 1) + 50).astype(jnp.bfloat16)
    wide = np.asarray(x, np.float32)
    expected = (wide - wide.mean()) / wide.std()
    np.testing.assert_allclose(instance_norm(x), expected, atol=1e-4)


def test_a_style_of_zeros_changes_nothing_and_scales_come_first():
    x, style = draw(2, 3, 3, 4), draw(2, 8)
    np.testing.assert_array_equal(apply_style(x, jnp.zeros((2, 8))), x)
    scale, shift = (s.reshape(2, 1, 1, 4) for s in (style[:, :4], style[:, 4:]))
    np.testing.assert_allclose(
        apply_style(x, jnp.asarray(style)), x * (1 + scale) + shift, atol=1e-6
    )


@pytest.mark.parametrize("shape", [(2, 5), (2, 1, 5), (2, 3, 5)])
def test_w_is_the_same_for_all_layers_unless_each_has_its_own(shape):
    w = jnp.asarray(draw(*shape))
    expected = np.broadcast_to(np.asarray(w).reshape(2, -1, 5), (2, 3, 5))
    np.testing.assert_array_equal(broadcast_w(w, 3), expected)
