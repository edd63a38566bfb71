"""The synthesis network of StyleGAN-XL: from w to images, layer by layer.

Statistics, styles and Fourier features are in float32 at least, and at the highest
precision, whatever the dtype of the activations. Source: Karras et al. 2021, section 3,
and Sauer et al. 2022, section 3.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax import lax

from progan_jax.models.convolution import conv2d
from progan_jax.models.layers import statistics_dtype
from progan_jax.models.stylegan.layers import broadcast_w
from progan_jax.models.stylegan_xl.dense import Dense
from progan_jax.models.stylegan_xl.design import LayerDesign, Signal, design_network
from progan_jax.models.stylegan_xl.options import Options
from progan_jax.models.stylegan_xl.resampling import filtered_lrelu

_IMAGE_GAIN = 0.25  # Of the last layer's maps: Karras et al. 2021, appendix C.
_EPSILON = 1e-8  # Added to the sum of a kernel's squares.


class FourierInput(nn.Module):
    """Sines of fixed frequencies and phases that w turns and shifts, and their mixing.

    Attributes:
      signal: Rate, band and size of the maps.
      options: Options of the network.
    """

    signal: Signal
    options: Options

    @nn.compact
    def __call__(self, w: jax.Array, transform: jax.Array | None = None) -> jax.Array:
        """Returns maps [N, S, S, C], float32 at least.

        Args:
          w: [N, w_size].
          transform: Inverse of a transform of the images, a matrix [3, 3] of
            coordinates (x, y, 1), of which the image spans -1/2 to 1/2; None for none.
        """
        maps, stored = self.signal.channels, statistics_dtype(self.options.dtype)
        kernel = self.param("kernel", nn.initializers.normal(1.0), (maps, maps), stored)
        # The first two outputs are cosine and sine of a rotation, the others a shift.
        dense = Dense(4, weight=0.0, bias=(1.0, 0.0, 0.0, 0.0), name="affine")
        matrices = _rigid_transforms(dense(w.astype(stored)))
        with jax.default_matmul_precision("highest"):
            if transform is not None:
                matrices = jnp.einsum("nij,jk->nik", matrices, transform)
            features = _waves(*self._buffers(), matrices, self.signal)
            return features @ (kernel / math.sqrt(maps))

    def _buffers(self) -> tuple[jax.Array, jax.Array]:
        """Returns the frequencies [C, 2] and the phases [C], which never change."""
        signal, stored = self.signal, statistics_dtype(self.options.dtype)
        frequencies = self.variable(
            "stats",
            "frequencies",
            lambda: _draw_frequencies(self.make_rng("params"), signal, stored),
        )
        phases = self.variable(
            "stats",
            "phases",
            lambda: jax.random.uniform(
                self.make_rng("params"), (signal.channels,), stored, -0.5, 0.5
            ),
        )
        return frequencies.value, phases.value


def _draw_frequencies(
    key: jax.Array, signal: Signal, dtype: jax.typing.DTypeLike
) -> jax.Array:
    """Draws frequencies [C, 2] that fill the disc of the band nearly evenly."""
    draws = jax.random.normal(key, (signal.channels, 2), dtype)
    squares = jnp.sum(jnp.square(draws), axis=1, keepdims=True)
    return draws / (jnp.sqrt(squares) * jnp.exp(squares) ** 0.25) * signal.cutoff


def _rigid_transforms(t: jax.Array) -> jax.Array:
    """Returns matrices [N, 3, 3]: a shift by minus (t2, t3), then a rotation.

    Args:
      t: [N, 4], divided here by the length of its first two numbers, the cosine and the
        sine of the rotation.
    """
    t = t * lax.rsqrt(jnp.sum(jnp.square(t[:, :2]), axis=1, keepdims=True))
    cos, sin, x, y = t.T
    zero, one = jnp.zeros_like(cos), jnp.ones_like(cos)
    rows = (
        (cos, -sin, sin * y - cos * x),
        (sin, cos, -sin * x - cos * y),
        (zero, zero, one),
    )
    return jnp.stack([jnp.stack(row, axis=-1) for row in rows], axis=1)


def _waves(
    frequencies: jax.Array, phases: jax.Array, matrices: jax.Array, signal: Signal
) -> jax.Array:
    """Returns sines [N, S, S, C], fainter the further they are beyond the band.

    Args:
      frequencies: [C, 2].
      phases: [C].
      matrices: Transforms of the coordinates [N, 3, 3].
      signal: Rate, band and size of the maps.
    """
    shifts = jnp.einsum("ci,ni->nc", frequencies, matrices[:, :2, 2])
    turned = jnp.einsum("ci,nij->ncj", frequencies, matrices[:, :2, :2])
    lengths = jnp.sqrt(jnp.sum(jnp.square(turned), axis=-1))
    amplitudes = _amplitudes(lengths, signal)
    n, c = lengths.shape
    at = jnp.asarray(_places(signal), turned.dtype)
    x = turned[:, None, None, :, 0] * at.reshape(1, 1, -1, 1)
    y = turned[:, None, None, :, 1] * at.reshape(1, -1, 1, 1)
    cycles = x + y + (phases[None] + shifts).reshape(n, 1, 1, c)
    return amplitudes.reshape(n, 1, 1, c) * jnp.sin(2 * math.pi * cycles)


def _amplitudes(lengths: jax.Array, signal: Signal) -> jax.Array:
    """Returns 1 for frequencies up to the cutoff, 0 from half the rate on."""
    if (width := signal.rate / 2 - signal.cutoff) == 0:  # A stem of 4x4.
        return (lengths <= signal.cutoff).astype(lengths.dtype)
    return jnp.clip(1 - (lengths - signal.cutoff) / width, 0, 1)


def _places(signal: Signal) -> np.ndarray:
    """Returns the coordinates of a row's samples [S]; the image spans -1/2 to 1/2."""
    return (np.arange(signal.size) + 0.5 - signal.size / 2) / signal.rate


class SynthesisLayer(nn.Module):
    """Modulated convolution, bias, and rectifier between its filters.

    A style scales the maps that the convolution takes, and what it gives is scaled so
    that it has about unit variance: one kernel serves all images.

    Attributes:
      layer: Design of the layer.
      options: Options of the network.
    """

    layer: LayerDesign
    options: Options

    @nn.compact
    def __call__(self, x: jax.Array, w: jax.Array) -> jax.Array:
        """Maps [N, S, S, C] and w [N, w_size] to [N, S', S', C']."""
        layer, dtype = self.layer, jnp.dtype(self.options.dtype)
        stored, shape = statistics_dtype(dtype), layer.kernel_shape
        kernel = self.param("kernel", nn.initializers.normal(1.0), shape, stored)
        bias = self.param("bias", nn.initializers.zeros, shape[-1:], stored)
        # Mean square of the input. As in the authors' program, training leaves it at 1.
        magnitude = self.variable("stats", "magnitude_ema", jnp.ones, (), stored)
        style = Dense(shape[2], bias=1.0, name="affine")(w.astype(stored))
        kernel, before, after = self._modulation(kernel, style)
        after = after * lax.rsqrt(magnitude.value)
        x = x.astype(dtype) * before[:, None, None].astype(dtype)
        x = _convolve(x, kernel.astype(dtype)) * after[:, None, None].astype(dtype)
        return filtered_lrelu(x + bias.reshape(1, 1, 1, -1).astype(dtype), layer)

    def _modulation(
        self, kernel: jax.Array, style: jax.Array
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Returns the kernel, and the maps' scales before [N, C] and after [N, C']."""
        if self.layer.is_torgb:
            before = style / math.sqrt(math.prod(kernel.shape[:-1]))
            return kernel, before, jnp.ones((style.shape[0], 1), style.dtype)
        squares = jnp.mean(jnp.square(kernel), axis=(0, 1, 2), keepdims=True)
        kernel = kernel * lax.rsqrt(squares)
        before = normalise_style(style)
        squares = jnp.sum(jnp.square(kernel), axis=(0, 1))
        with jax.default_matmul_precision("highest"):
            after = lax.rsqrt(jnp.square(before) @ squares + _EPSILON)
        return kernel, before, after


def normalise_style(style: jax.Array) -> jax.Array:
    """Divides the style of each image [N, C] by its root mean square.

    The authors' program takes that of the whole batch. A common factor of a style goes
    again where the layer's variance is set to 1, so that images are the same up to
    rounding, and do not depend on their batch.
    """
    squares = jnp.mean(jnp.square(style), axis=1, keepdims=True)
    return style * lax.rsqrt(squares)


def _convolve(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Correlates x with the kernel wherever they overlap: k - 1 pixels more a side."""
    rim = kernel.shape[0] // 2  # The convolution adds as many.
    x = jnp.pad(x, ((0, 0), (rim, rim), (rim, rim), (0, 0)))
    return conv2d(x, kernel)


class Synthesis(nn.Module):
    """Fourier features, and the layers of the design.

    Attributes:
      options: Options of the network.
    """

    options: Options

    @nn.compact
    def __call__(self, w: jax.Array, transform: jax.Array | None = None) -> jax.Array:
        """Returns images [N, r, r, channels], about [-1, 1]; not limited.

        Args:
          w: [N, w_size], or one for the input and one for each layer: [N, num_layers,
            w_size].
          transform: See `FourierInput`.
        """
        design = design_network(self.options)
        w = broadcast_w(w, len(design.layers) + 1)
        x = FourierInput(design.input, self.options, name="input")(w[:, 0], transform)
        recomputes = self.options.remat == "layers"
        make = nn.remat(SynthesisLayer) if recomputes else SynthesisLayer
        for i, layer in enumerate(design.layers, start=1):
            x = make(layer, self.options, name=layer.name)(x, w[:, i])
        return x.astype(statistics_dtype(x.dtype)) * _IMAGE_GAIN
