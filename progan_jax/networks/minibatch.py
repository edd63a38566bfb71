"""What D sees of a batch as a whole, beside each of its images.

The standard deviation of groups, and minibatch discrimination, which the paper's
ablation compares with it. Source: Karras et al. 2018, section 3; Salimans et al. 2016,
section 3.2.
"""

import jax
import jax.numpy as jnp
from flax import linen as nn

from progan_jax.networks.layers import statistics_dtype

KERNEL_SIZE = 5  # Numbers that a kernel of the discrimination sees an image as.
_FAR = 1e6  # Distance of an image to itself: it counts as none of its neighbours.


def minibatch_stddev(
    x: jax.Array, group_size: int, epsilon: float = 1e-8
) -> tuple[jax.Array, jax.Array]:
    """Appends one feature map holding the mean standard deviation of each group.

    Args:
      x: Activations [N, H, W, C].
      group_size: Consecutive images per group, min(group_size, N) of them; 0 makes
        the whole batch one group, as in the paper.
      epsilon: Added to the variance, inside the root.

    Returns:
      [N, H, W, C + 1] and the value of the appended map for each image, [N].

    Raises:
      ValueError: if N is not a multiple of the group.

    Source: Karras et al. 2018, section 3. Groups are consecutive, where the authors'
    program takes every (N / G)-th image: see docs/fidelity.md.
    """
    n, h, w, c = x.shape
    group = min(group_size, n) if group_size else n
    if n % group:
        raise ValueError(
            f"batch of {n} images is no multiple of the stddev group {group}"
        )
    wide = x.astype(statistics_dtype(x.dtype)).reshape(n // group, group, h, w, c)
    stddev = jnp.sqrt(jnp.var(wide, axis=1) + epsilon)
    value = jnp.repeat(jnp.mean(stddev, axis=(1, 2, 3)), group)
    extra = jnp.broadcast_to(value.reshape(n, 1, 1, 1), (n, h, w, 1))
    return jnp.concatenate([x, extra.astype(x.dtype)], axis=-1), value


class MinibatchDiscrimination(nn.Module):
    """Appends to each image's features how near the others of its batch are.

    A kernel sees an image as five numbers; its feature is the sum over the other
    images of exp(-distance), the distances being L1, plus a bias. The directions of
    those numbers have unit length times a learned scale.

    Attributes:
      kernels: Features that are appended.
    """

    kernels: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps [N, F] to [N, F + kernels], in the dtype of `x`."""
        wide = x.astype(statistics_dtype(x.dtype))
        shape = (x.shape[-1], self.kernels, KERNEL_SIZE)
        initialize = nn.initializers
        theta = self.param("theta", initialize.normal(0.05), shape, wide.dtype)
        log_scale = self.param("log_scale", initialize.zeros, shape[1:], wide.dtype)
        start = initialize.constant(-1.0)
        bias = self.param("bias", start, (self.kernels,), wide.dtype)
        length = jnp.sqrt(jnp.sum(jnp.square(theta), axis=0))
        weights = theta * (jnp.exp(log_scale) / length)[None]
        seen = (wide @ weights.reshape(x.shape[-1], -1)).reshape(-1, *shape[1:])
        distances = pairwise_distances(seen)
        self.sow("intermediates", "distances", distances)
        features = nearness(distances) + bias[None]
        return jnp.concatenate([x, features.astype(x.dtype)], axis=-1)


def pairwise_distances(seen: jax.Array) -> jax.Array:
    """Returns L1 distances [N, N, K] of [N, K, D]; those to oneself are 1e6 more."""
    distances = jnp.sum(jnp.abs(seen[:, None] - seen[None]), axis=-1)
    n = seen.shape[0]
    return distances + _FAR * jnp.eye(n, dtype=seen.dtype).reshape(n, n, 1)


def nearness(distances: jax.Array) -> jax.Array:
    """Returns for each image the sum of exp(-distance) to the others, [N, K]."""
    return jnp.sum(jnp.exp(-distances), axis=1)


def calibrate(
    params: dict[str, jax.Array], distances: jax.Array
) -> dict[str, jax.Array]:
    """Fits a new layer to the distances that it finds in a batch of reals.

    Nearest neighbours come to lie two apart on average, and features to have mean 0.

    Args:
      params: Of `MinibatchDiscrimination`.
      distances: [N, N, kernels], found with them.

    Returns:
      The parameters with another scale and bias.
    """
    # In a set of equal images only, nothing is to be scaled: not by log(0).
    unit = jnp.mean(jnp.min(distances, axis=1), axis=0) / 2
    unit = jnp.where(unit > 0, unit, 1)
    return params | {
        "log_scale": params["log_scale"] - jnp.log(unit).reshape(-1, 1),
        "bias": -jnp.mean(nearness(distances / unit.reshape(1, 1, -1)), axis=0),
    }
