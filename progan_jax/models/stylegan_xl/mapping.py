"""The mapping network of StyleGAN-XL: from latents z and classes to w.

All of it is in float32 at least, and at the highest precision, whatever the dtype of
the other activations. Source: Sauer et al. 2022, section 3; Karras et al. 2021,
appendix B.
"""

import math

import jax
import jax.numpy as jnp
from flax import linen as nn

from progan_jax.models.common import check_labels
from progan_jax.models.layers import leaky_relu, pixel_norm, statistics_dtype
from progan_jax.models.stylegan_xl.dense import Dense
from progan_jax.models.stylegan_xl.options import Options

_LR_MULTIPLIER = 0.01  # Of the layers after the embedding: Karras et al. 2019.
_GAIN = math.sqrt(2)  # Of the rectifier.


class Mapping(nn.Module):
    """Two dense layers after the normalised latents and embeddings.

    Class k has row k of the table of embeddings, which is trained.

    Attributes:
      options: Options of the network.
    """

    options: Options

    @nn.compact
    def __call__(self, z: jax.Array, labels: jax.Array | None = None) -> jax.Array:
        """Maps latents [N, latent_size] to w [N, w_size].

        Args:
          z: Standard normal.
          labels: One-hot [N, num_classes]; None without classes.

        Raises:
          ValueError: if labels are missing, or given to an unconditional network.
        """
        options = self.options
        check_labels(labels, options.num_classes, "generator")
        x = pixel_norm(z.astype(statistics_dtype(options.dtype)))
        if labels is not None:
            x = jnp.concatenate([x, self._embed(labels.astype(x.dtype))], axis=-1)
        for index in range(options.mapping_layers):
            dense = Dense(options.w_size, _LR_MULTIPLIER, name=f"dense{index}")
            x = _rectify(dense(x))
        return x

    def _embed(self, labels: jax.Array) -> jax.Array:
        """Returns the classes' normalised embeddings [N, latent_size]."""
        options = self.options
        shape = options.embedding_rows, options.embedding_size
        initialize = nn.initializers.normal(1.0)
        table = self.param("embedding", initialize, shape, labels.dtype)
        # A product with one-hot labels, as gathers have slow gradients.
        with jax.default_matmul_precision("highest"):
            x = labels @ table[: options.num_classes]
        return pixel_norm(_rectify(Dense(options.latent_size, name="embed")(x)))


def _rectify(x: jax.Array) -> jax.Array:
    return leaky_relu(x) * _GAIN


def update_average(
    average: jax.Array, w: jax.Array, one_hot: jax.Array | None, decay: float
) -> jax.Array:
    """Moves the average of w, or that of each class, towards w.

    Without classes, it moves once to the mean of w. With classes, each image moves the
    average of its class, one after the other, so that an image counts less by `decay`
    for each later one of its class. This is that result in closed form.

    Args:
      average: [w_size], or [num_classes, w_size].
      w: [N, w_size], not truncated.
      one_hot: Labels [N, num_classes]; None without classes.
      decay: What an average keeps, in [0, 1].

    Returns:
      The new average.

    Source: the authors' program.
    """
    if one_hot is None:
        return decay * average + (1 - decay) * jnp.mean(w, axis=0)
    one_hot = one_hot.astype(average.dtype)
    seen, counts = jnp.cumsum(one_hot, axis=0), jnp.sum(one_hot, axis=0)
    num_later = jnp.sum(one_hot * (counts[None] - seen), axis=1)
    weights = (1 - decay) * jnp.power(decay, num_later)
    with jax.default_matmul_precision("highest"):
        added = one_hot.T @ (weights[:, None] * w)
    return jnp.power(decay, counts)[:, None] * average + added
