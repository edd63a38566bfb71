"""The generator and the discriminator of Progressive GAN.

A network of stage resolution r takes or emits images of r x r and holds the layers of
every resolution up to r, named by that resolution and initialised from a key folded
with their path: growing to r and starting at r give the same layers. `alpha` is the
weight of the newest block in [0, 1]. Source: Karras et al. 2018, section 2 and appendix
A.1.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from progan_jax.models.common import (
    DiscriminatorOutput,
    Layer,
    block_layers,
    block_name,
    check_labels,
    stage_resolutions,
)
from progan_jax.models.layers import (
    EqualizedConv,
    EqualizedDense,
    append_map,
    downscale2d,
    leaky_relu,
    lerp,
    minibatch_stddev,
    num_maps,
    pixel_norm,
    statistics_dtype,
    upscale2d,
)
from progan_jax.models.progan.ablation import (
    NORMS,
    MinibatchDiscrimination,
    Noise,
    multiply_noise,
)
from progan_jax.models.progan.options import Options

# The first dense layer feeds 16 pixels. As in the authors' program, its fan-in is that
# of a 4x4 convolution over the entire image.
FIRST_DENSE_GAIN = math.sqrt(2) / 4

_RECTIFIERS = {"leaky_relu": leaky_relu, "relu": lambda x, _: nn.relu(x)}


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
        x = multiply_noise(self, x, noise)
        x = leaky_relu(self.conv(self.maps, name="conv0")(x))
        x = multiply_noise(self, x, noise)
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
    def __call__(
        self, x: jax.Array, stddev: jax.Array | None, noise: Noise | None
    ) -> jax.Array:
        if noise is not None and stddev is not None:
            x = multiply_noise(self, append_map(x, stddev), noise)
            x, stddev = x[..., :-1], x[:, 0, 0, -1]
        else:
            x = multiply_noise(self, x, noise)
        x = leaky_relu(self.conv(self.maps, name="conv")(x, stddev))
        x = multiply_noise(self, x, noise)
        x = x.reshape(x.shape[0], -1)
        x = leaky_relu(self.dense((self.hidden,), name="dense0")(x))
        if self.kernels:
            x = MinibatchDiscrimination(self.kernels, name="discrimination")(x)
        # No norm: layer norm would make a single score zero.
        return self.dense((self.outputs,), gain=1.0, norm=None, name="dense1")(x)


class Generator(nn.Module):
    """Maps latents, and labels if there are classes, to images.

    Attributes:
      resolution: Stage resolution r, a power of two from 4.
      options: Options of the network, including its final resolution.
    """

    resolution: int
    options: Options = Options()
    _rgb_kernel_size = 1  # Not annotated, and so no field: it belongs to the class.

    @property
    def latent_size(self) -> int:
        """Width of the latents."""
        return self.options.latent_size

    @property
    def num_classes(self) -> int:
        """Width of the one-hot labels; 0 for an unconditional network."""
        return self.options.num_classes

    @property
    def sees_batch(self) -> bool:
        """Whether an image depends on the other images of its batch."""
        return self.options.g_norm == "batch"

    def layers(self) -> tuple[Layer, ...]:
        """Returns the convolutions and dense layers, without those of RGB."""
        module: Any = self  # Hashable, although its type does not say so.
        return block_layers(module)

    @nn.compact
    def __call__(
        self,
        z: jax.Array,
        labels: jax.Array | None = None,
        alpha: jax.typing.ArrayLike = 1.0,
        numbers: jax.Array | None = None,
        *,
        train: bool = False,
    ) -> jax.Array:
        """Returns images [N, r, r, channels], about [-1, 1], float32 at least.

        Args:
          z: Latents [N, latent_size], standard normal.
          labels: One-hot [N, num_classes]; None without classes.
          alpha: Weight of the newest block, a scalar in [0, 1]; without effect at 4.
          numbers: Ignored: these networks have no noise.
          train: Ignored: they do the same in training and for samples.

        Raises:
          ValueError: if labels are missing, or given to an unconditional network.
        """
        del numbers, train
        x = self._first_block()(self._join(z, labels))
        old = None
        for r in stage_resolutions(self.resolution)[1:]:
            # Only the two newest RGB layers are used, but a network holds all of them.
            if r == self.resolution or self.is_initializing():
                old = self._to_rgb(x, r // 2)
            x = self._up_block(r)(x)
        image = self._to_rgb(x, self.resolution)
        if old is not None:
            image = lerp(upscale2d(old), image, alpha)
        return jnp.tanh(image) if self.options.tanh else image

    def _first_block(self) -> nn.Module:
        dense, conv = make_layers(self.options, self.options.g_norm)
        maps, activate = num_maps(self.options, 4), self._activate
        return _FirstBlock(maps, dense, conv, activate, name=block_name(4))

    def _up_block(self, resolution: int) -> nn.Module:
        block = nn.remat(_UpBlock) if self.options.remat == "blocks" else _UpBlock
        maps, (_, conv) = (
            num_maps(self.options, resolution),
            make_layers(self.options, self.options.g_norm),
        )
        return block(maps, conv, self._activate, name=block_name(resolution))

    def _join(self, z: jax.Array, labels: jax.Array | None) -> jax.Array:
        """Normalises latents and labels in the order of either authors' program."""
        check_labels(labels, self.num_classes, "generator")
        normalize = pixel_norm if self.options.normalize_latents else lambda x: x
        if labels is None:
            return normalize(z)
        if self.options.normalize_labels:
            return normalize(jnp.concatenate([z, labels.astype(z.dtype)], axis=-1))
        return jnp.concatenate([normalize(z), labels.astype(z.dtype)], axis=-1)

    def _activate(self, x: jax.Array) -> jax.Array:
        x = _RECTIFIERS[self.options.activation](x, self.options.g_slope)
        return pixel_norm(x) if self.options.pixel_norm else x

    def _to_rgb(self, x: jax.Array, resolution: int) -> jax.Array:
        layer = EqualizedConv(
            self.options.channels,
            kernel_size=self._rgb_kernel_size,
            gain=1.0,
            equalized=self.options.equalized,
            dtype=self.options.dtype,
            name=f"to_rgb_{resolution}x{resolution}",
        )
        return layer(x).astype(statistics_dtype(self.options.dtype))


class Discriminator(nn.Module):
    """Scores images, and classifies them if there are classes.

    Attributes:
      resolution: Stage resolution r, a power of two from 4.
      options: Options of the network, including its final resolution.
    """

    resolution: int
    options: Options = Options()

    @property
    def channels(self) -> int:
        """Number of channels of the images: 1 (grey) or 3 (RGB)."""
        return self.options.channels

    @property
    def num_classes(self) -> int:
        """Number of classes; 0 for an unconditional network."""
        return self.options.num_classes

    @property
    def sees_batch(self) -> bool:
        """Whether a score depends on all other images of its batch."""
        layers = self.options.minibatch_discrimination
        return self.options.d_norm == "batch" or layers > 0

    @nn.compact
    def __call__(
        self,
        images: jax.Array,
        labels: jax.Array | None = None,
        alpha: jax.typing.ArrayLike = 1.0,
        noise: Noise | None = None,
        sets: int = 1,
    ) -> DiscriminatorOutput:
        """Scores images [N, r, r, channels] in about [-1, 1].

        Args:
          images: Images at the stage's resolution.
          labels: Ignored; part of the interface of all discriminators.
          alpha: Weight of the newest block, a scalar in [0, 1]; without effect at 4.
          noise: Noise on the inputs of the 3x3 convolutions and the first dense layer,
            from the random numbers "noise"; None for no noise.
          sets: Number of sets of images that take turns in the batch. Each has its own
            groups of the minibatch statistic.
        """
        x = self._from_rgb(images, self.resolution)
        for r in reversed(stage_resolutions(self.resolution)[1:]):
            x = self._down_block(r)(x, noise)
            images = downscale2d(images)
            if r == self.resolution:
                x = lerp(self._from_rgb(images, r // 2), x, alpha)
            elif self.is_initializing():
                self._from_rgb(images, r // 2)
        stddev = None
        if self.options.minibatch_stddev:
            apart = x.reshape(-1, sets, *x.shape[1:])
            group = self.options.mbstd_group_size
            stddev = jax.vmap(lambda x: minibatch_stddev(x, group), 1, 1)(apart)
            stddev = stddev.reshape(-1)
        out = self._last_block()(x, stddev, noise)
        out = out.astype(statistics_dtype(self.options.dtype))
        stddev = jnp.zeros_like(out[:, 0]) if stddev is None else stddev
        return DiscriminatorOutput(out[:, 0], out[:, 1:], stddev)

    def _down_block(self, resolution: int) -> nn.Module:
        block = nn.remat(_DownBlock) if self.options.remat == "blocks" else _DownBlock
        maps, below = self._maps(resolution), self._maps(resolution // 2)
        (_, conv), name = (
            make_layers(self.options, self.options.d_norm),
            block_name(resolution),
        )
        return block(maps, below, conv, self.options.fused_resampling, name=name)

    def _last_block(self) -> nn.Module:
        maps, hidden = self._maps(4), self._maps(2)
        kernels, outputs = (
            self.options.minibatch_discrimination,
            1 + self.options.num_classes,
        )
        layers = make_layers(self.options, self.options.d_norm)
        return _LastBlock(maps, hidden, kernels, outputs, *layers, name=block_name(4))

    def _maps(self, resolution: int) -> int:
        return num_maps(self.options, resolution) // self.options.d_divisor

    def _maps_into(self, resolution: int) -> int:
        """Returns the number of maps that the block of a resolution takes."""
        return self._maps(resolution)

    def _from_rgb(self, images: jax.Array, resolution: int) -> jax.Array:
        layer = EqualizedConv(
            self._maps_into(resolution),
            kernel_size=1,
            equalized=self.options.equalized,
            dtype=self.options.dtype,
            name=f"from_rgb_{resolution}x{resolution}",
        )
        return leaky_relu(layer(images))


def make_layers(
    options: Options, norm: str
) -> tuple[Callable[..., EqualizedDense], Callable[..., EqualizedConv]]:
    """Returns factories of the dense layers and the convolutions inside blocks."""
    shared = {
        "equalized": options.equalized,
        "norm": NORMS[norm],
        "dtype": jnp.dtype(options.dtype),
    }
    return partial(EqualizedDense, **shared), partial(EqualizedConv, **shared)
