"""Convolutions that are fast on every backend, even inside loops.

XLA's compiler for CPUs brings only the convolutions of a program's outermost
computation into the form that its fast kernels take. The gradients of convolutions in
the body of a loop, and strided and dilated ones, fall back to scalar code, which is
more than twenty times slower. On CPUs the gradients of kernels, and the convolution
that halves its image, are therefore written as matrix products, and the one that
doubles it as four convolutions of 2x2. Other backends use XLA's own. The choice depends
on the platform that a program is compiled for, not on the machine that compiles it.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

_NHWC = ("NHWC", "HWIO", "NHWC")

# Up to this many maps, one product of all taps is faster than one product per tap.
_NARROW = 256

_Map = Callable[[jax.Array, jax.Array], jax.Array]


def _closed(apply: _Map, pull_back: _Map, kernel_gradient: _Map) -> _Map:
    """Makes three bilinear maps each other's derivatives, to any order.

    They are the three gradients of one trilinear form, with <., .> the sum of products:
    <apply(x, k), g> = <x, pull_back(g, k)> = <k, kernel_gradient(x, g)>.

    Returns:
      The first of them.
    """
    a, b, c = map(jax.custom_vjp, (apply, pull_back, kernel_gradient))
    a.defvjp(_save(a), lambda xk, g: (b(g, xk[1]), c(xk[0], g)))
    b.defvjp(_save(b), lambda gk, x: (a(x, gk[1]), c(x, gk[0])))
    c.defvjp(_save(c), lambda xg, k: (b(xg[1], k), a(xg[0], k)))
    return a


def _save(run: Any) -> Any:
    """Returns the forward pass of a bilinear map, which saves both arguments."""
    return lambda a, b: (run(a, b), (a, b))


def _on_cpu(cpu: _Map, default: _Map) -> _Map:
    return lambda a, b: lax.platform_dependent(a, b, cpu=cpu, default=default)


def _convolve(x: jax.Array, kernel: jax.Array) -> jax.Array:
    return lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=_NHWC)


def _strided(x: jax.Array, kernel: jax.Array) -> jax.Array:
    return lax.conv_general_dilated(
        x,
        kernel,
        window_strides=(2, 2),
        padding=((1, 1), (1, 1)),
        dimension_numbers=_NHWC,
    )


def _unstrided(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Transposes `_strided` with respect to its image.

    This form, with a kernel that is reversed right here, is the one that XLA's compiler
    for GPUs takes for a gradient of a convolution; it would write out the zeros between
    the pixels of x for any other.
    """
    return lax.conv_general_dilated(
        x,
        lax.rev(kernel, (0, 1)),
        window_strides=(1, 1),
        padding=((2, 2), (2, 2)),
        lhs_dilation=(2, 2),
        dimension_numbers=("NHWC", "HWOI", "NHWC"),
    )


def _phases(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Transposes `_strided`: 2x2 pixels of x give each of the four per pixel of x."""
    n, h, w, c = x.shape
    kernel = turned(kernel)
    features = kernel.shape[-1]
    # Row 2s + a of the kernel meets, at row 2i + a of the output, row i + a + s - 1
    # of x, and likewise in columns; the other rows meet the zeros between.
    phases = kernel.reshape(2, 2, 2, 2, c, features)

    def phase(a: int, b: int) -> jax.Array:
        padding = ((1 - a, a), (1 - b, b))
        taps = phases[:, a, :, b]
        return lax.conv_general_dilated(
            x, taps, (1, 1), padding, dimension_numbers=_NHWC
        )

    rows = [jnp.stack([phase(a, 0), phase(a, 1)], axis=3) for a in range(2)]
    return jnp.stack(rows, axis=2).reshape(n, 2 * h, 2 * w, features)


def _gathered(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Multiplies every second pixel's 4x4 neighbourhood by the kernel."""
    neighbours = jnp.concatenate(_taps(x), axis=-1)
    return neighbours @ kernel.reshape(-1, kernel.shape[-1])


def _taps(x: jax.Array) -> list[jax.Array]:
    """Returns what each tap of a 4x4 kernel of stride 2 is multiplied by."""
    h, w = x.shape[1:3]
    padded = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    return [padded[:, i : i + h : 2, j : j + w : 2] for i in range(4) for j in range(4)]


def _products(xs: list[jax.Array], gs: list[jax.Array]) -> jax.Array:
    """Sums x's pixels [N, H, W, C] times g's [N, H, W, F], tap by tap: [4, 4, C, F]."""
    products = [
        x.reshape(-1, x.shape[-1]).T @ g.reshape(-1, g.shape[-1])
        for x, g in zip(xs, gs, strict=True)
    ]
    return jnp.stack(products).reshape(4, 4, *products[0].shape)


def _products_of_thirds(x: jax.Array, g: jax.Array) -> jax.Array:
    """Returns the gradient of a 3x3 kernel: [3, 3, C, F].

    The product of x with its neighbours in a row and g at three heights. This single
    product copies six arrays; nine products, one per tap, would copy nine and pack
    eighteen.
    """
    w, c, f = *x.shape[2:], g.shape[-1]
    keep = (0, 0)
    padded = jnp.pad(x, (keep, (1, 1), (1, 1), keep))
    columns = [padded[:, :, j : j + w] for j in range(3)]
    rows = [jnp.pad(g, (keep, (i, 2 - i), keep, keep)) for i in range(3)]
    left = jnp.concatenate(columns, axis=-1).reshape(-1, 3 * c)
    right = jnp.concatenate(rows, axis=-1).reshape(-1, 3 * f)
    return (left.T @ right).reshape(3, c, 3, f).transpose(2, 0, 1, 3)


def _products_of_taps(x: jax.Array, g: jax.Array) -> jax.Array:
    """Returns the gradient of the kernel that doubles x: [4, 4, F, C]."""
    c, f = x.shape[-1], g.shape[-1]
    if c > _NARROW:
        return _products([x] * 16, _taps(g)).swapaxes(2, 3)
    right = jnp.concatenate(_taps(g), axis=-1).reshape(-1, 16 * f)
    return (x.reshape(-1, c).T @ right).reshape(c, 4, 4, f).transpose(1, 2, 3, 0)


def _of_kernel(convolve: Any, side: int, x: jax.Array, g: jax.Array) -> jax.Array:
    """Returns XLA's gradient of a convolution with respect to its kernel."""
    kernel = jax.ShapeDtypeStruct((side, side, x.shape[-1], g.shape[-1]), x.dtype)
    return jax.linear_transpose(lambda k: convolve(x, k), kernel)(g)[0]


def turned(kernel: jax.Array) -> jax.Array:
    """Returns the kernel whose correlation is the transpose of `kernel`'s."""
    return kernel[::-1, ::-1].swapaxes(2, 3)


_conv2d = _closed(
    _convolve,
    lambda g, k: _convolve(g, turned(k)),
    _on_cpu(
        _products_of_thirds,
        lambda x, g: _of_kernel(_convolve, 3, x, g),
    ),
)

_conv2d_up = _closed(
    _on_cpu(_phases, _unstrided),
    _on_cpu(_gathered, _strided),
    _on_cpu(
        _products_of_taps,
        # Not the gradient of `_unstrided`, which has a kernel as large as the image.
        lambda x, g: _of_kernel(_strided, 4, g, x),
    ),
)

_conv2d_down = _closed(
    _on_cpu(_gathered, _strided),
    _on_cpu(_phases, _unstrided),
    _on_cpu(
        lambda x, g: _products(_taps(x), [g] * 16),
        lambda x, g: _of_kernel(_strided, 4, x, g),
    ),
)


def conv2d(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Correlates [N, H, W, C] with [k, k, C, F], k 1 or 3, padded: [N, H, W, F]."""
    if kernel.shape[:2] == (1, 1):
        return x @ kernel[0, 0]
    return _conv2d(x, kernel)


def conv2d_up(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Transposes `conv2d_down` with respect to its image.

    Args:
      x: [N, H, W, C].
      kernel: [4, 4, F, C].

    Returns:
      [N, 2H, 2W, F].
    """
    return _conv2d_up(x, kernel)


def conv2d_down(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Correlates x at every second pixel, zero-padded by one.

    Args:
      x: [N, H, W, C], H and W even.
      kernel: [4, 4, C, F].

    Returns:
      [N, H / 2, W / 2, F].
    """
    return _conv2d_down(x, kernel)
