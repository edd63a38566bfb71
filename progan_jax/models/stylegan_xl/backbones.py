"""The frozen networks whose features the discriminator judges, by their names.

Source: Sauer et al. 2022, section 3.2: a convolutional network and a vision
transformer see more together than each by itself.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from progan_jax.models import transformer
from progan_jax.models.common import Params
from progan_jax.models.stylegan_xl import efficientnet
from progan_jax.models.stylegan_xl.efficientnet import EfficientNetLite0
from progan_jax.models.transformer import VisionTransformer

# Mean and deviation of pixels in [0, 1] that the networks were trained with.
_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
_HALVES = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))

NATIVE = 224  # The side in pixels that the networks were trained with.


@dataclass(frozen=True)
class Backbone:
    """A frozen network.

    Attributes:
      network: Has the methods `features` (four levels) and `__call__` (logits).
      colours: Mean and deviation of its input's channels.
      timm: Name of the published weights in timm.
      licence: Of these weights.
    """

    network: EfficientNetLite0 | VisionTransformer
    colours: tuple[tuple[float, ...], tuple[float, ...]]
    timm: str
    licence: str = "Apache-2.0"

    @property
    def is_transformer(self) -> bool:
        """Whether its levels have one size, which is also that of its input."""
        return isinstance(self.network, VisionTransformer)

    def side(self, resolution: int, chosen: int = 0) -> int:
        """Returns the side of its input.

        A transformer has a fixed one. The convolutional network sees images of less
        than 224 pixels enlarged to that, and others as they are.

        Args:
          resolution: Side of the images.
          chosen: Side for the convolutional network; 0 for that rule.
        """
        if isinstance(self.network, VisionTransformer):
            return self.network.side
        return chosen or max(resolution, NATIVE)

    @property
    def num_params(self) -> int:
        """Number of its weights, without those after the features."""
        return sum(map(math.prod, self.timm_shapes().values()))

    def features(self, params: Params, images: jax.Array) -> tuple[jax.Array, ...]:
        """Returns four levels of maps of prepared images [N, side, side, 3]."""
        features = self.network.apply({"params": params}, images, method="features")
        return tuple(map(jnp.asarray, features))

    def logits(self, params: Params, images: jax.Array) -> jax.Array:
        """Returns the logits of ImageNet's classes of prepared images, [N, 1000]."""
        return jnp.asarray(self.network.apply({"params": params}, images))

    def timm_shapes(self, classifier: bool = False) -> dict[str, tuple[int, ...]]:
        """Returns the shapes of its arrays in timm's files, by their names there.

        Args:
          classifier: Whether its layers after the features are wanted, too.
        """
        if isinstance(self.network, VisionTransformer):
            return transformer.timm_shapes(self.network, classifier)
        return efficientnet.timm_shapes(classifier)

    def from_timm(
        self, arrays: Mapping[str, np.ndarray], classifier: bool = False
    ) -> Params:
        """Returns its weights of the arrays of `timm_shapes`; others are ignored."""
        if isinstance(self.network, VisionTransformer):
            return transformer.from_timm(arrays, self.network, classifier)
        return efficientnet.from_timm(arrays, classifier)


BACKBONES = {
    "lite0": Backbone(EfficientNetLite0(), _HALVES, "tf_efficientnet_lite0"),
    "deit_tiny": Backbone(
        VisionTransformer(192), _IMAGENET, "deit_tiny_distilled_patch16_224"
    ),
    "deit_small": Backbone(
        VisionTransformer(384), _IMAGENET, "deit_small_distilled_patch16_224"
    ),
    "deit_base": Backbone(
        VisionTransformer(768), _IMAGENET, "deit_base_distilled_patch16_224"
    ),
    # Not of the paper: a network of the same form, without DeiT's second token.
    "dinov2_small": Backbone(
        VisionTransformer(384, 14, 196, False, True, stored_tokens=37),
        _IMAGENET,
        "vit_small_patch14_dinov2",
    ),
}

SMALLEST_SIDE = 64  # The deepest level of the convolutional network has 2x2 pixels.

STEP = 32  # The sides of its input are multiples of it.
