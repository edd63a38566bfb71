"""The small networks of the paper's discrete mode test.

Each block has one layer, where those of `progan` have two. G's RGB layers are 3x3. D
ends in a dense layer at 4x4, and its block of the run's final resolution takes images
directly; in earlier stages images pass through a 1x1 layer first. Everything else, such
as fades and names, is inherited from `networks`. Source: Karras et al. 2018, appendix
E.
"""

from collections.abc import Callable

import jax
from flax import linen as nn

from progan_jax.models.common import block_name
from progan_jax.models.layers import (
    EqualizedConv,
    EqualizedDense,
    append_map,
    downscale2d,
    leaky_relu,
    num_maps,
)
from progan_jax.models.progan import networks
from progan_jax.models.progan.ablation import Noise
from progan_jax.models.progan.networks import FIRST_DENSE_GAIN, make_layers


class _FirstBlock(nn.Module):
    """G's 4x4 block: a dense layer."""

    maps: int
    dense: Callable[..., EqualizedDense]
    activate: Callable[[jax.Array], jax.Array]

    @nn.compact
    def __call__(self, z: jax.Array) -> jax.Array:
        dense = self.dense((4, 4, self.maps), gain=FIRST_DENSE_GAIN, name="dense")
        return self.activate(dense(z))


class _UpBlock(nn.Module):
    """G's block of one resolution: upsampling and a convolution."""

    maps: int
    conv: Callable[..., EqualizedConv]
    activate: Callable[[jax.Array], jax.Array]

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        return self.activate(self.conv(self.maps, resample="up", name="conv")(x))


class _DownBlock(nn.Module):
    """D's block of one resolution: a convolution and downsampling."""

    maps: int
    conv: Callable[..., EqualizedConv]

    @nn.compact
    def __call__(self, x: jax.Array, noise: Noise | None) -> jax.Array:
        assert noise is None, "refused by validation"
        return downscale2d(leaky_relu(self.conv(self.maps, name="conv")(x)))


class _LastBlock(nn.Module):
    """D's 4x4 block after the minibatch statistic: a dense layer."""

    outputs: int
    dense: Callable[..., EqualizedDense]

    @nn.compact
    def __call__(
        self, x: jax.Array, stddev: jax.Array | None, noise: Noise | None
    ) -> jax.Array:
        assert noise is None, "refused by validation"
        x = x if stddev is None else append_map(x, stddev)
        x = x.reshape(x.shape[0], -1)
        return self.dense((self.outputs,), gain=1.0, norm=None, name="dense")(x)


class Generator(networks.Generator):
    """Maps latents to images; its attributes are those of `networks.Generator`."""

    _rgb_kernel_size = 3

    def _first_block(self) -> nn.Module:
        dense, _ = make_layers(self.options, self.options.g_norm)
        return _FirstBlock(
            num_maps(self.options, 4), dense, self._activate, name=block_name(4)
        )

    def _up_block(self, resolution: int) -> nn.Module:
        block = nn.remat(_UpBlock) if self.options.remat == "blocks" else _UpBlock
        maps, (_, conv) = (
            num_maps(self.options, resolution),
            make_layers(self.options, self.options.g_norm),
        )
        return block(maps, conv, self._activate, name=block_name(resolution))


class Discriminator(networks.Discriminator):
    """Scores images; the block of the final resolution takes them directly."""

    def _down_block(self, resolution: int) -> nn.Module:
        block = nn.remat(_DownBlock) if self.options.remat == "blocks" else _DownBlock
        _, conv = make_layers(self.options, self.options.d_norm)
        return block(self._maps(resolution), conv, name=block_name(resolution))

    def _last_block(self) -> nn.Module:
        dense, _ = make_layers(self.options, self.options.d_norm)
        return _LastBlock(1 + self.options.num_classes, dense, name=block_name(4))

    def _maps_into(self, resolution: int) -> int:
        return self._maps(2 * resolution)

    def _from_rgb(self, images: jax.Array, resolution: int) -> jax.Array:
        if resolution == self.resolution == self.options.resolution:
            return images
        return super()._from_rgb(images, resolution)
