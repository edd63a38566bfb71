"""The mapping network of StyleGAN: from latents z to intermediate latents w.

All of it is in float32 at least, and at the highest precision, whatever the dtype of
the other activations. Source: Karras et al. 2019, section 2, and `G_mapping` of the
authors' program.
"""

import jax
import jax.numpy as jnp
from flax import linen as nn

from progan_jax.models.common import check_labels
from progan_jax.models.layers import EqualizedDense, pixel_norm, statistics_dtype
from progan_jax.models.stylegan.options import Options
from progan_jax.models.stylegan.rectifiers import RECTIFIERS


class Mapping(nn.Module):
    """Dense layers, each with a rectifier, the last one too.

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
        x = z.astype(statistics_dtype(options.dtype))
        with jax.default_matmul_precision("highest"):
            if labels is not None:
                x = jnp.concatenate([x, self._embed(labels.astype(x.dtype))], axis=-1)
            x = pixel_norm(x) if options.normalize_latents else x
            for index in range(options.mapping_layers):
                x = RECTIFIERS[options.activation](self._dense(index)(x))
        return x

    def _embed(self, labels: jax.Array) -> jax.Array:
        shape = labels.shape[-1], self.options.latent_size
        initialize = nn.initializers.normal(1.0)  # Never equalized.
        return labels @ self.param("label", initialize, shape, labels.dtype)

    def _dense(self, index: int) -> EqualizedDense:
        last = index == self.options.mapping_layers - 1
        width = self.options.w_size if last else self.options.mapping_width
        return EqualizedDense(
            (width,),
            equalized=self.options.equalized,
            lr_multiplier=self.options.mapping_lr_multiplier,
            dtype=statistics_dtype(self.options.dtype),
            name=f"dense{index}",
        )
