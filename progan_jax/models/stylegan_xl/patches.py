"""Convolutions as products with the neighbourhoods of pixels.

XLA's compiler for CPUs has no fast form of strided convolutions, of those of each map
by itself, and of any gradient within loops: see `models.convolution`. Here a
convolution of few pixels is one product of matrices, and on CPUs one of each map by
itself is a sum of shifted maps, which the compiler fuses into one pass.
"""

import operator
from functools import reduce
from itertools import product
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

Padding = tuple[tuple[int, int], tuple[int, int]]  # Of rows, and of columns.


def correlate(
    x: jax.Array,
    kernel: jax.Array,
    stride: int = 1,
    padding: Padding = ((0, 0), (0, 0)),
) -> jax.Array:
    """Correlates [N, H, W, C] with a kernel [k, k, C, F], zero-padded."""
    padded, size = _pad(x, padding), kernel.shape[0]
    places = product(range(size), repeat=2)
    taps = [_tap(padded, size, stride, *at) for at in places]
    return jnp.concatenate(taps, axis=-1) @ kernel.reshape(-1, kernel.shape[-1])


def same_padding(x: jax.Array, size: int, stride: int) -> Padding:
    """Returns TensorFlow's SAME padding: the odd pixel comes after the map."""

    def along(side: int) -> tuple[int, int]:
        total = max((-(-side // stride) - 1) * stride + size - side, 0)
        return total // 2, total - total // 2

    return along(x.shape[1]), along(x.shape[2])


def depthwise(x: jax.Array, kernel: jax.Array, stride: int) -> jax.Array:
    """Correlates each map with a kernel of its own, with TensorFlow's SAME padding.

    On CPUs it is a sum of shifted maps: EfficientNet-lite0 takes a third to a fifteenth
    of the time, forward and backward, that it takes by XLA's grouped convolutions, and
    a third of that by the gradient that JAX would derive of the sum. Elsewhere it is
    such a convolution: the compiler for TPUs took minutes for the sums.

    Args:
      x: [N, H, W, C].
      kernel: [k, k, C], k odd.
      stride: 1 or 2.

    Returns:
      [N, ceil(H / stride), ceil(W / stride), C].
    """
    return lax.platform_dependent(
        x,
        kernel,
        cpu=lambda x, kernel: _depthwise(x, kernel, stride),
        default=lambda x, kernel: _grouped(x, kernel, stride),
    )


def _grouped(x: jax.Array, kernel: jax.Array, stride: int) -> jax.Array:
    return lax.conv_general_dilated(
        x,
        kernel[:, :, None],
        (stride, stride),
        "SAME",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=x.shape[-1],
    )


def _sum_of_taps(x: jax.Array, kernel: jax.Array, stride: int) -> jax.Array:
    size = kernel.shape[0]
    padded = _pad(x, same_padding(x, size, stride))
    return reduce(
        operator.add,
        (
            _tap(padded, size, stride, i, j) * kernel[i, j].reshape(1, 1, 1, -1)
            for i, j in product(range(size), repeat=2)
        ),
    )


def _forward(
    x: jax.Array, kernel: jax.Array, stride: int
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return _sum_of_taps(x, kernel, stride), (x, kernel)


def _backward(
    stride: int, saved: tuple[jax.Array, jax.Array], g: jax.Array
) -> tuple[jax.Array, jax.Array]:
    x, kernel = saved
    if stride == 1:  # The padding is symmetric, as k is odd.
        return _depthwise(g, kernel[::-1, ::-1], 1), _of_kernel(x, g, kernel, 1)
    return _unstrided(x, g, kernel), _of_kernel(x, g, kernel, stride)


_depthwise: Any = jax.custom_vjp(_sum_of_taps, nondiff_argnums=(2,))
_depthwise.defvjp(_forward, _backward)


def _of_kernel(x: jax.Array, g: jax.Array, kernel: jax.Array, stride: int) -> jax.Array:
    """Returns the gradient of a kernel [k, k, C]."""
    size = kernel.shape[0]
    padded = _pad(x, same_padding(x, size, stride))
    sums = [
        jnp.sum(_tap(padded, size, stride, i, j) * g, axis=(0, 1, 2))
        for i, j in product(range(size), repeat=2)
    ]
    return jnp.stack(sums).reshape(kernel.shape)


def _unstrided(x: jax.Array, g: jax.Array, kernel: jax.Array) -> jax.Array:
    """Transposes a depthwise correlation of stride 2: g to an array of x's shape.

    The rows and columns of each parity are sums of shifted maps of their own.
    """
    n, h, w, c = g.shape
    size = kernel.shape[0]
    reach = size // 2  # Row 2q + a of the padded map meets rows q - reach .. q of g.
    padded = _pad(g, ((reach, reach), (reach, reach)))

    def phase(a: int, b: int) -> jax.Array:
        rows, columns = range(a, size, 2), range(b, size, 2)
        return reduce(
            operator.add,
            (
                padded[
                    :,
                    reach - i // 2 : 2 * reach + h - i // 2,
                    reach - j // 2 : 2 * reach + w - j // 2,
                ]
                * kernel[i, j].reshape(1, 1, 1, -1)
                for i, j in product(rows, columns)
            ),
        )

    phases = [jnp.stack([phase(a, 0), phase(a, 1)], axis=3) for a in range(2)]
    full = jnp.stack(phases, axis=2).reshape(n, 2 * (h + reach), 2 * (w + reach), c)
    (top, _), (left, _) = same_padding(x, size, 2)
    return full[:, top : top + x.shape[1], left : left + x.shape[2]]


def _pad(x: jax.Array, padding: Padding) -> jax.Array:
    return jnp.pad(x, ((0, 0), *padding, (0, 0)))


def _tap(padded: jax.Array, size: int, stride: int, i: int, j: int) -> jax.Array:
    """Returns the pixels that meet row i and column j of a kernel."""
    h, w = (side - size + 1 for side in padded.shape[1:3])
    return padded[:, i : i + h : stride, j : j + w : stride]
