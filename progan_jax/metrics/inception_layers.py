"""The layers of the TensorFlow Inception-v3 graph of 2015-12-05, as a table.

Source: the public graph `classify_image_graph_def.pb`; Szegedy et al. 2015, "Rethinking
the Inception Architecture for Computer Vision".
"""

from typing import NamedTuple

SIDE = 299
CLASSES = 1008
SPATIAL_CHANNELS = 7


class Conv(NamedTuple):
    """A convolution with bias and rectifier."""

    features: int
    kernel: tuple[int, int]
    stride: int = 1
    padding: str = "SAME"


class Fork(NamedTuple):
    """Two convolutions of the same input, side by side."""

    first: Conv
    second: Conv


class MaxPool(NamedTuple):
    """Max pooling 3x3 with stride 2."""


class Block(NamedTuple):
    """Branches whose outputs are joined along the channels, the pool's last.

    Attributes:
      branches: By scope, "" for the block's own: convolutions one after the other.
      pool: "average", "max" (both of stride 1) or "reduce" (max with stride 2).
      projection: Maps of the 1x1 convolution after the pool; 0 for none.
    """

    branches: dict[str, tuple[Conv | Fork, ...]]
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
    fork = Fork(_conv(384, 1, 3), _conv(384, 3, 1))
    return Block(
        {
            "": (_conv(320, 1),),
            "tower": (_conv(384, 1), fork),
            "tower_1": (_conv(448, 1), _conv(384, 3), fork),
        },
        pool,
        192,
    )


# In the order of execution. Sizes are those of an input of 299x299.
GRAPH: dict[str, Conv | MaxPool | Block] = {
    "conv": _reduce(32),
    "conv_1": Conv(32, (3, 3), 1, "VALID"),
    "conv_2": _conv(64, 3),
    "pool": MaxPool(),  # 73x73x64
    "conv_3": _conv(80, 1),
    "conv_4": Conv(192, (3, 3), 1, "VALID"),
    "pool_1": MaxPool(),  # 35x35x192
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
