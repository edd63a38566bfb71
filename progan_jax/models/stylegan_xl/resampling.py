"""Rectifiers between upsampling and downsampling, so that they alias little.

Upsampling, its filter, and padding or cropping are one linear map along rows and the
same along columns; so are a separable filter and downsampling. Both are products with
banded matrices, made in float64 once for each layer. Source: Karras et al. 2021,
sections 3.1 and 3.2.
"""

import math
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from progan_jax.models.layers import leaky_relu
from progan_jax.models.stylegan_xl.design import LayerDesign
from progan_jax.models.stylegan_xl.filters import lowpass, radial_lowpass

_GAIN = math.sqrt(2)  # Of the rectifier.
_CLAMP = 256.0  # Largest value after it; the authors' program.


def filtered_lrelu(x: jax.Array, layer: LayerDesign) -> jax.Array:
    """Applies the leaky ReLU of a layer at its higher rate; limits all values.

    Args:
      x: [N, P, P, C], P the layer's `padded_size`.
      layer: The layer's design; ToRGB only limits values.

    Returns:
      [N, S, S, C], S the size of what the layer gives, and the dtype of `x`.
    """
    if layer.is_torgb:
        return jnp.clip(x, -_CLAMP, _CLAMP)
    x = _resample(x, up_matrix(layer))
    x = jnp.clip(leaky_relu(x) * _GAIN, -_CLAMP, _CLAMP)
    if layer.has_radial_filter:
        return _downsample(x, layer)
    return _resample(x, down_matrix(layer))


@cache
def up_matrix(layer: LayerDesign) -> np.ndarray:
    """Returns the map from a layer's samples to those of its higher rate.

    Each sample is followed by `up - 1` zeros, the last one too; then come padding, and
    the filter where it overlaps all of its taps.

    Returns:
      [size, padded_size], float64.
    """
    source, taps = layer.source, layer.up_taps
    kernel = lowpass(taps, source.cutoff, source.half_width, layer.rate) * layer.up
    rows, columns = np.arange(layer.size), np.arange(layer.padded_size)
    places = columns[None] * layer.up + layer.padding[0] - rows[:, None]
    return _banded(kernel, places)


@cache
def down_matrix(layer: LayerDesign) -> np.ndarray:
    """Returns the map from the samples of the higher rate to those that a layer gives.

    The filter is applied where it overlaps all of its taps, from the first such place
    on at every `down`-th.

    Returns:
      [target.size, size], float64.
    """
    target, taps = layer.target, layer.down_taps
    kernel = lowpass(taps, target.cutoff, target.half_width, layer.rate)
    rows, columns = np.arange(target.size), np.arange(layer.size)
    return _banded(kernel, columns[None] - rows[:, None] * layer.down)


def _banded(kernel: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Returns the taps at the given places; 0 beyond the kernel."""
    inside = (places >= 0) & (places < len(kernel))
    return np.where(inside, kernel[places.clip(0, len(kernel) - 1)], 0.0)


def _resample(x: jax.Array, matrix: np.ndarray) -> jax.Array:
    """Multiplies rows and columns of [N, H, W, C] by a matrix [out, in]."""
    by = jnp.asarray(matrix, x.dtype)
    x = jnp.einsum("ih,nhwc->niwc", by, x)
    return jnp.einsum("jw,niwc->nijc", by, x)


def _downsample(x: jax.Array, layer: LayerDesign) -> jax.Array:
    """Applies a layer's radial filter to each map, at every `down`-th place."""
    target, maps = layer.target, x.shape[-1]
    kernel = radial_lowpass(
        layer.down_taps, target.cutoff, target.half_width, layer.rate
    )
    kernel = jnp.asarray(kernel, x.dtype)[:, :, None, None]
    return lax.conv_general_dilated(
        x,
        jnp.broadcast_to(kernel, (*kernel.shape[:3], maps)),
        window_strides=(layer.down, layer.down),
        padding="VALID",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=maps,
    )
