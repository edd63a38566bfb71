"""The errors of EfficientNet-lite0's features in bfloat16."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from progan_jax.models.common import Params
from progan_jax.models.stylegan_xl.backbone_inputs import prepare
from progan_jax.models.stylegan_xl.backbones import BACKBONES


class LevelErrors(NamedTuple):
    """Errors of one level, relative to the root mean square of its float32 features.

    Attributes:
      shape: Of the maps of an image.
      largest: The largest error.
      rms: Root mean square of the errors.
      rms_of_inputs: The same with weights and input rounded, and all else in float32.
    """

    shape: str
    largest: float
    rms: float
    rms_of_inputs: float


def errors(params: Params, images: jax.Array, side: int) -> list[LevelErrors]:
    """Returns the errors of each level.

    In bfloat16 are the network's input, all activations and the weights that they meet;
    what is summed in a wider type is the compiler's choice. Images are normalised and
    resized in float32.

    Args:
      params: Weights of lite0.
      images: [N, r, r, 3] in [-1, 1].
      side: Side of the network's input.
    """
    backbone = BACKBONES["lite0"]
    with jax.default_matmul_precision("highest"):
        features = jax.jit(backbone.features)
        seen = jax.jit(lambda x: prepare(x, backbone, side))(images)
        exact = features(params, seen)
        low = _cast((params, seen), jnp.bfloat16)
        rounded = features(*low)
        of_inputs = features(*_cast(low, jnp.float32))
    assert all(x.dtype == jnp.bfloat16 for x in rounded), "no activation is promoted"
    return [_compare(*level) for level in zip(exact, rounded, of_inputs, strict=True)]


def _cast(tree: Any, dtype: Any) -> Any:
    return jax.tree.map(lambda x: jnp.asarray(x).astype(dtype), tree)


def _compare(exact: jax.Array, rounded: jax.Array, of_inputs: jax.Array) -> LevelErrors:
    x, y, z = (np.asarray(a, np.float64) for a in (exact, rounded, of_inputs))
    scale = np.sqrt(np.mean(x**2))
    shape = "x".join(map(str, x.shape[1:]))
    largest = np.abs(y - x).max()
    rms, rms_of_inputs = (np.sqrt(np.mean((a - x) ** 2)) for a in (y, z))
    values = (float(v / scale) for v in (largest, rms, rms_of_inputs))
    return LevelErrors(shape, *values)
