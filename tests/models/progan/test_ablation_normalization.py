import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from progan_jax.models.layers import (
    EqualizedConv,
    EqualizedDense,
    conv_downscale2d,
    upscale_conv2d,
)
from progan_jax.models.progan.ablation import BatchNorm, LayerNorm

# Axes that the statistics of an image batch run over.
AXES = {BatchNorm: (0, 1, 2), LayerNorm: (1, 2, 3)}
both_norms = pytest.mark.parametrize("norm", AXES)


pytestmark = pytest.mark.usefixtures("strict_dtypes")


def normal(shape, seed=0, dtype=np.float32):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def normalized(x, axes):
    x = np.asarray(x, np.float64)
    mean = x.sum(axis=axes, keepdims=True) / np.prod([x.shape[a] for a in axes])
    variance = ((x - mean) ** 2).mean(axis=axes, keepdims=True)
    return (x - mean) / np.sqrt(variance + 1e-4)


def trained(layer, x):
    """Returns the layer's parameters, moved away from what a new one has."""
    params = jax.device_get(layer.init(jax.random.key(0), x)["params"])
    gain, bias = params["norm"]["gain"], params["bias"]
    params["norm"] = {"gain": np.asarray(gain + normal(gain.shape, 1))}
    return params | {"bias": bias + normal(bias.shape, 2)}


@both_norms
def test_convolution_is_normalised_scaled_and_then_shifted(norm):
    # A kernel of 1x1 is a matrix product; far from zero, so that the mean counts.
    x = normal((4, 3, 5, 2)) * 3 + 7
    layer = EqualizedConv(6, kernel_size=1, equalized=False, norm=norm)
    params = trained(layer, x)
    convolved = x.astype(np.float64) @ np.float64(params["kernel"][0, 0])
    expected = normalized(convolved, AXES[norm]) * params["norm"]["gain"]
    out = layer.apply({"params": params}, x)
    np.testing.assert_allclose(out, expected + params["bias"], rtol=1e-4, atol=1e-5)


@both_norms
@pytest.mark.parametrize("resample", ["up", "down"])
def test_norm_comes_after_the_fused_convolution(norm, resample):
    x = normal((4, 4, 4, 2))
    layer = EqualizedConv(3, equalized=False, resample=resample, norm=norm)
    params = trained(layer, x)
    run = upscale_conv2d if resample == "up" else conv_downscale2d
    convolved = run(x, params["kernel"])
    expected = normalized(convolved, AXES[norm]) * params["norm"]["gain"]
    out = layer.apply({"params": params}, x)
    np.testing.assert_allclose(out, expected + params["bias"], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("norm", "shape", "axes"),
    [
        # G's first layer emits pixels, D's one vector for each image.
        (BatchNorm, (4, 4, 3), (0, 1, 2)),
        (BatchNorm, (6,), (0,)),
        (LayerNorm, (6,), (1,)),
    ],
)
def test_dense_layers_are_normalised_like_convolutions(norm, shape, axes):
    x = normal((5, 7))
    layer = EqualizedDense(shape, equalized=False, norm=norm)
    params = trained(layer, x)
    product = (x.astype(np.float64) @ np.float64(params["kernel"])).reshape(5, *shape)
    expected = normalized(product, axes) * params["norm"]["gain"] + params["bias"]
    out = layer.apply({"params": params}, x)
    np.testing.assert_allclose(out, expected, rtol=1e-4, atol=1e-5)


def test_gains_start_at_one_and_there_is_one_for_each_map_or_for_all(key):
    x = normal((2, 4, 4, 3))
    for norm, shape in ((BatchNorm, (3,)), (LayerNorm, ())):
        variables = norm().init(key, x)
        assert variables.keys() == {"params"}  # No running averages.
        gain = variables["params"]["gain"]
        assert gain.shape == shape
        assert (gain == 1).all()


def test_layer_norm_sees_one_image_and_batch_norm_all(key):
    x = normal((3, 4, 4, 2))
    other = np.concatenate([x[:1], x[1:] * 2])
    for norm, same in ((LayerNorm, True), (BatchNorm, False)):
        params = norm().init(key, x)
        first = [norm().apply(params, images)[0] for images in (x, other)]
        assert np.array_equal(*first) == same


@both_norms
def test_gradients_are_those_of_finite_differences_to_second_order(norm, float64, key):
    x = normal((3, 2, 2, 2), dtype=np.float64)
    gain = norm().init(key, x)["params"]["gain"]
    weights = normal(x.shape, 3, np.float64)

    def run(gain, x):
        return jnp.sum(weights * norm().apply({"params": {"gain": gain}}, x))

    check_grads(run, (gain, x), order=2, modes=["rev"], atol=1e-4, rtol=1e-4)


@both_norms
def test_gradients_are_finite_where_all_numbers_are_equal(norm, key):
    x = jnp.ones((3, 2, 2, 2))
    params = norm().init(key, x)
    gradient = jax.grad(lambda x: jnp.sum(jnp.square(norm().apply(params, x) + 1)))(x)
    assert np.isfinite(gradient).all()


@both_norms
def test_statistics_of_bfloat16_are_taken_in_float32(norm, key):
    x = jnp.asarray(normal((8, 16, 16, 4)) + 3, jnp.bfloat16)
    params = norm().init(key, x)
    assert params["params"]["gain"].dtype == jnp.float32
    out = norm().apply(params, x)
    assert out.dtype == jnp.bfloat16
    exact = norm().apply(params, x.astype(jnp.float32))
    np.testing.assert_allclose(out.astype(jnp.float32), exact, rtol=2**-8, atol=1e-6)
