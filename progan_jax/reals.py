"""What D sees of the stored images."""

import jax
import jax.numpy as jnp

from progan_jax.images import to_float, to_uint8
from progan_jax.networks.layers import downscale2d, lerp, upscale2d


def prepare_reals(
    images: jax.Array,
    mirror: jax.Array,
    alpha: jax.Array,
    requantise: bool = False,
    noise: jax.Array | None = None,
) -> jax.Array:
    """Maps stored images to what D sees: range, mirror, and the fade that G has too.

    Args:
      images: uint8 [N, r, r, C].
      mirror: bool [N], whether to flip an image left to right.
      alpha: Weight of the full detail; the rest is the image at half the resolution.
      requantise: Whether the blend is rounded to 8 bits again.
      noise: Added to the bytes of the blend, [N, r, r, C] in [-0.5, 0.5); or None. The
        paper's program adds it last of all, between the rounding and the range.

    Returns:
      float32 [N, r, r, C] in [-1, 1], and half a byte beyond with noise.
    """
    x = to_float(images)
    x = jnp.where(mirror.reshape(-1, 1, 1, 1), x[:, :, ::-1], x)
    x = lerp(upscale2d(downscale2d(x)), x, alpha)
    x = to_float(to_uint8(x)) if requantise else x
    return x if noise is None else x + noise / 127.5
