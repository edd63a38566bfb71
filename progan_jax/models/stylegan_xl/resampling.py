"""Rectifiers between upsampling and downsampling, so that they alias little.

Upsampling, its filter, and padding or cropping are one linear map along rows and the
same along columns; so are a separable filter and downsampling. Both are products with
banded matrices, made in float64 once for each layer. Source: Karras et al. 2021,
sections 3.1 and 3.2.
"""

import math
from collections.abc import Callable
from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from progan_jax.models.layers import leaky_relu
from progan_jax.models.stylegan_xl.design import LayerDesign
from progan_jax.models.stylegan_xl.filters import lowpass, radial_lowpass

_GAIN = math.sqrt(2)  # Of the rectifier.
_CLAMP = 256.0  # Largest value after it; the authors' program.
# Above this side, accelerators take as many maps at a time as fill a TPU's lanes.
_LARGE_SIDE, _MAPS_AT_ONCE = 256, 128


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

    x = _rectify_filtered(x, layer)
    return _downsample(x, layer) if layer.has_radial_filter else x


@partial(jax.custom_vjp, nondiff_argnums=(1,))
def _rectify_filtered(x: jax.Array, layer: LayerDesign) -> jax.Array:
    """Applies the separable filters and the rectifier between them.

    The backward pass computes the maps of the higher rate again: to keep them would
    take four times the memory of all else.
    """
    return _for_each(partial(_of_image, layer), x, layer.size)


def _of_image(layer: LayerDesign, x: jax.Array) -> jax.Array:
    x = _resample(x, up_matrix(layer))
    x = jnp.clip(leaky_relu(x) * _GAIN, -_CLAMP, _CLAMP)
    return x if layer.has_radial_filter else _resample(x, down_matrix(layer))


def _backwards(layer: LayerDesign, x: jax.Array, gradient: jax.Array) -> Any:
    def of_image(both: tuple[jax.Array, jax.Array]) -> jax.Array:
        _, pull_back = jax.vjp(partial(_of_image, layer), both[0])
        return pull_back(both[1])[0]

    return (_for_each(of_image, (x, gradient), layer.size),)


_rectify_filtered.defvjp(lambda x, layer: (_rectify_filtered(x, layer), x), _backwards)


def _for_each(
    of_image: Callable[[Any], jax.Array], images: Any, side: int
) -> jax.Array:
    """Applies a function, of each map by itself, to a tree of arrays [N, H, W, C].

    On a CPU to one image after the other, as its maps of the higher rate, of that side,
    fit into its caches. Elsewhere, and where a batch is split over devices, to all
    images at once, but to many large maps in parts: eight images of 512 maps of 562x562
    would take 2.4 GiB in bfloat16, several times in a backward pass.
    """
    at_once = jax.vmap(of_image)
    if side > _LARGE_SIDE:
        at_once = partial(_by_maps, at_once)
    if jax.device_count() > 1:
        return at_once(images)
    each = partial(lax.map, of_image)
    return lax.platform_dependent(images, cpu=each, default=at_once)


def _by_maps(of_images: Callable[[Any], jax.Array], images: Any) -> jax.Array:
    """Applies a function to `_MAPS_AT_ONCE` maps of all images after the other."""
    maps = jax.tree.leaves(images)[0].shape[-1]
    if maps <= _MAPS_AT_ONCE:
        return of_images(images)

    def split(x: jax.Array) -> jax.Array:
        x = jnp.pad(x, ((0, 0),) * 3 + ((0, -maps % _MAPS_AT_ONCE),))
        return jnp.moveaxis(x.reshape(*x.shape[:3], -1, _MAPS_AT_ONCE), 3, 0)

    parts = lax.map(of_images, jax.tree.map(split, images))
    x = jnp.moveaxis(parts, 0, 3)
    return x.reshape(*x.shape[:3], -1)[..., :maps]


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
    """Multiplies rows and columns of [H, W, C] by a matrix [out, in].

    Returns:
      [out, out, C].
    """
    by = jnp.asarray(matrix, x.dtype)
    for _ in range(2):  # Rows, which then become columns.
        height, width, maps = x.shape
        x = by @ x.reshape(height, width * maps)
        x = x.reshape(-1, width, maps).swapaxes(0, 1)
    return x


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
