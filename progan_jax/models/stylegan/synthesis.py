"""The synthesis network of StyleGAN: from w to images, layer by layer.

Source: Karras et al. 2019, section 2 and figure 1b, and `G_synthesis` of the authors'
program. Kernels are those of a convolution after nearest-neighbour upsampling, at all
resolutions; see docs/fidelity.md on those of the authors' files.
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from flax import linen as nn

from progan_jax.models.common import block_name, stage_resolutions
from progan_jax.models.layers import (
    CONVOLUTIONS,
    EqualizedConv,
    EqualizedDense,
    lerp,
    num_maps,
    pixel_norm,
    scaled_parameters,
    statistics_dtype,
    upscale2d,
)
from progan_jax.models.layers import DEFAULT_GAIN as GAIN
from progan_jax.models.stylegan.layers import (
    apply_style,
    blur2d,
    broadcast_w,
    instance_norm,
)
from progan_jax.models.stylegan.options import Options
from progan_jax.models.stylegan.rectifiers import RECTIFIERS

NOISE_MODES = ("random", "fixed", "none")


class StyledLayer(nn.Module):
    """One layer: its source of maps, then noise, bias, rectifier, norms and style.

    Attributes:
      maps: Output maps C.
      index: Number of the layer, from 0 at 4x4.
      source: "constant", "dense" (of w), "conv", or "up": convolution that doubles the
        image, and blur.
      options: Options of the network.
      noise_mode: One of `NOISE_MODES`.
    """

    maps: int
    index: int
    source: str
    options: Options
    noise_mode: str

    # What `scaled_parameters` reads.
    @property
    def equalized(self) -> bool:
        """See `EqualizedConv`."""
        return self.options.equalized

    @property
    def dtype(self) -> jnp.dtype:
        """See `EqualizedConv`."""
        return jnp.dtype(self.options.dtype)

    @property
    def gain(self) -> float:
        """See `EqualizedConv`; a dense layer feeds 16 pixels, as in ProGAN."""
        return GAIN / 4 if self.source == "dense" else GAIN

    @nn.compact
    def __call__(
        self, x: jax.Array | None, w: jax.Array, keys: jax.Array | None
    ) -> jax.Array:
        """Maps [N, H, W, C'] to [N, H', W', C].

        Args:
          x: Maps of the layer below; None for "constant" and "dense".
          w: [N, w_size].
          keys: Key of each image's noise [N]; None for no random noise.
        """
        x, bias = self._source(x, w)
        if self.source == "up" and self.options.blur:
            x = self._keep("blur", blur2d(x))
        if self.options.noise:
            x = self._keep("noise", self._add_noise(x, keys))
        x = RECTIFIERS[self.options.activation](x + bias.reshape(1, 1, 1, -1))
        x = self._keep("act", x)
        x = pixel_norm(x) if self.options.pixel_norm else x
        if self.options.instance_norm:
            x = self._keep("norm", instance_norm(x))
        if self.options.styles:
            x = self._keep("styled", apply_style(x, self._style(w)))
        return x.astype(self.dtype)

    def _keep(self, step: str, x: jax.Array) -> jax.Array:
        """Lets callers see an activation, by Flax's collection "intermediates"."""
        self.sow("intermediates", step, x)
        return x

    def _source(self, x: jax.Array | None, w: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Returns the maps before noise and bias, and the bias."""
        stored = statistics_dtype(self.dtype)
        if self.source == "constant":
            shape = (4, 4, self.maps)
            constant = self.param("constant", nn.initializers.ones, shape, stored)
            bias = self.param("bias", nn.initializers.zeros, (self.maps,), stored)
            x = jnp.broadcast_to(constant.astype(self.dtype), (w.shape[0], *shape))
            return x, bias.astype(self.dtype)
        if x is None:
            shape = (w.shape[-1], 16 * self.maps)
            kernel, bias = scaled_parameters(self, shape, (self.maps,))
            x = w.astype(self.dtype) @ kernel.astype(self.dtype)
            return x.reshape(-1, 4, 4, self.maps), bias
        shape = (3, 3, x.shape[-1], self.maps)
        kernel, bias = scaled_parameters(self, shape, (self.maps,))
        resample = "up" if self.source == "up" else None
        return self._keep("conv", CONVOLUTIONS[resample](x, kernel)), bias

    def _add_noise(self, x: jax.Array, keys: jax.Array | None) -> jax.Array:
        """Adds one map per image, times a strength per map that starts at 0."""
        shape, stored = x.shape[1:3], statistics_dtype(self.dtype)
        initialize = nn.initializers.zeros
        strength = self.param("noise_strength", initialize, (self.maps,), stored)
        fixed = self.variable(
            "stats", "noise", lambda: self._draw(self.make_rng("params"), shape)
        )
        if self.noise_mode == "fixed":
            noise = fixed.value[None]
        elif keys is None:
            return x
        else:
            own = jax.vmap(jax.random.fold_in, (0, None))(keys, self.index)
            noise = jax.vmap(lambda key: self._draw(key, shape))(own)
        noise, strength = noise.astype(self.dtype), strength.astype(self.dtype)
        return x + noise[..., None] * strength.reshape(1, 1, 1, -1)

    def _draw(self, key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
        return jax.random.normal(key, shape, statistics_dtype(self.dtype))

    def _style(self, w: jax.Array) -> jax.Array:
        """Returns [N, 2 C], as `apply_style` takes it."""
        dense = EqualizedDense(
            (2 * self.maps,),
            gain=1.0,
            equalized=self.equalized,
            dtype=statistics_dtype(self.dtype),
            name="style",
        )
        with jax.default_matmul_precision("highest"):
            return dense(w)


class _Block(nn.Module):
    """The two layers of a resolution.

    Attributes:
      layer: Makes a `StyledLayer` of a source, an index and a name.
      sources: Sources of the layers' maps.
      names: Names of the layers.
      index: Number of the first.
    """

    layer: Callable[..., StyledLayer]
    sources: tuple[str, str]
    names: tuple[str, str]
    index: int

    @nn.compact
    def __call__(
        self,
        x: jax.Array | None,
        w: jax.Array,
        keys: jax.Array | None,
    ) -> jax.Array:
        """Maps [N, H, W, C'] and w [N, 2, w_size] to [N, H', W', C]."""
        for i, (source, name) in enumerate(zip(self.sources, self.names, strict=True)):
            layer = self.layer(source=source, index=self.index + i, name=name)
            x = layer(x, w[:, i], keys)
        assert x is not None
        return x


class Synthesis(nn.Module):
    """Blocks from 4x4 to the stage's resolution, and layers of RGB.

    Attributes:
      resolution: Stage resolution r.
      options: Options of the network.
      noise_mode: One of `NOISE_MODES`.
    """

    resolution: int
    options: Options
    noise_mode: str

    @nn.compact
    def __call__(
        self,
        w: jax.Array,
        alpha: jax.typing.ArrayLike = 1.0,
        numbers: jax.Array | None = None,
    ) -> jax.Array:
        """Returns images [N, r, r, channels]; see `Generator.synthesis`."""
        sides, keys = stage_resolutions(self.resolution), self._noise_keys(numbers)
        w = broadcast_w(w, 2 * len(sides))
        x, old = self._block(4, 0)(None, w[:, :2], keys), None
        for i, r in enumerate(sides[1:], start=1):
            # Only the two newest RGB layers are used, but a network holds all of them.
            used = r == self.resolution or self.is_initializing()
            if used and self.options.structure == "growing":
                old = self._to_rgb(x, r // 2)
            x = self._block(r, 2 * i)(x, w[:, 2 * i : 2 * i + 2], keys)
        image = self._to_rgb(x, self.resolution)
        return image if old is None else lerp(upscale2d(old), image, alpha)

    def _noise_keys(self, numbers: jax.Array | None) -> jax.Array | None:
        """Returns a key for each image, so that its noise depends on its number."""
        if numbers is None or self.noise_mode != "random" or not self.options.noise:
            return None
        key = self.make_rng("noise")
        return jax.vmap(jax.random.fold_in, (None, 0))(key, numbers)

    def _block(self, resolution: int, index: int) -> nn.Module:
        block = nn.remat(_Block) if self.options.remat == "blocks" else _Block
        maps = num_maps(self.options, resolution)
        layer = partial(
            StyledLayer, maps=maps, options=self.options, noise_mode=self.noise_mode
        )
        sources, names = ("up", "conv"), ("conv0", "conv1")
        if resolution == 4:
            first = "constant" if self.options.constant_input else "dense"
            sources, names = (first, "conv"), (first, "conv")
        return block(layer, sources, names, index, name=block_name(resolution))

    def _to_rgb(self, x: jax.Array, resolution: int) -> jax.Array:
        layer = EqualizedConv(
            self.options.channels,
            kernel_size=1,
            gain=1.0,
            equalized=self.options.equalized,
            dtype=self.options.dtype,
            name=f"to_rgb_{resolution}x{resolution}",
        )
        return layer(x).astype(statistics_dtype(self.options.dtype))
