"""Convolutions that are quick on every backend, inside of loops too.

XLA's compiler for CPUs brings only the convolutions of a program's outermost
computation into the form that its fast kernels take. The gradients of convolutions in
the body of a loop, and strided ones, are left to scalar code, which is more than twenty
times slower. There, the two gradients are therefore written as convolutions and matrix
products of the fast form, and the strided ones as plain ones over blocks of 2x2 pixels;
elsewhere XLA's own are used.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jax import lax

_NHWC = ("NHWC", "HWIO", "NHWC")


def conv2d(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Correlates [N, H, W, C] with [k, k, C, F], k odd, zero-padded: [N, H, W, F]."""
    if jax.default_backend() != "cpu":
        return _convolve(x, kernel, kernel.shape[0] // 2)
    if kernel.shape[:2] == (1, 1):
        return x @ kernel[0, 0]
    return _cpu_convolve(x, kernel, kernel.shape[0] // 2)


def conv2d_up(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Correlates the zero-interleaved x with a kernel.

    Args:
      x: [N, H, W, C].
      kernel: [4, 4, C, F].

    Returns:
      [N, 2H, 2W, F].
    """
    if jax.default_backend() == "cpu":
        return _cpu_conv2d_up(x, kernel)
    return lax.conv_general_dilated(
        x,
        kernel,
        window_strides=(1, 1),
        padding=((2, 2), (2, 2)),
        lhs_dilation=(2, 2),
        dimension_numbers=_NHWC,
    )


def conv2d_down(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Correlates x at every second pixel, zero-padded by one.

    Args:
      x: [N, H, W, C], H and W even.
      kernel: [4, 4, C, F].

    Returns:
      [N, H / 2, W / 2, F].
    """
    if jax.default_backend() == "cpu":
        return _cpu_conv2d_down(x, kernel)
    return lax.conv_general_dilated(
        x,
        kernel,
        window_strides=(2, 2),
        padding=((1, 1), (1, 1)),
        dimension_numbers=_NHWC,
    )


def _cpu_conv2d_up(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Makes each of the four pixels that x grows to from 2x2 of x, in one go."""
    n, h, w, c = x.shape
    features = kernel.shape[-1]
    # Row 2s + a of the kernel meets, at row 2i + a of the output, row i + a + s - 1
    # of x, and likewise in columns; the other rows meet the zeros between.
    phases = kernel.reshape(2, 2, 2, 2, c, features).transpose(0, 2, 4, 1, 3, 5)
    y = _cpu_convolve(x, phases.reshape(2, 2, c, 4 * features), 1)
    y = y.reshape(n, h + 1, w + 1, 2, 2, features)
    rows = [
        jnp.stack([y[:, a : a + h, b : b + w, a, b] for b in range(2)], axis=3)
        for a in range(2)
    ]
    return jnp.stack(rows, axis=2).reshape(n, 2 * h, 2 * w, features)


def _cpu_conv2d_down(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Correlates blocks of 2x2 pixels with a kernel of 2x2 blocks."""
    n, h, w, c = x.shape
    padded = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    blocks = padded.reshape(n, h // 2 + 1, 2, w // 2 + 1, 2, c)
    blocks = blocks.transpose(0, 1, 3, 2, 4, 5).reshape(n, h // 2 + 1, w // 2 + 1, -1)
    kernel = kernel.reshape(2, 2, 2, 2, c, -1).transpose(0, 2, 1, 3, 4, 5)
    return _cpu_convolve(blocks, kernel.reshape(2, 2, 4 * c, -1), 0)


def _convolve(x: jax.Array, kernel: jax.Array, padding: int) -> jax.Array:
    pad = (padding, padding)
    return lax.conv_general_dilated(
        x, kernel, (1, 1), (pad, pad), dimension_numbers=_NHWC
    )


# Correlation is linear in either argument, and so are its two transposes: three maps
# that are each other's derivatives, to any order.


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def _cpu_convolve(x: jax.Array, kernel: jax.Array, padding: int) -> jax.Array:
    """Correlates [N, H, W, C], padded by `padding` zeros, with [k, k, C, F]."""
    return _convolve(x, kernel, padding)


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def _kernel_gradient(x: jax.Array, g: jax.Array, padding: int) -> jax.Array:
    """Correlates padded [N, H, W, C] with [N, H', W', F] at k x k shifts: [k, k, C, F].

    k follows from the shapes.
    """
    _, h, w, features = g.shape
    k, c = x.shape[1] + 2 * padding - h + 1, x.shape[-1]
    pad = (padding, padding)
    padded = jnp.pad(x, ((0, 0), pad, pad, (0, 0)))
    flat = g.reshape(-1, features)
    taps = [
        padded[:, i : i + h, j : j + w].reshape(-1, c).T @ flat
        for i in range(k)
        for j in range(k)
    ]
    return jnp.stack(taps).reshape(k, k, c, features)


def _image_gradient(g: jax.Array, kernel: jax.Array, padding: int) -> jax.Array:
    """Transposes the correlation with `kernel`."""
    transposed = kernel[::-1, ::-1].swapaxes(2, 3)
    return _cpu_convolve(g, transposed, kernel.shape[0] - 1 - padding)


def _convolve_forward(
    x: jax.Array, kernel: jax.Array, padding: int
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return _cpu_convolve(x, kernel, padding), (x, kernel)


def _convolve_backward(
    padding: int, saved: tuple[jax.Array, jax.Array], g: jax.Array
) -> tuple[jax.Array, jax.Array]:
    x, kernel = saved
    return _image_gradient(g, kernel, padding), _kernel_gradient(x, g, padding)


def _kernel_gradient_forward(
    x: jax.Array, g: jax.Array, padding: int
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return _kernel_gradient(x, g, padding), (x, g)


def _kernel_gradient_backward(
    padding: int, saved: tuple[jax.Array, jax.Array], kernel: jax.Array
) -> tuple[jax.Array, jax.Array]:
    x, g = saved
    return _image_gradient(g, kernel, padding), _cpu_convolve(x, kernel, padding)


_cpu_convolve.defvjp(_convolve_forward, _convolve_backward)
_kernel_gradient.defvjp(_kernel_gradient_forward, _kernel_gradient_backward)
