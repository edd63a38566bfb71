"""Filtered rectifiers, against zeros, filters and steps written out."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.signal

from progan_jax.models.stylegan_xl import resampling
from progan_jax.models.stylegan_xl.design import design_network
from progan_jax.models.stylegan_xl.filters import lowpass, radial_lowpass
from progan_jax.models.stylegan_xl.resampling import (
    down_matrix,
    filtered_lrelu,
    up_matrix,
)
from tests.stylegan_xl_golden import G_OPTIONS, assert_close

# A usual layer, one that crops, one that quadruples its rate, ToRGB; a radial filter.
LAYERS = (("stem", 3), ("stem", 9), ("superres", 9), ("stem", 10), ("radial", 2))

all_layers = pytest.mark.parametrize(("case", "index"), LAYERS)


def layer_of(case, index):
    return design_network(G_OPTIONS[case]).layers[index]


def upsampled(x, layer):
    """Inserts zeros after all samples of a map, pads or crops it, and filters it."""
    up, (low, high) = layer.up, layer.padding
    zeros = np.zeros((len(x) * up, len(x) * up))
    zeros[::up, ::up] = x
    padded = np.pad(zeros, (max(low, 0), max(high, 0)))
    rows = slice(max(-low, 0), len(padded) - max(-high, 0))
    taps = lowpass(
        layer.up_taps, layer.source.cutoff, layer.source.half_width, layer.rate
    )
    kernel = np.outer(taps, taps) * up**2
    return scipy.signal.convolve2d(padded[rows, rows], kernel, "valid")


def downsampled(x, layer):
    """Filters a map, and keeps every `down`-th sample."""
    target = layer.target
    band = layer.down_taps, target.cutoff, target.half_width, layer.rate
    radial = layer.has_radial_filter
    kernel = radial_lowpass(*band) if radial else np.outer(*[lowpass(*band)] * 2)
    full = scipy.signal.convolve2d(x, kernel, "valid")
    return full[:: layer.down, :: layer.down]


def rectified(x, layer):
    gain, slope = (1, 1) if layer.is_torgb else (np.sqrt(2), 0.2)
    return np.clip(np.where(x < 0, slope * x, x) * gain, -256, 256)


def draw(layer, scale=1.0):
    shape = (2, layer.padded_size, layer.padded_size, 3)
    return scale * np.random.default_rng(0).standard_normal(shape)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("scale", [1.0, 300.0])
@all_layers
def test_it_is_zeros_filter_rectifier_filter_and_steps(case, index, scale):
    layer = layer_of(case, index)
    x = draw(layer, scale)
    maps = x.transpose(0, 3, 1, 2).reshape(-1, *x.shape[1:3])
    expected = [downsampled(rectified(upsampled(m, layer), layer), layer) for m in maps]
    size = layer.target.size
    assert expected[0].shape == (size, size)
    ours = jax.jit(filtered_lrelu, static_argnums=1)(x, layer)
    expected = np.reshape(expected, (2, 3, size, size)).transpose(0, 2, 3, 1)
    assert_close(ours, expected, 1e-13)


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
@all_layers
def test_it_keeps_the_dtype(case, index, dtype):
    layer = layer_of(case, index)
    x = draw(layer).astype(dtype)
    ours = jax.jit(filtered_lrelu, static_argnums=1)(x, layer)
    assert ours.dtype == dtype
    exact = filtered_lrelu(x.astype("float32"), layer)
    assert_close(np.float32(ours), np.asarray(exact), 0.03)


@pytest.mark.parametrize(("case", "index"), LAYERS[:3])
def test_upsampling_keeps_places_and_downsampling_undoes_it(case, index):
    """A slow wave has the same values at the same places at all rates."""
    layer = layer_of(case, index)

    def wave(size, rate):
        at = (np.arange(size) + 0.5 - size / 2) / rate
        return np.cos(2 * np.pi * 0.5 * at + 0.3)

    x = wave(layer.padded_size, layer.source.rate)
    high = up_matrix(layer) @ x
    inside = slice(24, -24) if layer.size > 64 else slice(8, -8)
    expected = wave(layer.size, layer.rate)
    np.testing.assert_allclose(high[inside], expected[inside], atol=0.02)
    low = down_matrix(layer) @ expected
    expected = wave(layer.target.size, layer.target.rate)
    np.testing.assert_allclose(low, expected, atol=0.02)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("maps", [2, 5])
def test_maps_in_parts_give_the_same_values_and_gradients(monkeypatch, maps):
    # Eight devices take the way of accelerators.
    layer = layer_of("stem", 3)
    x, direction = (
        np.random.default_rng(maps).standard_normal((2, side, side, maps))
        for side in (layer.padded_size, layer.target.size)
    )

    def run(x):
        return jax.vjp(lambda x: filtered_lrelu(x, layer), x)[1](direction)[0]

    def length(x):
        return jnp.sum(run(x) ** 2)

    whole = filtered_lrelu(x, layer), *jax.value_and_grad(length)(x)
    monkeypatch.setattr(resampling, "_LARGE_SIDE", 0)
    monkeypatch.setattr(resampling, "_MAPS_AT_ONCE", 2)
    loops = "while" in jax.jit(run).lower(x).as_text()
    assert loops == (maps > 2)
    in_parts = filtered_lrelu(x, layer), *jax.value_and_grad(length)(x)
    for a, b in zip(in_parts, whole, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12)
