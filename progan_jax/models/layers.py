"""Layers of Progressive GAN: pure functions on arrays and thin linen wrappers.

Images and activations are NHWC, convolution kernels HWIO and applied as a plain
correlation with zero padding. Statistics are taken in float32 at least, whatever the
dtype of the activations. Source: Karras et al. 2018, sections 3, 4.1 and 4.2, and
appendix A.1.
"""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax import lax

from progan_jax.models.convolution import conv2d, conv2d_down, conv2d_up, turned


def minibatch_stddev(x: jax.Array, group_size: int, epsilon: float = 1e-8) -> jax.Array:
    """Returns the mean standard deviation of each image's group.

    Args:
      x: Activations [N, H, W, C].
      group_size: Number of consecutive images per group, capped at N; 0 makes the batch
        one group, as in the paper.
      epsilon: Added to the variance, inside the root.

    Returns:
      [N], float32 at least: the value of the map that D appends to each image.

    Raises:
      ValueError: if N is not a multiple of the group.

    Source: Karras et al. 2018, section 3. Groups are consecutive images, while those of
    the authors' program are every (N / G)-th: see docs/fidelity.md.

    Examples:
      >>> import jax.numpy as jnp
      >>> x = jnp.array([0.0, 2.0, 5.0, 5.0]).reshape(4, 1, 1, 1)
      >>> minibatch_stddev(x, group_size=2).round(3).tolist()
      [1.0, 1.0, 0.0, 0.0]
    """
    n, h, w, c = x.shape
    group = min(group_size, n) if group_size else n
    if n % group:
        raise ValueError(
            f"batch of {n} images is not a multiple of the stddev group {group}"
        )
    wide = x.astype(statistics_dtype(x.dtype)).reshape(n // group, group, h, w, c)
    stddev = jnp.sqrt(jnp.var(wide, axis=1) + epsilon)
    return jnp.repeat(jnp.mean(stddev, axis=(1, 2, 3)), group)


def append_map(x: jax.Array, value: jax.Array) -> jax.Array:
    """Appends a map with one value per image [N] to [N, H, W, C]."""
    n, h, w, _ = x.shape
    extra = jnp.broadcast_to(value.reshape(n, 1, 1, 1), (n, h, w, 1))
    return jnp.concatenate([x, extra.astype(x.dtype)], axis=-1)


LEAKY_SLOPE = 0.2  # Karras et al. 2018, table 2 and appendix A.1.

DEFAULT_GAIN = math.sqrt(2)  # Of ReLU: He et al. 2015; Karras et al. 2018, 4.1.


def num_features(
    stage: int, fmap_base: int = 8192, fmap_decay: float = 1.0, fmap_max: int = 512
) -> int:
    """Returns the number of feature maps: min(fmap_base / 2**(stage * decay), max).

    Source: `nf` in the authors' TensorFlow program.

    Args:
      stage: log2 of the resolution minus 1 for the maps that a block computes; 0 for
        the width of the latent space and of D's hidden dense layer.
      fmap_base: Overall multiplier of the number of maps.
      fmap_decay: log2 of the reduction per stage.
      fmap_max: Largest number of maps in any layer.

    Examples:
      >>> [num_features(stage) for stage in range(10)]
      [512, 512, 512, 512, 512, 256, 128, 64, 32, 16]
    """
    return min(int(fmap_base / 2 ** (stage * fmap_decay)), fmap_max)


def num_maps(widths: Any, resolution: int) -> int:
    """Returns the number of feature maps at a resolution: nf(log2(resolution) - 1).

    Args:
      widths: Has fmap_base, fmap_decay and fmap_max, as `Options` does.
      resolution: A power of two.
    """
    stage = resolution.bit_length() - 2
    return num_features(stage, widths.fmap_base, widths.fmap_decay, widths.fmap_max)


def statistics_dtype(dtype: jax.typing.DTypeLike) -> jnp.dtype:
    """Returns float32, or `dtype` if that is wider."""
    dtype = jnp.dtype(dtype)
    return dtype if dtype.itemsize > 4 else jnp.dtype(jnp.float32)


def lerp(old: jax.Array, new: jax.Array, alpha: jax.typing.ArrayLike) -> jax.Array:
    """Returns `(1 - alpha) * old + alpha * new`: alpha is the weight of `new`.

    Unlike `old + alpha * (new - old)`, this returns `old` and `new` bit for bit at
    alpha = 0 and alpha = 1.

    Examples:
      >>> import jax.numpy as jnp
      >>> lerp(jnp.array([1.0]), jnp.array([3.0]), 0.25).tolist()
      [1.5]
    """
    alpha = jnp.asarray(alpha)
    return (1 - alpha) * old + alpha * new


def leaky_relu(x: jax.Array, slope: float = LEAKY_SLOPE) -> jax.Array:
    """Leaky ReLU, with slope 0.2 below zero by default."""
    return nn.leaky_relu(x, slope)


def pixel_norm(x: jax.Array, epsilon: float = 1e-8) -> jax.Array:
    """Scales every feature vector to unit root mean square.

    Args:
      x: [..., C]; the vectors lie along the last axis.
      epsilon: Added to the mean square, inside the root.

    Returns:
      An array of the shape and dtype of `x`.

    Source: Karras et al. 2018, section 4.2.

    Examples:
      >>> import jax.numpy as jnp
      >>> pixel_norm(jnp.array([[3.0, -3.0]])).round(3).tolist()
      [[1.0, -1.0]]
    """
    wide = x.astype(statistics_dtype(x.dtype))
    mean_square = jnp.mean(jnp.square(wide), axis=-1, keepdims=True)
    return (wide * lax.rsqrt(mean_square + epsilon)).astype(x.dtype)


def upscale2d(x: jax.Array, factor: int = 2) -> jax.Array:
    """Nearest-neighbour upsampling of [N, H, W, C] by an integer factor.

    Examples:
      >>> import jax.numpy as jnp
      >>> x = jnp.array([[1.0, 2.0]]).reshape(1, 1, 2, 1)
      >>> upscale2d(x)[0, :, :, 0].tolist()
      [[1.0, 1.0, 2.0, 2.0], [1.0, 1.0, 2.0, 2.0]]
    """
    n, h, w, c = x.shape
    x = jnp.broadcast_to(x.reshape(n, h, 1, w, 1, c), (n, h, factor, w, factor, c))
    return x.reshape(n, h * factor, w * factor, c)


def downscale2d(x: jax.Array, factor: int = 2) -> jax.Array:
    """Mean over blocks of factor x factor pixels of [N, H, W, C].

    Examples:
      >>> import jax.numpy as jnp
      >>> x = jnp.array([[1.0, 2.0], [3.0, 6.0]]).reshape(1, 2, 2, 1)
      >>> downscale2d(x).item()
      3.0
    """
    n, h, w, c = x.shape
    x = x.reshape(n, h // factor, factor, w // factor, factor, c)
    return jnp.mean(x, axis=(2, 4))


def upscale_conv2d(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Equals `conv2d(upscale2d(x), kernel)` for 3x3 kernels, in one convolution.

    Doubling pixels is a convolution of the zero-interleaved image with a 2x2 box, so
    box and kernel merge into one 4x4 kernel (`_merge_box`), here of the transpose.
    """
    return conv2d_up(x, _merge_box(turned(kernel)).astype(x.dtype))


def conv_downscale2d(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Equals `downscale2d(conv2d(x, kernel))` for 3x3 kernels, in one convolution."""
    return conv2d_down(x, (_merge_box(kernel) * 0.25).astype(x.dtype))


def _merge_box(kernel: jax.Array) -> jax.Array:
    """Convolves a 3x3 HWIO kernel with a 2x2 box of ones: 4x4 HWIO."""
    keep = (0, 0)
    rows = jnp.pad(kernel, ((0, 1), keep, keep, keep)) + jnp.pad(
        kernel, ((1, 0), keep, keep, keep)
    )
    return jnp.pad(rows, (keep, (0, 1), keep, keep)) + jnp.pad(
        rows, (keep, (1, 0), keep, keep)
    )


def _plain_conv2d(x: jax.Array, kernel: jax.Array) -> jax.Array:
    return conv2d(x, kernel.astype(x.dtype))


# By how they resample. Each takes the stored kernel, which is rounded to the layer's
# dtype after merging.
CONVOLUTIONS = {None: _plain_conv2d, "up": upscale_conv2d, "down": conv_downscale2d}


class EqualizedConv(nn.Module):
    """Convolution with bias whose weights are scaled at run time, not when drawn.

    The stored kernel is drawn from N(0, 1) and multiplied by gain / sqrt(fan_in) at
    every call, so that Adam moves all layers at the same relative speed; the bias is
    not scaled. With `equalized=False` the kernel is drawn with that deviation and used
    unscaled. Source: Karras et al. 2018, section 4.1.

    Attributes:
      features: Output maps F.
      kernel_size: Side of the square kernel.
      gain: sqrt(2) before a rectifier, 1 before a linear output.
      equalized: Whether the scale is applied at run time.
      resample: None, or "up" / "down" for the fused resampling convolutions.
      norm: Normalisation between the (fused) convolution and the bias, if any.
      dtype: Type of the activations; parameters are float32 at least.
    """

    features: int
    kernel_size: int = 3
    gain: float = DEFAULT_GAIN
    equalized: bool = True
    resample: str | None = None
    norm: Callable[..., nn.Module] | None = None
    dtype: jax.typing.DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, last: jax.Array | None = None) -> jax.Array:
        """Maps [N, H, W, C] to [N, H', W', F].

        Args:
          x: The maps.
          last: [N], value of one more map, the last, that is the same at all pixels.
            Its part is computed apart: accelerators are slow at 513 maps.
        """
        c, side = x.shape[-1], self.kernel_size
        shape = (side, side, c if last is None else c + 1, self.features)
        kernel, bias = scaled_parameters(self, shape, (self.features,))
        x = x.astype(self.dtype)
        y = CONVOLUTIONS[self.resample](x, kernel[:, :, :c])
        if last is not None:
            last, of_last = last.astype(x.dtype), kernel[:, :, c].astype(x.dtype)
            y = y + _convolve_constant(last, of_last, *x.shape[1:3])
        return _shift(self, y, bias)


def _convolve_constant(
    value: jax.Array, kernel: jax.Array, height: int, width: int
) -> jax.Array:
    """Correlates a map that is the same at all pixels with a kernel, zero-padded.

    Args:
      value: [N], the map's value in each image.
      kernel: [k, k, F].
      height: Rows H of the map.
      width: Its columns W.

    Returns:
      [N, H, W, F].
    """
    reach = kernel.shape[0] // 2
    # Whether row h + i - reach of the map exists; likewise for columns.
    places = (
        np.arange(n)[:, None] + np.arange(-reach, reach + 1)[None]
        for n in (height, width)
    )
    rows, columns = ((at >= 0) & (at < len(at)) for at in places)
    inside = jnp.asarray(rows[:, None, :, None] & columns[None, :, None], value.dtype)
    # One product, so that devices exchange a gradient of the kernel's shape.
    patches = value.reshape(-1, 1, 1, 1, 1) * inside[None]
    return jnp.einsum("nhwij,ijf->nhwf", patches, kernel)


class EqualizedDense(nn.Module):
    """Dense layer with bias; weights scaled as in `EqualizedConv`.

    Attributes:
      shape: Shape of the output without the batch; the bias runs along its last axis.
      gain: See `EqualizedConv`.
      equalized: See `EqualizedConv`.
      norm: See `EqualizedConv`.
      lr_multiplier: Learning rate of kernel and bias, relative to the other layers':
        both are multiplied by it, and the kernel is drawn larger by as much.
      dtype: See `EqualizedConv`.
    """

    shape: tuple[int, ...]
    gain: float = DEFAULT_GAIN
    equalized: bool = True
    norm: Callable[..., nn.Module] | None = None
    lr_multiplier: float = 1.0
    dtype: jax.typing.DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps [N, C] to [N, *shape]."""
        kernel_shape = (x.shape[-1], math.prod(self.shape))
        kernel, bias = scaled_parameters(
            self, kernel_shape, self.shape[-1:], self.lr_multiplier
        )
        x = (x.astype(self.dtype) @ kernel.astype(self.dtype)).reshape(-1, *self.shape)
        return _shift(self, x, bias)


def scaled_parameters(
    layer: Any,
    kernel_shape: tuple[int, ...],
    bias_shape: tuple[int, ...],
    lr_multiplier: float = 1.0,
) -> tuple[jax.Array, jax.Array]:
    """Creates a layer's kernel and bias; returns them scaled, the bias in its dtype.

    Args:
      layer: A linen module with the attributes `gain`, `equalized` and `dtype`.
      kernel_shape: The last axis are the outputs.
      bias_shape: Shape of the bias.
      lr_multiplier: See `EqualizedDense`.
    """
    # gain / sqrt(fan_in): Karras et al. 2018, section 4.1, after He et al. 2015.
    scale = layer.gain / math.sqrt(math.prod(kernel_shape[:-1]))
    stored = statistics_dtype(layer.dtype)
    stddev = (1.0 if layer.equalized else scale) / lr_multiplier
    initialize = nn.initializers.normal(stddev)
    kernel = layer.param("kernel", initialize, kernel_shape, stored)
    bias = layer.param("bias", nn.initializers.zeros_init(), bias_shape, stored)
    factor = (scale if layer.equalized else 1.0) * lr_multiplier
    kernel = kernel if factor == 1.0 else kernel * factor
    bias = bias if lr_multiplier == 1.0 else bias * lr_multiplier
    return kernel, bias.astype(layer.dtype)


def _shift(
    layer: EqualizedConv | EqualizedDense, x: jax.Array, bias: jax.Array
) -> jax.Array:
    """Normalises the output of the weights if the layer has a norm; adds the bias."""
    if layer.norm is not None:
        x = layer.norm(name="norm")(x)
    return x + bias.reshape(*[1] * (x.ndim - 1), -1)
