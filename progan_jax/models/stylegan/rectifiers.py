"""The rectifiers of StyleGAN's networks by their names in the options."""

from collections.abc import Callable

import jax
from flax import linen as nn

from progan_jax.models.layers import leaky_relu

RECTIFIERS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "leaky_relu": leaky_relu,
    "relu": nn.relu,
}
