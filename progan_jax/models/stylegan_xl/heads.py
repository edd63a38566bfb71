"""The trained parts of the projected discriminator: a small network for each level.

Source: Sauer et al. 2022, section 3.2, and Sauer et al. 2021.
"""

import math

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax

from progan_jax.models.convolution import conv2d_down
from progan_jax.models.layers import EqualizedDense, leaky_relu, statistics_dtype
from progan_jax.models.stylegan_xl.patches import correlate
from progan_jax.models.stylegan_xl.random_layers import uniform

_SIZE = 4  # Side of all kernels, and of the smallest map that they can be applied to.

_WIDTHS = (64, 128, 256, 512)  # Output maps of the blocks, by the level's side.

_EMBEDDED = 64  # Width in which a class is compared with an image.


class SpectralConv(nn.Module):
    """A 4x4 convolution whose kernel is divided by its largest singular value.

    The value is estimated by vectors u and v, which follow the kernel by one power
    iteration in each call that is part of training. Source: Miyato et al. 2018,
    "Spectral normalization for generative adversarial networks", algorithm 1.

    Attributes:
      features: Output maps F.
      halve: Whether it halves the sides, padded by one, and has a bias; else it is
        applied within the map alone, and has none.
    """

    features: int
    halve: bool = True

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Maps [N, H, W, C] to [N, H / 2, W / 2, F], or to [N, H - 3, W - 3, F]."""
        shape = (_SIZE, _SIZE, x.shape[-1], self.features)
        fan_in = math.prod(shape[:-1])
        kernel = self.param("kernel", uniform, shape, fan_in)
        matrix = kernel.reshape(fan_in, self.features)
        kernel = kernel / self._largest_singular_value(matrix, train)
        if not self.halve:
            return correlate(x, kernel)
        bias = self.param("bias", uniform, shape[-1:], fan_in)
        return conv2d_down(x, kernel) + bias.reshape(1, 1, 1, -1)

    def _largest_singular_value(self, matrix: jax.Array, train: bool) -> jax.Array:
        """Estimates it by u and v, without gradients of them."""
        inputs, features = matrix.shape
        u = self.variable("stats", "u", self._draw_unit, features)
        v = self.variable("stats", "v", self._draw_unit, inputs)
        if train and not self.is_initializing():
            fixed = lax.stop_gradient(matrix)
            v.value = _normalise(jnp.matmul(fixed, u.value, precision="highest"))
            u.value = _normalise(jnp.matmul(v.value, fixed, precision="highest"))
        product = jnp.matmul(v.value, matrix, precision="highest")
        return jnp.vdot(product, u.value, precision="highest")

    def _draw_unit(self, size: int) -> jax.Array:
        return _normalise(jax.random.normal(self.make_rng("params"), (size,)))


def _normalise(x: jax.Array) -> jax.Array:
    return x / jnp.maximum(jnp.linalg.norm(x), 1e-12)


class GroupedBatchNorm(nn.Module):
    """Batch normalisation by the statistics of groups of consecutive images.

    Training takes those of each group. Their averages are kept with a momentum of 0.1,
    variances without bias, for calls that are not part of training. Source: Ioffe &
    Szegedy 2015.

    Attributes:
      stats_batch: Images per group, capped at the batch; 0 makes it one group.
      momentum: How far the averages move.
      epsilon: Added to the variance.
    """

    stats_batch: int = 0
    momentum: float = 0.1
    epsilon: float = 1e-5

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Maps [N, H, W, C] to the same shape and dtype.

        Raises:
          ValueError: if N is not a multiple of the group.
        """
        c, stored = x.shape[-1], statistics_dtype(x.dtype)
        scale = self.param("scale", nn.initializers.ones_init(), (c,), stored)
        bias = self.param("bias", nn.initializers.zeros_init(), (c,), stored)
        wide = self._groups(x.astype(stored))
        mean, variance = self._statistics(wide, train)
        normal = (wide - mean) * lax.rsqrt(variance + self.epsilon)
        out = normal.reshape(x.shape) * scale.reshape(1, 1, 1, -1)
        return (out + bias.reshape(1, 1, 1, -1)).astype(x.dtype)

    def _groups(self, x: jax.Array) -> jax.Array:
        """Returns the pixels of each group, [groups, pixels, C]."""
        n, c = len(x), x.shape[-1]
        group = min(self.stats_batch, n) if self.stats_batch else n
        if n % group:
            raise ValueError(
                f"batch of {n} images is not a multiple of the {group} images of whose "
                "statistics D's normalisation takes"
            )
        return x.reshape(n // group, -1, c)

    def _statistics(self, x: jax.Array, train: bool) -> tuple[jax.Array, jax.Array]:
        """Returns mean and variance of each group, and lets the averages follow."""
        (_, pixels, c), dtype = x.shape, x.dtype
        mean = self.variable("stats", "mean", jnp.zeros, (c,), dtype)
        variance = self.variable("stats", "variance", jnp.ones, (c,), dtype)
        if not train:
            return mean.value.reshape(1, 1, -1), variance.value.reshape(1, 1, -1)
        of_groups = jnp.mean(x, axis=1, keepdims=True)
        spread = jnp.mean(jnp.square(x - of_groups), axis=1, keepdims=True)
        if not self.is_initializing():
            unbiased = spread * (pixels / max(pixels - 1, 1))
            for average, new in ((mean, of_groups), (variance, unbiased)):
                new = lax.stop_gradient(jnp.mean(new, axis=(0, 1)))
                average.value += self.momentum * (new - average.value)
        return of_groups, spread


class Head(nn.Module):
    """Judges the maps of one level at several places.

    Blocks halve the sides: four of them at the shallowest level, one at the deepest.
    Those that would make a map smaller than the last kernel are left out, which only
    backbones with inputs of less than 128 pixels need.

    Attributes:
      level: 0 (shallow) to 3 (deep).
      num_classes: Number of classes; 0 for an unconditional head.
      embedding: Rows and width of the table of classes, which is trained.
      stats_batch: See `GroupedBatchNorm`.
    """

    level: int
    num_classes: int = 0
    embedding: tuple[int, int] = (1000, 320)
    stats_batch: int = 0

    @nn.compact
    def __call__(
        self, x: jax.Array, labels: jax.Array | None, train: bool
    ) -> jax.Array:
        """Maps [N, h, w, C] and classes int [N], or None, to logits [N, L]."""
        for number, width in enumerate(_WIDTHS[self.level :]):
            if min(x.shape[1:3]) // 2 < _SIZE:
                break
            x = SpectralConv(width, name=f"conv{number}")(x, train)
            norm = GroupedBatchNorm(self.stats_batch, name=f"norm{number}")
            x = leaky_relu(norm(x, train))
        features = _EMBEDDED if self.num_classes else 1
        x = SpectralConv(features, halve=False, name="last")(x, train)
        if labels is not None:
            embedded = self._embed(labels).reshape(-1, 1, 1, _EMBEDDED)
            x = jnp.sum(x * embedded, axis=-1) / math.sqrt(_EMBEDDED)
        return x.reshape(len(x), -1)

    def _embed(self, labels: jax.Array) -> jax.Array:
        """Returns the classes' vectors, [N, 64]."""
        normal = nn.initializers.normal(1.0)
        table = self.param("embedding", normal, self.embedding)
        # A product with one-hot labels, as gathers have slow gradients.
        one_hot = jax.nn.one_hot(labels, len(table), dtype=table.dtype)
        rows = jnp.matmul(one_hot, table, precision="highest")
        shape, dtype = (_EMBEDDED,), rows.dtype
        dense = EqualizedDense(shape, gain=1.0, dtype=dtype, name="project")
        return math.sqrt(2) * leaky_relu(dense(rows))
