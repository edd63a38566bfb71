"""Dense layers of the mapping network and of the styles."""

import math

import jax
import jax.numpy as jnp
from flax import linen as nn

from progan_jax.models.layers import statistics_dtype


class Dense(nn.Module):
    """Dense layer with bias, whose weights are scaled at run time.

    The stored kernel, drawn from N(0, 1), is divided by sqrt(fan_in). All of it is in
    float32 at least, and at the highest precision. Source: Karras et al. 2018, section
    4.1.

    Attributes:
      features: Width F of the output.
      lr_multiplier: Learning rate, relative to the other layers': kernel and bias are
        multiplied by it, and are drawn larger by as much.
      weight: Standard deviation of the kernel before that.
      bias: Initial values, one for each output or one for all.
    """

    features: int
    lr_multiplier: float = 1.0
    weight: float = 1.0
    bias: float | tuple[float, ...] = 0.0

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps [N, C] to [N, F]."""
        m, fan_in, stored = self.lr_multiplier, x.shape[-1], statistics_dtype(x.dtype)
        draw, shape = nn.initializers.normal(self.weight / m), (fan_in, self.features)
        kernel = self.param("kernel", draw, shape, stored)
        bias = self.param("bias", self._first_bias, shape[1:], stored)
        with jax.default_matmul_precision("highest"):
            y = x.astype(stored) @ (kernel * (m / math.sqrt(fan_in)))
        return y + (bias * m).reshape(1, -1)

    def _first_bias(
        self, key: jax.Array, shape: tuple[int, ...], dtype: jax.typing.DTypeLike
    ) -> jax.Array:
        del key
        bias = jnp.asarray(self.bias, dtype) / self.lr_multiplier
        return jnp.broadcast_to(bias, shape)
