"""The generator and the discriminator of StyleGAN.

As in Progressive GAN, a network of stage resolution r takes or emits images of r x r
and holds the layers of every resolution up to r, and `alpha` is the weight of the
newest block in [0, 1]. Source: Karras et al. 2019, section 2.
"""

from dataclasses import replace
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
    lerp,
    minibatch_stddev,
    num_maps,
    statistics_dtype,
)
from progan_jax.models.stylegan.layers import blur2d, broadcast_w
from progan_jax.models.stylegan.mapping import Mapping
from progan_jax.models.stylegan.options import Options
from progan_jax.models.stylegan.rectifiers import RECTIFIERS
from progan_jax.models.stylegan.synthesis import NOISE_MODES, Synthesis


class Generator(nn.Module):
    """Maps latents, and labels if there are classes, to w, and w to images.

    Its stats are `w_average`, and a fixed map of noise for each layer. Samples may be
    truncated; training is not. Variants are made by `clone(truncation_psi=0.7)`.

    Attributes:
      resolution: Stage resolution r, a power of two from 4.
      options: Options of the network, including its final resolution.
      truncation_psi: Factor of the distance of w from its average, in samples.
      truncation_cutoff: Number of layers that it applies to; None for the options'.
      noise_mode: "random": own maps for each image, from the random numbers "noise" and
        the image's number; "fixed": those in the stats; "none".
    """

    resolution: int
    options: Options = Options()
    truncation_psi: float = 1.0
    truncation_cutoff: int | None = None
    noise_mode: str = "random"

    @property
    def latent_size(self) -> int:
        """Width of the latents z."""
        return self.options.latent_size

    @property
    def num_classes(self) -> int:
        """Width of the one-hot labels; 0 for an unconditional network."""
        return self.options.num_classes

    @property
    def sees_batch(self) -> bool:
        """Whether an image depends on the other images of its batch."""
        return False

    @property
    def num_layers(self) -> int:
        """Number of layers that take a w of their own; 1 without styles."""
        return 2 * len(stage_resolutions(self.resolution)) if self.options.styles else 1

    @property
    def layer_sides(self) -> tuple[int, ...]:
        """Resolution of each layer that takes a w: two have 4, the next two 8, ..."""
        return tuple(4 * 2 ** (layer // 2) for layer in range(self.num_layers))

    def layers(self) -> tuple[Layer, ...]:
        """Returns the convolutions and dense layers in blocks: those of synthesis."""
        module: Any = self  # Hashable, although its type does not say so.
        return block_layers(module)

    def setup(self) -> None:
        """Makes both networks and the average of w."""
        if self.noise_mode not in NOISE_MODES:
            raise ValueError(
                f"noise_mode = {self.noise_mode!r} must be one of "
                f"{', '.join(NOISE_MODES)}"
            )
        # Their names as modules are those of the methods.
        self._mapping = Mapping(self.options, name="mapping")
        self._synthesis = Synthesis(
            self.resolution, self.options, self.noise_mode, name="synthesis"
        )
        dtype = statistics_dtype(self.options.dtype)
        self._w_average = self.variable(
            "stats", "w_average", jnp.zeros, (self.options.w_size,), dtype
        )

    def __call__(
        self,
        z: jax.Array,
        labels: jax.Array | None = None,
        alpha: jax.typing.ArrayLike = 1.0,
        numbers: jax.Array | None = None,
        *,
        train: bool = False,
        mixed_z: jax.Array | None = None,
        mixed_from: jax.typing.ArrayLike = 0,
        w_rate: jax.typing.ArrayLike | None = None,
    ) -> jax.Array:
        """Returns images [N, r, r, channels], about [-1, 1], float32 at least.

        Args:
          z: Latents [N, latent_size], standard normal.
          labels: One-hot [N, num_classes]; None without classes.
          alpha: Weight of the newest block, a scalar in [0, 1]; without effect at 4.
          numbers: The images' numbers, int [N], for random noise; None for none.
          train: Whether the average of w follows the mean of this batch's. Nothing is
            truncated then.
          mixed_z: Latents [N, latent_size] whose w, with the same labels, go to the
            layers from `mixed_from` on; None for no mixing.
          mixed_from: Number of the first such layer, an integer, which may be traced.
          w_rate: How far the average of w moves to the mean of w, in [0, 1]; None for
            that of the options.

        Raises:
          ValueError: if labels are missing, or given to an unconditional network.
        """
        w = self.mapping(z, labels)
        if train:
            self._update_average(w, w_rate)
        if mixed_z is not None:
            first = jnp.arange(self.num_layers).reshape(1, -1, 1) < mixed_from
            w = jnp.where(first, w[:, None], self.mapping(mixed_z, labels)[:, None])
        w = w if train else self.truncate(w, labels)
        return self.synthesis(w, alpha, numbers)

    def mapping(self, z: jax.Array, labels: jax.Array | None = None) -> jax.Array:
        """Returns w [N, w_size], not truncated, of latents and one-hot labels."""
        return self._mapping(z, labels)

    def truncate(self, w: jax.Array, labels: jax.Array | None = None) -> jax.Array:
        """Moves w towards its average: Karras et al. 2019, appendix B.

        Args:
          w: [N, w_size] or [N, num_layers, w_size].
          labels: Without effect: one average serves all classes.

        Returns:
          [N, num_layers, w_size].
        """
        del labels
        w = broadcast_w(w, self.num_layers)
        if self.truncation_psi == 1:
            return w
        cutoff = self.truncation_cutoff
        cutoff = self.options.truncation_cutoff if cutoff is None else cutoff
        truncated = jnp.arange(self.num_layers) < cutoff
        psi = jnp.where(truncated, self.truncation_psi, 1.0).astype(w.dtype)
        average = self._w_average.value.reshape(1, 1, -1)
        return average + psi.reshape(1, -1, 1) * (w - average)

    def synthesis(
        self,
        w: jax.Array,
        alpha: jax.typing.ArrayLike = 1.0,
        numbers: jax.Array | None = None,
    ) -> jax.Array:
        """Returns images [N, r, r, channels] of w.

        Args:
          w: [N, w_size], or one for each layer [N, num_layers, w_size].
          alpha: See `__call__`.
          numbers: See `__call__`.

        Raises:
          ValueError: if w is of another shape.
        """
        layers, size = self.num_layers, self.options.w_size
        if w.shape[1:] not in ((size,), (layers, size)):
            raise ValueError(
                f"w of shape {w.shape} is neither [N, {size}] nor [N, {layers}, {size}]"
            )
        return self._synthesis(w, alpha, numbers)

    def _update_average(self, w: jax.Array, rate: jax.typing.ArrayLike | None) -> None:
        rate = 1 - self.options.w_average_decay if rate is None else rate
        average = self._w_average
        average.value += rate * (jnp.mean(w, axis=0) - average.value)


class _DownBlock(nn.Module):
    """D's block of one resolution: two convolutions, the second after a blur.

    The mean over 2x2 pixels comes before the bias.
    """

    maps: int
    maps_below: int
    options: Options

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        activate, conv = RECTIFIERS[self.options.activation], _conv(self.options)
        x = activate(conv(self.maps, name="conv0")(x))
        x = blur2d(x) if self.options.blur else x
        return activate(conv(self.maps_below, resample="down", name="conv1")(x))


class _LastBlock(nn.Module):
    """D's 4x4 block after the minibatch statistic: convolution, two dense layers."""

    maps: int
    hidden: int
    options: Options

    @nn.compact
    def __call__(self, x: jax.Array, stddev: jax.Array | None) -> jax.Array:
        activate = RECTIFIERS[self.options.activation]
        last = None
        if stddev is not None:
            *maps, last = stddev.T
            for value in maps:
                x = append_map(x, value)
        x = activate(_conv(self.options)(self.maps, name="conv")(x, last))
        dense = partial(
            EqualizedDense,
            equalized=self.options.equalized,
            dtype=jnp.dtype(self.options.dtype),
        )
        x = activate(dense((self.hidden,), name="dense0")(x.reshape(len(x), -1)))
        outputs, stored = max(self.options.num_classes, 1), statistics_dtype(x.dtype)
        return dense((outputs,), gain=1.0, dtype=stored, name="dense1")(x)


class Discriminator(nn.Module):
    """Scores images, by their classes if there are any.

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
        return False

    @nn.compact
    def __call__(
        self,
        images: jax.Array,
        labels: jax.Array | None = None,
        alpha: jax.typing.ArrayLike = 1.0,
        sets: int = 1,
    ) -> DiscriminatorOutput:
        """Scores images [N, r, r, channels] in about [-1, 1]; there are no logits.

        Args:
          images: Images at the stage's resolution.
          labels: Classes int [N], each of which has a score of its own; None without.
          alpha: Weight of the newest block, a scalar in [0, 1]; without effect at 4.
          sets: Number of sets of images that take turns in the batch. Each has its own
            groups of the minibatch statistic.

        Raises:
          ValueError: if labels are missing, or given to an unconditional network.
        """
        check_labels(labels, self.num_classes, "discriminator")
        x = self._features(images, alpha)
        stddev = self._stddev(x, sets)
        last = _LastBlock(
            self._maps(4), self._maps(2), self.options, name=block_name(4)
        )
        out = last(x, stddev)
        scores = out[:, 0]
        if labels is not None:
            # A product with one-hot labels, as gathers have slow gradients.
            one_hot = jax.nn.one_hot(labels, self.num_classes, dtype=out.dtype)
            scores = jnp.sum(out * one_hot, axis=1)
        stddev = jnp.zeros_like(scores) if stddev is None else stddev.mean(axis=1)
        return DiscriminatorOutput(scores, out[:, :0], stddev)

    def _features(self, images: jax.Array, alpha: jax.typing.ArrayLike) -> jax.Array:
        """Returns the maps at 4x4."""
        growing = self.options.structure == "growing"
        x = self._from_rgb(images, self.resolution)
        for r in reversed(stage_resolutions(self.resolution)[1:]):
            x = self._down_block(r)(x)
            images = downscale2d(images)
            if growing and r == self.resolution:
                x = lerp(self._from_rgb(images, r // 2), x, alpha)
            elif growing and self.is_initializing():
                self._from_rgb(images, r // 2)
        return x

    def _stddev(self, x: jax.Array, sets: int) -> jax.Array | None:
        """Returns the minibatch statistic [N, features]: each is that of its maps."""
        group = self.options.stddev_group
        if group is None:
            return None
        n, h, w, c = x.shape
        features = self.options.mbstd_features
        apart = x.reshape(n // sets, sets, h, w, features, c // features)
        of_set = jax.vmap(lambda x: minibatch_stddev(x, group), 3, 1)
        stddev = jax.vmap(of_set, 1, 1)(apart)
        return stddev.reshape(n, features)

    def _down_block(self, resolution: int) -> nn.Module:
        block = nn.remat(_DownBlock) if self.options.remat == "blocks" else _DownBlock
        maps, below = self._maps(resolution), self._maps(resolution // 2)
        return block(maps, below, self.options, name=block_name(resolution))

    def _maps(self, resolution: int) -> int:
        return num_maps(self.options, resolution)

    def _from_rgb(self, images: jax.Array, resolution: int) -> jax.Array:
        name = f"from_rgb_{resolution}x{resolution}"
        conv = _conv(self.options)(self._maps(resolution), kernel_size=1, name=name)
        return RECTIFIERS[self.options.activation](conv(images))


def _conv(options: Options) -> partial[EqualizedConv]:
    dtype = jnp.dtype(options.dtype)
    return partial(EqualizedConv, equalized=options.equalized, dtype=dtype)


def make_networks(
    options: Options, resolution: int, per_device_batch: int = 0
) -> tuple[Generator, Discriminator]:
    """Returns both networks of one stage.

    Args:
      options: Options of the run's networks.
      resolution: Resolution of the stage.
      per_device_batch: Caps the group of the minibatch statistic; 0 for no cap.
    """
    group = min(options.mbstd_group_size, per_device_batch or options.mbstd_group_size)
    capped = replace(options, mbstd_group_size=group)
    return Generator(resolution, options), Discriminator(resolution, capped)
