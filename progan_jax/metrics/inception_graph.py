"""The TensorFlow Inception-v3 graph of 2015-12-05 as a Flax module.

This is the network behind nearly all published Inception Scores and Frechet distances.
It is not the Inception-v3 of Keras or torchvision: its average pooling leaves padding
out of the mean, the last block has max pooling in its pool branch, and it has 1008
logits. Batch norm (epsilon 0.001, fixed statistics) is folded into kernels and biases.
Layers have the names of the graph's scopes.

Source: the public graph `classify_image_graph_def.pb`, see `inception_layers`.
"""

from collections.abc import Sequence
from functools import cache, partial

import jax
import jax.numpy as jnp
from flax import linen as nn

from progan_jax.metrics.inception_layers import (
    CLASSES,
    GRAPH,
    LOGITS,
    SIDE,
    SPATIAL_CHANNELS,
    TAPS,
    Block,
    Conv,
    Fork,
    MaxPool,
)


def average_pool(x: jax.Array) -> jax.Array:
    """Mean over 3x3 pixels with stride 1, padding left out of sum and count."""
    return nn.avg_pool(x, (3, 3), padding="SAME", count_include_pad=False)


def max_pool(x: jax.Array) -> jax.Array:
    """Largest of 3x3 pixels with stride 1, padding left out."""
    return nn.max_pool(x, (3, 3), padding="SAME")


def reduce_pool(x: jax.Array) -> jax.Array:
    """Largest of 3x3 pixels with stride 2, only where all of them lie inside."""
    return nn.max_pool(x, (3, 3), strides=(2, 2))


_POOLS = {"average": average_pool, "max": max_pool, "reduce": reduce_pool}


class InceptionV3(nn.Module):
    """The graph from pixels to any of its taps.

    The vectors of "64" to "2048" are means over the pixels of a layer's output ("768"
    is `mixed_7/join`, "1280" `mixed_8/join`, "2048" `pool_3`). "spatial", for sFID, is
    the first 7 channels of `mixed_6/conv`, the rectified output of that block's 1x1
    convolution and thus its first channels, with all pixels. "logits" is `pool_3`
    times the last layer's weights without its bias, as in the Inception Score.

    Attributes:
      precision: Of the convolutions and the matrix product: "highest" or "default".
    """

    precision: str = "highest"

    @nn.compact
    def __call__(self, images: jax.Array, taps: tuple[str, ...]) -> dict:
        """Runs as far as the highest tap needs.

        Args:
          images: [n, 299, 299, 3], RGB, 0..255 of any dtype.
          taps: Names of TAPS.

        Returns:
          float32 [n, d] by tap.
        """
        x = (images.astype(jnp.float32) - 128) / 128
        tap_of = {TAPS[tap][0]: tap for tap in taps}
        features = {}
        for name, layer in GRAPH.items():
            if len(features) == len(tap_of):
                return features
            x = self._layer(name, layer, x)
            if name in tap_of:
                features[tap_of[name]] = _vectors(tap_of[name], x)
        if LOGITS in tap_of:
            features["logits"] = self._logits(jnp.mean(x, axis=(1, 2)))
        return features

    def _layer(self, name: str, layer: Conv | MaxPool | Block, x: jax.Array):
        if isinstance(layer, MaxPool):
            return reduce_pool(x)
        if isinstance(layer, Conv):
            return self._conv(name, layer, x)
        outputs = [
            self._branch(f"{name}/{scope}".rstrip("/"), convs, x)
            for scope, convs in layer.branches.items()
        ]
        pooled = _POOLS[layer.pool](x)
        if layer.projection:
            projection = Conv(layer.projection, (1, 1))
            pooled = self._conv(f"{name}/tower_2/conv", projection, pooled)
        return jnp.concatenate([*outputs, pooled], axis=-1)

    def _branch(self, scope: str, convs: Sequence[Conv | Fork], x: jax.Array):
        """Runs convolutions named conv, conv_1, ...; a fork's lie in scope/mixed."""
        for index, conv in enumerate(convs):
            if isinstance(conv, Fork):
                pair = [
                    self._conv(f"{scope}/mixed/{name}", branch, x)
                    for name, branch in zip(("conv", "conv_1"), conv, strict=True)
                ]
                return jnp.concatenate(pair, axis=-1)
            x = self._conv(f"{scope}/conv_{index}".removesuffix("_0"), conv, x)
        return x

    def _conv(self, name: str, conv: Conv, x: jax.Array) -> jax.Array:
        # XLA for CPUs takes four times as long for 3x3 convolutions of stride 1 that
        # are not padded: the edge is computed and cut off.
        crop = conv.padding == "VALID" and conv.stride == 1
        layer = nn.Conv(
            conv.features,
            conv.kernel,
            conv.stride,
            "SAME" if crop else conv.padding,
            precision=self.precision,
            name=name,
        )
        x = nn.relu(layer(x))
        return x[:, 1:-1, 1:-1] if crop else x

    def _logits(self, vectors: jax.Array) -> jax.Array:
        layer = nn.Dense(CLASSES, use_bias=False, precision=self.precision, name=LOGITS)
        return layer(vectors)


def parameter_shapes(tap: str) -> dict[str, tuple[int, ...]]:
    """Returns the shapes up to a tap by name: "conv/kernel", "conv/bias", ..."""
    order = [*GRAPH, LOGITS]
    reached = order[: order.index(TAPS[tap][0]) + 1]
    return {
        name: shape
        for name, shape in _all_shapes().items()
        if name.split("/")[0] in reached
    }


@cache
def _all_shapes() -> dict[str, tuple[int, ...]]:
    image = jax.ShapeDtypeStruct((1, SIDE, SIDE, 3), jnp.float32)
    init = partial(InceptionV3().init, jax.random.key(0), taps=("logits",))
    layers = jax.eval_shape(init, image)["params"]
    return {
        f"{scope}/{name}": array.shape
        for scope, arrays in layers.items()
        for name, array in arrays.items()
    }


def _vectors(tap: str, x: jax.Array) -> jax.Array:
    if tap == "spatial":
        return x[..., :SPATIAL_CHANNELS].reshape(len(x), -1)
    return jnp.mean(x, axis=(1, 2))
