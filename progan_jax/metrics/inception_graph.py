"""The TensorFlow Inception-v3 graph of 2015-12-05, as a table and a Flax module.

This is the network behind nearly all published Inception Scores and Frechet distances.
It is not the Inception-v3 of Keras or torchvision: its average pooling leaves padding
out of the mean, the last block has max pooling in its pool branch, and it has 1008
logits. Batch norm (epsilon 0.001, fixed statistics) is folded into kernels and biases.
Layers have the names of the graph's scopes.

Source: the public graph `classify_image_graph_def.pb`; Szegedy et al. 2015, "Rethinking
the Inception Architecture for Computer Vision".
"""

from collections.abc import Sequence
from functools import cache, partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from progan_jax.weights.weight_files import layer_shapes

SIDE = 299

CLASSES = 1008

SPATIAL_CHANNELS = 7


class Conv(NamedTuple):
    """A convolution with bias and rectifier."""

    features: int
    kernel: tuple[int, int]
    stride: int = 1
    padding: str = "SAME"


class Block(NamedTuple):
    """Branches whose outputs are joined along the channels, the pool's last.

    Attributes:
      branches: By scope, "" for the block's own: convolutions one after the other; a
        pair takes the same input, and its outputs are joined.
      pool: "average", "max" (both of stride 1) or "reduce" (max with stride 2).
      projection: Maps of the 1x1 convolution after the pool; 0 for none.
    """

    branches: dict[str, tuple[Conv | tuple[Conv, Conv], ...]]
    pool: str
    projection: int = 0


def _conv(features: int, h: int, w: int | None = None) -> Conv:
    return Conv(features, (h, w or h))


def _reduce(features: int) -> Conv:
    return Conv(features, (3, 3), 2, "VALID")


def _block_35(projection: int) -> Block:
    return Block(
        {
            "": (_conv(64, 1),),
            "tower": (_conv(48, 1), _conv(64, 5)),
            "tower_1": (_conv(64, 1), _conv(96, 3), _conv(96, 3)),
        },
        "average",
        projection,
    )


def _block_17(width: int) -> Block:
    return Block(
        {
            "": (_conv(192, 1),),
            "tower": (_conv(width, 1), _conv(width, 1, 7), _conv(192, 7, 1)),
            "tower_1": (
                _conv(width, 1),
                _conv(width, 7, 1),
                _conv(width, 1, 7),
                _conv(width, 7, 1),
                _conv(192, 1, 7),
            ),
        },
        "average",
        192,
    )


def _block_8(pool: str) -> Block:
    fork = (_conv(384, 1, 3), _conv(384, 3, 1))
    return Block(
        {
            "": (_conv(320, 1),),
            "tower": (_conv(384, 1), fork),
            "tower_1": (_conv(448, 1), _conv(384, 3), fork),
        },
        pool,
        192,
    )


# In the order of execution; a text is one of POOLS. Sizes are for inputs of 299x299.
GRAPH: dict[str, Conv | Block | str] = {
    "conv": _reduce(32),
    "conv_1": Conv(32, (3, 3), 1, "VALID"),
    "conv_2": _conv(64, 3),
    "pool": "reduce",  # 73x73x64
    "conv_3": _conv(80, 1),
    "conv_4": Conv(192, (3, 3), 1, "VALID"),
    "pool_1": "reduce",  # 35x35x192
    "mixed": _block_35(32),
    "mixed_1": _block_35(64),
    "mixed_2": _block_35(64),  # 35x35x288
    "mixed_3": Block(
        {"": (_reduce(384),), "tower": (_conv(64, 1), _conv(96, 3), _reduce(96))},
        "reduce",
    ),
    "mixed_4": _block_17(128),
    "mixed_5": _block_17(160),
    "mixed_6": _block_17(160),
    "mixed_7": _block_17(192),  # 17x17x768
    "mixed_8": Block(
        {
            "tower": (_conv(192, 1), _reduce(320)),
            "tower_1": (
                _conv(192, 1),
                _conv(192, 1, 7),
                _conv(192, 7, 1),
                _reduce(192),
            ),
        },
        "reduce",
    ),  # 8x8x1280
    "mixed_9": _block_8("average"),
    "mixed_10": _block_8("max"),  # 8x8x2048
}

LOGITS = "softmax"  # The graph's scope of the last layer, after mixed_10.

# The layer each tap is taken from, lowest first, and the length of its vector.
TAPS = {
    "64": ("pool", 64),
    "192": ("pool_1", 192),
    "spatial": ("mixed_6", 17 * 17 * SPATIAL_CHANNELS),
    "768": ("mixed_7", 768),
    "1280": ("mixed_8", 1280),
    "2048": ("mixed_10", 2048),
    "logits": (LOGITS, CLASSES),
}


POOLS = {
    # Mean over 3x3 pixels, padding left out of sum and count.
    "average": partial(
        nn.avg_pool, window_shape=(3, 3), padding="SAME", count_include_pad=False
    ),
    # Largest of 3x3 pixels, padding left out.
    "max": partial(nn.max_pool, window_shape=(3, 3), padding="SAME"),
    # Largest of 3x3 pixels with stride 2, only where all of them lie inside.
    "reduce": partial(nn.max_pool, window_shape=(3, 3), strides=(2, 2)),
}


class InceptionV3(nn.Module):
    """The graph from pixels to any of its taps.

    The vectors of "64" to "2048" are means over the pixels of a layer's output ("768"
    is `mixed_7/join`, "1280" `mixed_8/join`, "2048" `pool_3`). "spatial", for sFID, is
    the first 7 channels of `mixed_6/conv`, the rectified output of that block's 1x1
    convolution and thus its first channels, with all pixels. "logits" is `pool_3`
    times the last layer's weights without its bias, as in the Inception Score.

    Everything is computed in float32: by default, accelerators would round the factors
    of convolutions.

    Attributes:
      taps: Names of TAPS.
    """

    taps: tuple[str, ...]

    @nn.compact
    def __call__(self, images: jax.Array) -> dict[str, jax.Array]:
        """Returns float32 [n, d] by tap; runs as far as the highest tap needs.

        Args:
          images: [n, 299, 299, 3], RGB, 0..255 of any dtype.
        """
        x = (images.astype(jnp.float32) - 128) / 128  # The graph's `Sub` and `Mul`.
        tap_of = {TAPS[tap][0]: tap for tap in self.taps}
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

    def _layer(self, name: str, layer: Conv | Block | str, x: jax.Array):
        if isinstance(layer, str):
            return POOLS[layer](x)
        if isinstance(layer, Conv):
            return self._conv(name, layer, x)
        outputs = [
            self._branch(f"{name}/{scope}".rstrip("/"), convs, x)
            for scope, convs in layer.branches.items()
        ]
        pooled = POOLS[layer.pool](x)
        if layer.projection:
            projection = Conv(layer.projection, (1, 1))
            pooled = self._conv(f"{name}/tower_2/conv", projection, pooled)
        return jnp.concatenate([*outputs, pooled], axis=-1)

    def _branch(self, scope: str, convs: Sequence[Conv | tuple], x: jax.Array):
        """Runs convolutions named conv, conv_1, ...; pairs are in scope/mixed."""
        for index, conv in enumerate(convs):
            if isinstance(conv, Conv):
                x = self._conv(f"{scope}/conv_{index}".removesuffix("_0"), conv, x)
            else:
                pair = [
                    self._conv(f"{scope}/mixed/{name}", branch, x)
                    for name, branch in zip(("conv", "conv_1"), conv, strict=True)
                ]
                x = jnp.concatenate(pair, axis=-1)
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
            precision="highest",
            name=name,
        )
        x = nn.relu(layer(x))
        return x[:, 1:-1, 1:-1] if crop else x

    def _logits(self, vectors: jax.Array) -> jax.Array:
        layer = nn.Dense(CLASSES, use_bias=False, precision="highest", name=LOGITS)
        return layer(vectors)


def convolution_names() -> list[str]:
    """Returns the names of the convolutions in the order of execution."""
    order = list(GRAPH)
    names = [n.removesuffix("/bias") for n in _all_shapes() if n.endswith("/bias")]
    # In a block, layers are sorted by name.
    return sorted(names, key=lambda name: (order.index(name.split("/")[0]), name))


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
    return layer_shapes(InceptionV3(("logits",)), image)


def _vectors(tap: str, x: jax.Array) -> jax.Array:
    if tap == "spatial":
        return x[..., :SPATIAL_CHANNELS].reshape(len(x), -1)
    return jnp.mean(x, axis=(1, 2))
