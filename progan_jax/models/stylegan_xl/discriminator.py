"""The projected discriminator: heads on random projections of frozen features.

Source: Sauer et al. 2022, section 3.2, after Sauer et al. 2021.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from progan_jax.models.augmentation import Draws
from progan_jax.models.common import Params, check_labels
from progan_jax.models.stylegan_xl.backbone_inputs import prepare
from progan_jax.models.stylegan_xl.backbones import BACKBONES, SMALLEST_SIDE, STEP
from progan_jax.models.stylegan_xl.heads import Head
from progan_jax.models.stylegan_xl.projections import ChannelMixing, ScaleMixing
from progan_jax.models.stylegan_xl.reassembly import Reassembly

_LEVELS = 4

# Weights of each backbone, which are no variables of D, and draws for each.
Frozen = Mapping[str, Params]
BackboneDraws = Mapping[str, Draws]

# For each backbone, four levels of maps.
Features = tuple[tuple[jax.Array, ...], ...]


class Discriminator(nn.Module):
    """Judges images by features of frozen networks.

    The weights of the frozen networks are arguments. Random projections, averages of
    normalisations and the vectors of spectral norms are "stats".

    Attributes:
      resolution: Side of the images.
      num_classes: Number of classes; 0 for an unconditional network.
      backbones: Names of the frozen networks.
      backbone_size: Side of a convolutional backbone's input, a multiple of 32 from 64;
        0 for 224, or the resolution if that is larger.
      embedding: Rows and width of each head's table of classes.
      stats_batch: Consecutive images whose statistics normalise each other; 0 for all.
    """

    resolution: int
    num_classes: int = 0
    backbones: tuple[str, ...] = ("deit_base", "lite0")
    backbone_size: int = 0
    embedding: tuple[int, int] = (1000, 320)
    stats_batch: int = 0

    @property
    def channels(self) -> int:
        """Number of channels of the images: RGB."""
        return 3

    @property
    def sees_batch(self) -> bool:
        """Whether a logit depends on all other images of its batch."""
        return True

    def setup(self) -> None:
        """Makes the parts of each backbone, under its name."""
        if self.backbone_size % STEP or 0 < self.backbone_size < SMALLEST_SIDE:
            raise ValueError(
                f"backbone_size = {self.backbone_size} must be 0, or a multiple of "
                f"{STEP} from {SMALLEST_SIDE}"
            )
        if self.num_classes > self.embedding[0]:
            raise ValueError(
                f"{self.num_classes} classes need a table of as many rows, and not of "
                f"{self.embedding[0]}"
            )
        head = (self.num_classes, self.embedding, self.stats_batch)
        self._branches = [
            _Branch(BACKBONES[name].is_transformer, *head, name=name)
            for name in self.backbones
        ]

    def __call__(
        self,
        images: jax.Array,
        labels: jax.Array | None = None,
        alpha: jax.typing.ArrayLike = 1.0,
        *,
        frozen: Frozen | None = None,
        train: bool = True,
        draws: BackboneDraws | None = None,
    ) -> tuple[jax.Array, ...]:
        """Returns logits [N, L] for each backbone.

        Args:
          images: [N, r, r, 3] in about [-1, 1].
          labels: Classes int [N]; None without.
          alpha: Without effect: images do not fade.
          frozen: Weights by the backbones' names. They are not needed to initialise D.
          train: See `judge`.
          draws: Of DiffAugment, by the backbones' names; None for none.

        Raises:
          ValueError: if labels are missing, or given to an unconditional network.
        """
        del alpha
        features = self.project(images, frozen, draws)
        return self.judge(features, labels, train=train)

    def project(
        self,
        images: jax.Array,
        frozen: Frozen | None = None,
        draws: BackboneDraws | None = None,
    ) -> Features:
        """Returns projected features of images; see `__call__`.

        No parameter of D takes part, so that a step of D need not keep what their
        gradients would take.
        """
        pairs = zip(self.backbones, self._branches, strict=True)
        if self.is_initializing():  # Shapes suffice.
            return tuple(branch.project(self._blank(name)) for name, branch in pairs)
        if frozen is None:
            raise ValueError(f"no weights given of the backbones {self.backbones}")
        return tuple(
            branch.project(self._features(images, name, frozen[name], draws))
            for name, branch in pairs
        )

    def judge(
        self, features: Features, labels: jax.Array | None = None, *, train: bool = True
    ) -> tuple[jax.Array, ...]:
        """Returns logits [N, L] for each backbone.

        Args:
          features: From `project`.
          labels: See `__call__`.
          train: Whether the call is part of training: then normalisations take the
            batch's statistics, and "stats" change.
        """
        check_labels(labels, self.num_classes, "discriminator")
        pairs = zip(self._branches, features, strict=True)
        return tuple(branch.judge(levels, labels, train) for branch, levels in pairs)

    def _features(
        self, images: jax.Array, name: str, params: Params, draws: BackboneDraws | None
    ) -> Sequence[jax.Array]:
        backbone = BACKBONES[name]
        side = backbone.side(self.resolution, self.backbone_size)
        seen = prepare(images, backbone, side, None if draws is None else draws[name])
        return backbone.features(params, seen)

    def _blank(self, name: str) -> Sequence[jax.Array]:
        """Returns zeros of the shapes of a backbone's features of one image."""
        backbone = BACKBONES[name]
        side = backbone.side(self.resolution, self.backbone_size)
        image = jax.ShapeDtypeStruct((1, side, side, 3), jnp.float32)
        shapes = jax.eval_shape(
            lambda key, x: backbone.network.init_with_output(key, x, method="features")[
                0
            ],
            jax.random.key(0),
            image,
        )
        return [jnp.zeros(of.shape, of.dtype) for of in shapes]


class _Branch(nn.Module):
    """The parts of one backbone: random layers, and four heads."""

    is_transformer: bool
    num_classes: int
    embedding: tuple[int, int]
    stats_batch: int

    def setup(self) -> None:
        self.reassembly = Reassembly() if self.is_transformer else None
        self.channel_mixing, self.scale_mixing = ChannelMixing(), ScaleMixing()
        self.heads = [
            Head(level, self.num_classes, self.embedding, self.stats_batch)
            for level in range(_LEVELS)
        ]

    def project(self, features: Sequence[jax.Array]) -> tuple[jax.Array, ...]:
        if self.reassembly is not None:
            features = self.reassembly(features)
        return self.scale_mixing(self.channel_mixing(features))

    def judge(
        self, levels: Sequence[jax.Array], labels: jax.Array | None, train: bool
    ) -> jax.Array:
        logits = [
            head(x, labels, train) for head, x in zip(self.heads, levels, strict=True)
        ]
        return jnp.concatenate(logits, axis=1)


def with_embedding(d_params: Params, table: Any) -> Params:
    """Returns D's parameters with a table [rows, width] in every head."""
    return {
        name: {
            head: layers | {"embedding": jnp.asarray(table, layers["embedding"].dtype)}
            for head, layers in heads.items()
        }
        for name, heads in d_params.items()
    }
