"""Convolution that is quick on every backend, inside of loops too.

XLA's compiler for CPUs brings only the convolutions of a program's outermost
computation into the form that its fast kernels take. The gradients of convolutions in
the body of a loop are left to scalar code, which is more than twenty times slower.
There, the gradient of the kernel is therefore written as matrix products; for other
backends it is XLA's own. Which it is depends on what a program is compiled for, and not
on the machine that compiles it.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

_NHWC = ("NHWC", "HWIO", "NHWC")


def conv2d(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Correlates [N, H, W, C] with [k, k, C, F], k 1 or 3, padded: [N, H, W, F]."""
    if kernel.shape[:2] == (1, 1):
        return x @ kernel[0, 0]
    return _conv2d(x, kernel)


def _convolve(x: jax.Array, kernel: jax.Array) -> jax.Array:
    return lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=_NHWC)


# Correlation is linear in either argument, and so are its two transposes: three maps
# that are each other's derivatives, to any order.


@jax.custom_vjp
def _conv2d(x: jax.Array, kernel: jax.Array) -> jax.Array:
    return _convolve(x, kernel)


@jax.custom_vjp
def _kernel_gradient(x: jax.Array, g: jax.Array) -> jax.Array:
    """Correlates [N, H, W, C] with [N, H, W, F] at the 3x3 shifts: [3, 3, C, F]."""
    gradient: Any = lax.platform_dependent(
        x, g, cpu=_shifted_products, default=_transposed_convolution
    )
    return gradient


def _shifted_products(x: jax.Array, g: jax.Array) -> jax.Array:
    _, h, w, c = x.shape
    padded = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    flat = g.reshape(-1, g.shape[-1])
    taps = [
        padded[:, i : i + h, j : j + w].reshape(-1, c).T @ flat
        for i in range(3)
        for j in range(3)
    ]
    return jnp.stack(taps).reshape(3, 3, c, -1)


def _transposed_convolution(x: jax.Array, g: jax.Array) -> jax.Array:
    kernel = jax.ShapeDtypeStruct((3, 3, x.shape[-1], g.shape[-1]), x.dtype)
    return jax.linear_transpose(lambda k: _convolve(x, k), kernel)(g)[0]


def _transposed(kernel: jax.Array) -> jax.Array:
    """Returns the kernel whose correlation is the transpose of that of `kernel`."""
    return kernel[::-1, ::-1].swapaxes(2, 3)


def _conv2d_forward(
    x: jax.Array, kernel: jax.Array
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return _conv2d(x, kernel), (x, kernel)


def _conv2d_backward(
    saved: tuple[jax.Array, jax.Array], g: jax.Array
) -> tuple[jax.Array, jax.Array]:
    x, kernel = saved
    return _conv2d(g, _transposed(kernel)), _kernel_gradient(x, g)


def _kernel_gradient_forward(
    x: jax.Array, g: jax.Array
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return _kernel_gradient(x, g), (x, g)


def _kernel_gradient_backward(
    saved: tuple[jax.Array, jax.Array], kernel: jax.Array
) -> tuple[jax.Array, jax.Array]:
    x, g = saved
    return _conv2d(g, _transposed(kernel)), _conv2d(x, kernel)


_conv2d.defvjp(_conv2d_forward, _conv2d_backward)
_kernel_gradient.defvjp(_kernel_gradient_forward, _kernel_gradient_backward)
