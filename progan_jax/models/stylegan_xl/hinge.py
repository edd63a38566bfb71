"""Hinge losses of lists of logits, one entry per backbone.

The paper takes means. The authors' program sums over images and backbones, so that
gradients grow with the batch; Adam hides it, but not in relation to other losses.
Sources: Lim & Ye 2017, "Geometric GAN"; Sauer et al. 2021.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import nn

REDUCTIONS = ("sum", "mean")


def d_hinge(
    reals: Sequence[jax.Array], fakes: Sequence[jax.Array], reduction: str = "sum"
) -> jax.Array:
    """Returns D's loss, max(0, 1 - real) + max(0, 1 + fake), a scalar.

    Args:
      reals: Logits of real images, [N, L] for each backbone.
      fakes: Those of fakes, likewise.
      reduction: "sum" over images and backbones of the mean over logits, or "mean".
    """
    of_reals = _reduce([nn.relu(1 - s) for s in reals], reduction)
    return of_reals + _reduce([nn.relu(1 + s) for s in fakes], reduction)


def g_hinge(fakes: Sequence[jax.Array], reduction: str = "sum") -> jax.Array:
    """Returns G's loss, minus the logits of its images; see `d_hinge`."""
    return _reduce([-s for s in fakes], reduction)


def _reduce(losses: Sequence[jax.Array], reduction: str) -> jax.Array:
    if reduction not in REDUCTIONS:
        raise ValueError(
            f"reduction = {reduction!r} must be one of {', '.join(REDUCTIONS)}"
        )
    of_images = jnp.stack([jnp.mean(loss, axis=1) for loss in losses])
    return jnp.sum(of_images) if reduction == "sum" else jnp.mean(of_images)
