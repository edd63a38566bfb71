"""Topology of the generator and the discriminator of Progressive GAN.

A network of stage resolution r takes or emits images of r x r and holds the layers of
every resolution up to r, named by that resolution and initialised from a key folded
with their path: growing to r and starting at r give the same layers. `alpha` is the
weight of the newest block in [0, 1]. Source: Karras et al. 2018, section 2, table 2.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from progan_jax.networks.layers import (
    LEAKY_SLOPE,
    EqualizedConv,
    EqualizedDense,
    downscale2d,
    leaky_relu,
    lerp,
    num_maps,
    pixel_norm,
    statistics_dtype,
    upscale2d,
)
from progan_jax.networks.minibatch import MinibatchDiscrimination, minibatch_stddev
from progan_jax.networks.noise import Noise, fold_noise, multiply_noise
from progan_jax.networks.normalization import NORMS

# The first dense layer feeds 16 pixels: its fan-in is counted as that of a 4x4
# convolution over the whole image, as in the authors' program.
FIRST_DENSE_GAIN = math.sqrt(2) / 4

_RECTIFIERS = {"leaky_relu": leaky_relu, "relu": lambda x, _: nn.relu(x)}


def stage_resolutions(resolution: int, start: int = 4) -> list[int]:
    """Returns start, 2 * start, ..., resolution."""
    return [2**k for k in range(start.bit_length() - 1, resolution.bit_length())]


class _FirstBlock(nn.Module):
    """G's 4x4 block: dense layer and one convolution."""

    maps: int
    dense: Callable[..., EqualizedDense]
    conv: Callable[..., EqualizedConv]
    activate: Callable[[jax.Array], jax.Array]

    @nn.compact
    def __call__(self, z: jax.Array) -> jax.Array:
        dense = self.dense((4, 4, self.maps), gain=FIRST_DENSE_GAIN, name="dense")
        x = self.activate(dense(z))
        return self.activate(self.conv(self.maps, name="conv")(x))


class _UpBlock(nn.Module):
    """G's block of one resolution: upsampling and two convolutions."""

    maps: int
    conv: Callable[..., EqualizedConv]
    activate: Callable[[jax.Array], jax.Array]

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = self.activate(self.conv(self.maps, resample="up", name="conv0")(x))
        return self.activate(self.conv(self.maps, name="conv1")(x))


class _DownBlock(nn.Module):
    """D's block of one resolution: two convolutions and downsampling.

    The fused form takes the mean before norm, bias and rectifier, the plain one after:
    two different functions (the paper's is the plain one, the authors' presets are
    fused).
    """

    maps: int
    maps_below: int
    conv: Callable[..., EqualizedConv]
    fused: bool

    @nn.compact
    def __call__(self, x: jax.Array, noise: Noise | None) -> jax.Array:
        x = multiply_noise(x, fold_noise(noise, 0))
        x = leaky_relu(self.conv(self.maps, name="conv0")(x))
        x = multiply_noise(x, fold_noise(noise, 1))
        if self.fused:
            conv1 = self.conv(self.maps_below, resample="down", name="conv1")
            return leaky_relu(conv1(x))
        return downscale2d(leaky_relu(self.conv(self.maps_below, name="conv1")(x)))


class _LastBlock(nn.Module):
    """D's 4x4 block after the minibatch statistic: convolution, two dense layers."""

    maps: int
    hidden: int
    kernels: int
    outputs: int
    dense: Callable[..., EqualizedDense]
    conv: Callable[..., EqualizedConv]

    @nn.compact
    def __call__(self, x: jax.Array, noise: Noise | None) -> jax.Array:
        x = multiply_noise(x, fold_noise(noise, 0))
        x = leaky_relu(self.conv(self.maps, name="conv")(x))
        x = multiply_noise(x, fold_noise(noise, 1))
        x = x.reshape(x.shape[0], -1)
        x = leaky_relu(self.dense((self.hidden,), name="dense0")(x))
        if self.kernels:
            x = MinibatchDiscrimination(self.kernels, name="discrimination")(x)
        return self.dense((self.outputs,), gain=1.0, norm=None, name="dense1")(x)


class Generator(nn.Module):
    """Maps latents, and labels if there are classes, to images.

    Attributes:
      resolution: Stage resolution r, a power of two from 4.
      channels: 1 (grey) or 3 (RGB).
      latent_size: Width of z.
      num_classes: Width of the one-hot labels; 0 for an unconditional network.
      fmap_base: See `layers.num_features`.
      fmap_decay: See `layers.num_features`.
      fmap_max: See `layers.num_features`.
      equalized: Run-time weight scaling.
      normalize_latents: Whether z passes through pixel norm.
      normalize_labels: Whether that norm spans z and the labels together (authors'
        TensorFlow program) or z alone (the paper's).
      pixel_norm: Whether pixel norm follows every activation.
      norm: "none" or "batch", between weights and bias of all but the RGB layers.
      activation: "leaky_relu" or "relu".
      slope: Of the leaky rectifier, below zero.
      tanh: Whether images end in tanh, after the fade, instead of linearly.
      remat: Whether backward passes compute the insides of blocks anew.
      dtype: Of the activations.
    """

    resolution: int
    channels: int = 3
    latent_size: int = 512
    num_classes: int = 0
    fmap_base: int = 8192
    fmap_decay: float = 1.0
    fmap_max: int = 512
    equalized: bool = True
    normalize_latents: bool = True
    normalize_labels: bool = False
    pixel_norm: bool = True
    norm: str = "none"
    activation: str = "leaky_relu"
    slope: float = LEAKY_SLOPE
    tanh: bool = False
    remat: bool = False
    dtype: jax.typing.DTypeLike = jnp.float32
    _rgb_kernel_size = 1  # No field: it belongs to the topology.

    @nn.compact
    def __call__(
        self, z: jax.Array, alpha: jax.typing.ArrayLike, labels: jax.Array | None = None
    ) -> jax.Array:
        """Returns images [N, r, r, channels], about [-1, 1], float32 at least.

        Args:
          z: Latents [N, latent_size], standard normal.
          alpha: Weight of the newest block, a scalar in [0, 1]; without effect at 4.
          labels: One-hot [N, num_classes]; None without classes.

        Raises:
          ValueError: if labels are missing, or given to an unconditional network.
        """
        x = self._first_block()(self._join(z, labels))
        old = None
        for r in stage_resolutions(self.resolution)[1:]:
            # Only the newest two RGB layers take part, but a network holds them all.
            if r == self.resolution or self.is_initializing():
                old = self._to_rgb(x, r // 2)
            x = self._up_block(r)(x)
        image = self._to_rgb(x, self.resolution)
        if old is not None:
            image = lerp(upscale2d(old), image, alpha)
        return jnp.tanh(image) if self.tanh else image

    def _first_block(self) -> nn.Module:
        dense, conv = make_layers(self)
        maps, activate = num_maps(self, 4), self._activate
        return _FirstBlock(maps, dense, conv, activate, name=block_name(4))

    def _up_block(self, resolution: int) -> nn.Module:
        block = nn.remat(_UpBlock) if self.remat else _UpBlock
        maps, (_, conv) = num_maps(self, resolution), make_layers(self)
        return block(maps, conv, self._activate, name=block_name(resolution))

    def _join(self, z: jax.Array, labels: jax.Array | None) -> jax.Array:
        """Normalises latents and labels in the order of either authors' program."""
        if (labels is None) != (self.num_classes == 0):
            given = "no labels" if labels is None else "labels"
            raise ValueError(
                f"{given} given to a generator of {self.num_classes} classes"
            )
        normalize = pixel_norm if self.normalize_latents else lambda x: x
        if labels is None:
            return normalize(z)
        if self.normalize_labels:
            return normalize(jnp.concatenate([z, labels.astype(z.dtype)], axis=-1))
        return jnp.concatenate([normalize(z), labels.astype(z.dtype)], axis=-1)

    def _activate(self, x: jax.Array) -> jax.Array:
        x = _RECTIFIERS[self.activation](x, self.slope)
        return pixel_norm(x) if self.pixel_norm else x

    def _to_rgb(self, x: jax.Array, resolution: int) -> jax.Array:
        layer = EqualizedConv(
            self.channels,
            kernel_size=self._rgb_kernel_size,
            gain=1.0,
            equalized=self.equalized,
            dtype=self.dtype,
            name=f"to_rgb_{resolution}x{resolution}",
        )
        return layer(x).astype(statistics_dtype(self.dtype))


class DiscriminatorOutput(NamedTuple):
    """What D says of a batch.

    Attributes:
      scores: [N], unbounded, higher for images that look real.
      logits: Class logits [N, num_classes] (AC-GAN head).
      stddev: [N], the value that the minibatch statistic appended; zeros without it.
    """

    scores: jax.Array
    logits: jax.Array
    stddev: jax.Array


class Discriminator(nn.Module):
    """Scores images, and classifies them if there are classes.

    Attributes:
      resolution: Stage resolution r, a power of two from 4.
      channels: 1 (grey) or 3 (RGB).
      num_classes: Number of class logits; 0 for an unconditional network.
      fmap_base: See `layers.num_features`.
      fmap_decay: See `layers.num_features`.
      fmap_max: See `layers.num_features`.
      fused_resampling: One 4x4 convolution of stride 2 that takes the mean before norm,
        bias and rectifier; another function than the plain order of the paper.
      equalized: Run-time weight scaling.
      norm: "none", "layer" or "batch", between weights and bias of all layers but those
        that take images and the last.
      minibatch_stddev: Whether the statistic is appended at 4x4.
      mbstd_group_size: See `minibatch.minibatch_stddev`; 0 is the whole batch.
      divisor: How many times fewer maps than G's there are, a whole number.
      minibatch_discrimination: Kernels of that layer, before the last one; 0 for none.
      remat: See `Generator`.
      dtype: Of the activations.
    """

    resolution: int
    channels: int = 3
    num_classes: int = 0
    fmap_base: int = 8192
    fmap_decay: float = 1.0
    fmap_max: int = 512
    fused_resampling: bool = False
    equalized: bool = True
    norm: str = "none"
    minibatch_stddev: bool = True
    mbstd_group_size: int = 4
    divisor: int = 1
    minibatch_discrimination: int = 0
    remat: bool = False
    dtype: jax.typing.DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self,
        images: jax.Array,
        alpha: jax.typing.ArrayLike,
        noise: Noise | None = None,
    ) -> DiscriminatorOutput:
        """Scores images [N, r, r, channels] in about [-1, 1].

        Args:
          images: At the stage resolution.
          alpha: Weight of the newest block, a scalar in [0, 1]; without effect at 4.
          noise: Of the inputs of the 3x3 convolutions and the first dense layer.
        """
        x = self._from_rgb(images, self.resolution)
        for r in reversed(stage_resolutions(self.resolution)[1:]):
            x = self._down_block(r)(x, fold_noise(noise, r))
            images = downscale2d(images)
            if r == self.resolution:
                x = lerp(self._from_rgb(images, r // 2), x, alpha)
            elif self.is_initializing():
                self._from_rgb(images, r // 2)
        x, stddev = self._append_stddev(x)
        out = self._last_block()(x, fold_noise(noise, 4))
        out = out.astype(statistics_dtype(self.dtype))
        return DiscriminatorOutput(out[:, 0], out[:, 1:], stddev)

    def _down_block(self, resolution: int) -> nn.Module:
        block = nn.remat(_DownBlock) if self.remat else _DownBlock
        maps, below = self._maps(resolution), self._maps(resolution // 2)
        (_, conv), name = make_layers(self), block_name(resolution)
        return block(maps, below, conv, self.fused_resampling, name=name)

    def _last_block(self) -> nn.Module:
        maps, hidden = self._maps(4), self._maps(2)
        kernels, outputs = self.minibatch_discrimination, 1 + self.num_classes
        layers = make_layers(self)
        return _LastBlock(maps, hidden, kernels, outputs, *layers, name=block_name(4))

    def _maps(self, resolution: int) -> int:
        return num_maps(self, resolution) // self.divisor

    def _maps_into(self, resolution: int) -> int:
        """Returns the maps that the block of a resolution takes."""
        return self._maps(resolution)

    def _append_stddev(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        if not self.minibatch_stddev:
            return x, jnp.zeros(x.shape[0], statistics_dtype(x.dtype))
        return minibatch_stddev(x, self.mbstd_group_size)

    def _from_rgb(self, images: jax.Array, resolution: int) -> jax.Array:
        layer = EqualizedConv(
            self._maps_into(resolution),
            kernel_size=1,
            equalized=self.equalized,
            dtype=self.dtype,
            name=f"from_rgb_{resolution}x{resolution}",
        )
        return leaky_relu(layer(images))


def block_name(resolution: int) -> str:
    """Returns the name of a resolution's block."""
    return f"block_{resolution}x{resolution}"


def make_layers(
    network: Generator | Discriminator,
) -> tuple[Callable[..., EqualizedDense], Callable[..., EqualizedConv]]:
    """Returns what makes the dense layers and the convolutions inside of blocks."""
    options = {
        "equalized": network.equalized,
        "norm": NORMS[network.norm],
        "dtype": network.dtype,
    }
    return partial(EqualizedDense, **options), partial(EqualizedConv, **options)
