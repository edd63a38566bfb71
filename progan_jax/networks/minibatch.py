"""What D sees of a batch as a whole, beside each of its images.

Source: Karras et al. 2018, section 3.
"""

import jax
import jax.numpy as jnp

from progan_jax.networks.layers import statistics_dtype


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
