"""Convolutions that are quick on every backend, inside of loops too.

XLA's compiler for CPUs brings only the convolutions of a program's outermost
computation into the form that its fast kernels take. The gradients of convolutions in
the body of a loop, and strided and dilated ones, are left to scalar code, which is more
than twenty times slower. There, the gradients of kernels are therefore written as
matrix products, and the resampling convolutions as 2x2 ones that make, or take, four
pixels at a time; for other backends they are XLA's own. Which it is depends on what a
program is compiled for, and not on the machine that compiles it.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

_NHWC = ("NHWC", "HWIO", "NHWC")

# Correlation is linear in either argument, and so are its two transposes: the plain
# ones and the resampling ones are, each with a gradient of the kernel, maps that are
# each other's derivatives, to any order.


def conv2d(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Correlates [N, H, W, C] with [k, k, C, F], k 1 or 3, padded: [N, H, W, F]."""
    if kernel.shape[:2] == (1, 1):
        return x @ kernel[0, 0]
    return _conv2d(x, kernel)


@jax.custom_vjp
def _conv2d(x: jax.Array, kernel: jax.Array) -> jax.Array:
    return _convolve(x, kernel)


@jax.custom_vjp
def _kernel_gradient(x: jax.Array, g: jax.Array) -> jax.Array:
    """Correlates [N, H, W, C] with [N, H, W, F] at the 3x3 shifts: [3, 3, C, F]."""

    def transposed(x: jax.Array, g: jax.Array) -> Any:
        return _transpose(_convolve, 3, x, g)

    def shifted(x: jax.Array, g: jax.Array) -> jax.Array:
        return _shifted_products(_pad(x), g)

    gradient: Any = lax.platform_dependent(x, g, cpu=shifted, default=transposed)
    return gradient


@jax.custom_vjp
def conv2d_up(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Correlates the zero-interleaved x with a kernel.

    Args:
      x: [N, H, W, C].
      kernel: [4, 4, C, F].

    Returns:
      [N, 2H, 2W, F].
    """
    image: Any = lax.platform_dependent(x, kernel, cpu=_phases, default=_dilated)
    return image


@jax.custom_vjp
def conv2d_down(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Correlates x at every second pixel, zero-padded by one.

    Args:
      x: [N, H, W, C], H and W even.
      kernel: [4, 4, C, F].

    Returns:
      [N, H / 2, W / 2, F].
    """
    image: Any = lax.platform_dependent(x, kernel, cpu=_in_blocks, default=_strided)
    return image


@jax.custom_vjp
def _strided_kernel_gradient(x: jax.Array, g: jax.Array) -> jax.Array:
    """Correlates [N, 2H, 2W, C] with [N, H, W, F] two apart: [4, 4, C, F]."""

    def transposed(x: jax.Array, g: jax.Array) -> Any:
        return _transpose(_strided, 4, x, g)

    def in_blocks(x: jax.Array, g: jax.Array) -> jax.Array:
        return _from_blocks(_shifted_products(_to_blocks(_pad(x)), g))

    gradient: Any = lax.platform_dependent(x, g, cpu=in_blocks, default=transposed)
    return gradient


def _convolve(x: jax.Array, kernel: jax.Array) -> jax.Array:
    return lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=_NHWC)


def _dilated(x: jax.Array, kernel: jax.Array) -> jax.Array:
    return lax.conv_general_dilated(
        x,
        kernel,
        window_strides=(1, 1),
        padding=((2, 2), (2, 2)),
        lhs_dilation=(2, 2),
        dimension_numbers=_NHWC,
    )


def _strided(x: jax.Array, kernel: jax.Array) -> jax.Array:
    return lax.conv_general_dilated(
        x,
        kernel,
        window_strides=(2, 2),
        padding=((1, 1), (1, 1)),
        dimension_numbers=_NHWC,
    )


def _phases(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Makes each of the four pixels that x grows to from 2x2 of x, in one go."""
    n, h, w, c = x.shape
    features = kernel.shape[-1]
    # Row 2s + a of the kernel meets, at row 2i + a of the output, row i + a + s - 1
    # of x, and likewise in columns; the other rows meet the zeros between.
    phases = kernel.reshape(2, 2, 2, 2, c, features).transpose(0, 2, 4, 1, 3, 5)
    y = lax.conv_general_dilated(
        x,
        phases.reshape(2, 2, c, 4 * features),
        window_strides=(1, 1),
        padding=((1, 1), (1, 1)),
        dimension_numbers=_NHWC,
    ).reshape(n, h + 1, w + 1, 2, 2, features)
    rows = [
        jnp.stack([y[:, a : a + h, b : b + w, a, b] for b in range(2)], axis=3)
        for a in range(2)
    ]
    return jnp.stack(rows, axis=2).reshape(n, 2 * h, 2 * w, features)


def _in_blocks(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Correlates blocks of 2x2 pixels with a kernel of 2x2 blocks."""
    c, features = kernel.shape[2:]
    blocks = kernel.reshape(2, 2, 2, 2, c, features).transpose(0, 2, 1, 3, 4, 5)
    return lax.conv_general_dilated(
        _to_blocks(_pad(x)),
        blocks.reshape(2, 2, 4 * c, features),
        window_strides=(1, 1),
        padding="VALID",
        dimension_numbers=_NHWC,
    )


def _to_blocks(x: jax.Array) -> jax.Array:
    """Maps [N, 2H, 2W, C] to [N, H, W, 4C]."""
    n, h, w, c = x.shape
    blocks = x.reshape(n, h // 2, 2, w // 2, 2, c).transpose(0, 1, 3, 2, 4, 5)
    return blocks.reshape(n, h // 2, w // 2, 4 * c)


def _from_blocks(kernel: jax.Array) -> jax.Array:
    """Maps a kernel of blocks [2, 2, 4C, F] to [4, 4, C, F]."""
    c, features = kernel.shape[2] // 4, kernel.shape[3]
    blocks = kernel.reshape(2, 2, 2, 2, c, features).transpose(0, 2, 1, 3, 4, 5)
    return blocks.reshape(4, 4, c, features)


def _pad(x: jax.Array) -> jax.Array:
    return jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))


def _shifted_products(x: jax.Array, g: jax.Array) -> jax.Array:
    """Correlates [N, H + k - 1, W + k - 1, C] with [N, H, W, F]: [k, k, C, F]."""
    h, w, features = g.shape[1:]
    k, c = x.shape[1] - h + 1, x.shape[-1]
    flat = g.reshape(-1, features)
    taps = [
        x[:, i : i + h, j : j + w].reshape(-1, c).T @ flat
        for i in range(k)
        for j in range(k)
    ]
    return jnp.stack(taps).reshape(k, k, c, features)


def _transpose(convolve: Any, side: int, x: jax.Array, g: jax.Array) -> jax.Array:
    """Returns XLA's gradient of a convolution's kernel."""
    kernel = jax.ShapeDtypeStruct((side, side, x.shape[-1], g.shape[-1]), x.dtype)
    return jax.linear_transpose(lambda k: convolve(x, k), kernel)(g)[0]


def _turned(kernel: jax.Array) -> jax.Array:
    """Returns the kernel whose correlation is the transpose of that of `kernel`."""
    return kernel[::-1, ::-1].swapaxes(2, 3)


def _save(run: Any) -> Any:
    """Returns the forward pass of a bilinear map, which keeps both arguments."""
    return lambda a, b: (run(a, b), (a, b))


_Pair = tuple[jax.Array, jax.Array]


def _conv2d_backward(saved: _Pair, g: jax.Array) -> _Pair:
    x, kernel = saved
    return _conv2d(g, _turned(kernel)), _kernel_gradient(x, g)


def _kernel_gradient_backward(saved: _Pair, kernel: jax.Array) -> _Pair:
    x, g = saved
    return _conv2d(g, _turned(kernel)), _conv2d(x, kernel)


def _up_backward(saved: _Pair, g: jax.Array) -> _Pair:
    x, kernel = saved
    return conv2d_down(g, _turned(kernel)), _turned(_strided_kernel_gradient(g, x))


def _down_backward(saved: _Pair, g: jax.Array) -> _Pair:
    x, kernel = saved
    return conv2d_up(g, _turned(kernel)), _strided_kernel_gradient(x, g)


def _strided_kernel_gradient_backward(saved: _Pair, kernel: jax.Array) -> _Pair:
    x, g = saved
    return conv2d_up(g, _turned(kernel)), conv2d_down(x, kernel)


_conv2d.defvjp(_save(_conv2d), _conv2d_backward)
_kernel_gradient.defvjp(_save(_kernel_gradient), _kernel_gradient_backward)
conv2d_up.defvjp(_save(conv2d_up), _up_backward)
conv2d_down.defvjp(_save(conv2d_down), _down_backward)
_strided_kernel_gradient.defvjp(
    _save(_strided_kernel_gradient), _strided_kernel_gradient_backward
)
