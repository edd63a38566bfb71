import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from progan_jax.models.convolution import conv2d
from progan_jax.models.layers import (
    EqualizedConv,
    EqualizedDense,
    append_map,
    conv_downscale2d,
    downscale2d,
    leaky_relu,
    lerp,
    num_features,
    pixel_norm,
    upscale2d,
    upscale_conv2d,
)

pytestmark = pytest.mark.usefixtures("strict_dtypes")


def normal(shape, seed=0, dtype=np.float32):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def correlate(x, kernel):
    """3x3 correlation with zero padding, pixel by pixel in float64."""
    n, h, w, _ = x.shape
    padded = np.pad(x.astype(np.float64), ((0, 0), (1, 1), (1, 1), (0, 0)))
    out = np.zeros((n, h, w, kernel.shape[-1]))
    for i, j in itertools.product(range(h), range(w)):
        patch = padded[:, i : i + 3, j : j + 3]
        out[:, i, j] = np.einsum("nabc,abcf->nf", patch, kernel.astype(np.float64))
    return out


def test_num_features_halves_and_is_capped():
    # Widths of the published 1024x1024 network, latent space first (table 2).
    widths = [num_features(stage) for stage in range(10)]
    assert widths == [512, 512, 512, 512, 512, 256, 128, 64, 32, 16]


def test_num_features_follows_the_decay():
    assert num_features(3, fmap_base=64, fmap_decay=0.5, fmap_max=99) == 22


@pytest.mark.parametrize("alpha", [0.0, 1.0])
def test_lerp_returns_its_ends_bit_for_bit(alpha):
    old, new = normal((100,), 1), normal((100,), 2)
    assert np.array_equal(lerp(old, new, np.float32(alpha)), new if alpha else old)


def test_lerp_weights_the_new_by_alpha():
    assert lerp(jnp.float32(2), jnp.float32(10), jnp.float32(0.25)) == 4


def test_leaky_relu_has_slope_one_fifth():
    np.testing.assert_allclose(leaky_relu(np.float32([-10, 3])), [-2, 3], rtol=1e-6)


def test_pixel_norm_is_division_by_the_root_mean_square():
    x = normal((2, 3, 3, 5)) * 7
    expected = x / np.sqrt((x.astype(np.float64) ** 2).mean(-1, keepdims=True) + 1e-8)
    np.testing.assert_allclose(pixel_norm(x), expected, rtol=1e-6)


def test_pixel_norm_of_zero_is_zero():
    assert not pixel_norm(jnp.zeros((1, 4))).any()


def test_pixel_norm_takes_statistics_of_bfloat16_in_float32():
    x = jnp.asarray(normal((4, 512)), jnp.bfloat16)
    out = pixel_norm(x)
    assert out.dtype == jnp.bfloat16
    wide = pixel_norm(x.astype(jnp.float32))
    np.testing.assert_allclose(out.astype(jnp.float32), wide, rtol=2**-8)


def test_upscale_repeats_pixels():
    x = normal((2, 3, 3, 4))
    assert np.array_equal(upscale2d(x, 2), x.repeat(2, axis=1).repeat(2, axis=2))


def test_downscale_takes_means_of_blocks():
    x = normal((2, 4, 6, 3))
    expected = np.zeros((2, 2, 3, 3))
    for i, j in itertools.product(range(2), range(3)):
        block = x[:, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2]
        expected[:, i, j] = block.mean(axis=(1, 2))
    np.testing.assert_allclose(downscale2d(x), expected, rtol=1e-5, atol=1e-6)


def test_downscale_undoes_upscale_bit_for_bit():
    x = normal((2, 4, 4, 3))
    assert np.array_equal(downscale2d(upscale2d(x)), x)


def test_fused_upscale_equals_upscale_then_convolution():
    x, kernel = normal((2, 4, 4, 3)), normal((3, 3, 3, 5), 1)
    expected = correlate(np.asarray(upscale2d(x)), kernel)
    np.testing.assert_allclose(upscale_conv2d(x, kernel), expected, atol=2e-5)


def test_fused_downscale_equals_convolution_then_downscale():
    x, kernel = normal((2, 8, 8, 3)), normal((3, 3, 3, 5), 1)
    expected = correlate(x, kernel).reshape(2, 4, 2, 4, 2, 5).mean(axis=(2, 4))
    np.testing.assert_allclose(conv_downscale2d(x, kernel), expected, atol=2e-5)


def rounded_first(params, x, resample):
    """The layer with its 3x3 kernel rounded before it is merged, and again after."""
    kernel = (params["params"]["kernel"] * math.sqrt(2 / 27)).astype(x.dtype)
    run = upscale_conv2d if resample == "up" else conv_downscale2d
    return run(x, kernel)


@pytest.mark.parametrize("resample", ["up", "down"])
def test_merged_kernels_are_rounded_to_bfloat16_once(resample, key):
    layer = EqualizedConv(5, resample=resample, dtype=jnp.bfloat16)
    x = normal((2, 8, 8, 3)).astype(jnp.bfloat16)
    params = layer.init(key, x)
    exact = EqualizedConv(5, resample=resample).apply(params, x)
    once, twice = (
        np.square(np.asarray(y, np.float32) - exact).mean()
        for y in (layer.apply(params, x), rounded_first(params, x, resample))
    )
    assert once < 0.8 * twice


def test_convolution_is_a_correlation_with_zero_padding():
    x, kernel = normal((2, 5, 4, 3)), normal((3, 3, 3, 6), 1)
    np.testing.assert_allclose(conv2d(x, kernel), correlate(x, kernel), atol=2e-5)


@pytest.mark.parametrize("gain", [math.sqrt(2), 1.0, math.sqrt(2) / 4])
@pytest.mark.parametrize("kind", ["conv", "dense"])
def test_equalized_layers_scale_unit_normal_weights_by_gain_over_root_fan_in(
    kind, gain, key
):
    conv = kind == "conv"
    layer = EqualizedConv(64, gain=gain) if conv else EqualizedDense((64,), gain=gain)
    x = normal((2, 4, 4, 48) if conv else (2, 48))
    params = layer.init(key, x)["params"]
    kernel = np.asarray(params["kernel"], np.float64)
    assert abs(kernel.std() - 1) < 0.02
    assert not params["bias"].any()
    fan_in = 9 * 48 if conv else 48
    scaled = kernel * gain / math.sqrt(fan_in)
    expected = correlate(x, scaled) if conv else x @ scaled
    np.testing.assert_allclose(layer.apply({"params": params}, x), expected, atol=2e-5)


def test_bias_is_added_unscaled(key):
    layer = EqualizedConv(3, kernel_size=1)
    x = jnp.zeros((1, 2, 2, 4))
    params = layer.init(key, x)["params"] | {"bias": jnp.float32([1, 2, 3])}
    out = layer.apply({"params": params}, x)
    assert np.array_equal(out, np.broadcast_to([1, 2, 3], (1, 2, 2, 3)))


def test_dense_bias_runs_over_maps_of_a_shaped_output(key):
    layer = EqualizedDense((4, 4, 3))
    params = layer.init(key, jnp.zeros((1, 5)))["params"]
    assert params["bias"].shape == (3,)
    params = params | {"bias": jnp.float32([1, 2, 3])}
    out = layer.apply({"params": params}, jnp.zeros((2, 5)))
    assert np.array_equal(out, np.broadcast_to([1, 2, 3], (2, 4, 4, 3)))


def test_unequalized_weights_are_born_at_their_scale(key):
    layer = EqualizedConv(64, equalized=False)
    x = normal((1, 4, 4, 64))
    params = layer.init(key, x)["params"]
    assert abs(np.std(params["kernel"]) / math.sqrt(2 / (9 * 64)) - 1) < 0.02
    expected = correlate(x, np.asarray(params["kernel"]))
    np.testing.assert_allclose(layer.apply({"params": params}, x), expected, atol=2e-5)


def test_bfloat16_layers_keep_float32_parameters(key):
    layer = EqualizedConv(8, dtype=jnp.bfloat16)
    x = jnp.ones((1, 4, 4, 3), jnp.bfloat16)
    params = layer.init(key, x)["params"]
    assert {p.dtype for p in jax.tree.leaves(params)} == {jnp.dtype("float32")}
    assert layer.apply({"params": params}, x).dtype == jnp.bfloat16


@pytest.mark.parametrize("side", [1, 3])
def test_a_last_map_apart_is_a_last_map_of_the_convolution(side, float64):
    rng = np.random.default_rng(0)
    x, last = rng.normal(size=(3, 4, 6, 2)), rng.normal(size=3)
    layer = EqualizedConv(5, kernel_size=side, dtype="float64")
    params = layer.init(jax.random.key(0), append_map(x, last))
    together = layer.apply(params, append_map(x, last))
    np.testing.assert_allclose(layer.apply(params, x, last), together, rtol=1e-12)
    shapes = jax.tree.map(jnp.shape, layer.init(jax.random.key(0), x, last))
    assert shapes == jax.tree.map(jnp.shape, params)
