"""Classifiers that the user trains: two networks, and their files.

They replace Inception where its weights are missing. `tools.train_classifier` writes
the files. The two networks, one for any set, one for digits, are cheap on a CPU: about
33 and 15 million floating-point operations for an image of 32x32 pixels.
"""

import hashlib
import json
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax import traverse_util
from safetensors.numpy import load, save

from progan_jax.errors import UserError
from progan_jax.files import CHECKSUM, is_intact, seal, write_json, write_whole
from progan_jax.images import to_float
from progan_jax.metrics.inputs import run_in_batches

# For small first steps, since the largest values are large. Source: D. Page, "How to
# train your ResNet", 2018.
_LOGIT_SCALE = 0.125


class ResidualClassifier(nn.Module):
    """A residual network that works at half the resolution and below.

    Blocks of 2x2 pixels are taken as channels, so that no layer works at the costly
    full resolution. Each stage halves the side, doubles the maps and adds a residual
    block; 4x4 pixels (2x2 of images of 8x8) are left, whose largest values are
    classified.

    Attributes:
      num_classes: Length of the logits.
      width: Maps of the first layer.
    """

    num_classes: int
    width: int = 32

    @nn.compact
    def __call__(self, images: jax.Array, train: bool) -> jax.Array:
        """Returns logits [n, num_classes].

        Args:
          images: uint8 [n, r, r, 1 or 3], r a power of two from 8 to 64.
          train: Normalise by the batch's statistics instead of the running ones.
        """
        x = _blocks_to_channels(to_float(images))
        x = nn.relu(_ConvNorm(self.width)(x, train))
        for stage in range(1, max(x.shape[1].bit_length() - 3, 1) + 1):
            maps = self.width * 2**stage
            x = nn.relu(_ConvNorm(maps, pool=True)(x, train))
            y = nn.relu(_ConvNorm(maps)(x, train))
            x = x + nn.relu(_ConvNorm(maps)(y, train))
        return _LOGIT_SCALE * nn.Dense(self.num_classes)(jnp.max(x, axis=(1, 2)))


class DigitClassifier(nn.Module):
    """Three stages of 32, 55 and 96 maps, each ending in half the side.

    Source: the maps and the slope of 0.1 are those of the authors' classifier of
    stacked MNIST; the 3x3 kernels, the normalisation and the pooling are our choice.

    Attributes:
      num_classes: Length of the logits.
      width: Maps of the first stage; the others keep their proportion.
    """

    num_classes: int
    width: int = 32

    @nn.compact
    def __call__(self, images: jax.Array, train: bool) -> jax.Array:
        """Returns logits [n, num_classes]; see `ResidualClassifier`."""
        x = to_float(images)
        for maps in (32, 55, 96):
            x = _ConvNorm(maps * self.width // 32, pool=True)(x, train)
            x = nn.leaky_relu(x, 0.1)
        return nn.Dense(self.num_classes)(x.reshape(len(x), -1))


ARCHITECTURES: dict[str, Any] = {
    "residual": ResidualClassifier,
    "digit": DigitClassifier,
}


class _ConvNorm(nn.Module):
    maps: int
    pool: bool = False

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        x = nn.Conv(self.maps, (3, 3), use_bias=False)(x)
        if self.pool:
            n, h, w, c = x.shape
            x = jnp.max(x.reshape(n, h // 2, 2, w // 2, 2, c), axis=(2, 4))
        return nn.BatchNorm(use_running_average=not train, momentum=0.9)(x)


def _blocks_to_channels(x: jax.Array) -> jax.Array:
    """Turns [n, h, w, C] into [n, h / 2, w / 2, 4 * C]."""
    n, h, w, c = x.shape
    blocks = x.reshape(n, h // 2, 2, w // 2, 2, c).transpose(0, 1, 3, 2, 4, 5)
    return blocks.reshape(n, h // 2, w // 2, 4 * c)


SIDES = (8, 16, 32, 64)  # Of the images, in pixels.

_BATCH = 256

_FIX = (
    "name another file, or train one with: python -m progan_jax.tools.train_classifier"
)


@dataclass(frozen=True)
class Classifier:
    """A trained classifier.

    Attributes:
      variables: Parameters and running statistics, nested arrays.
      info: As in the JSON file: architecture, width, num_classes, resolution,
        channels, data_set (name, split, fingerprint), test_accuracy, training.
      digest: SHA-256 of the weights' file.
    """

    variables: dict[str, Any]
    info: dict[str, Any]
    digest: str

    def __str__(self) -> str:
        """Returns the description that accompanies a value."""
        return (
            f"{self.info['architecture']}-{self.info['width']} of "
            f"{self.info['data_set']['name']}, test accuracy "
            f"{self.info['test_accuracy']:.2%}, weights {self.digest[:8]}"
        )

    def logits(self, images: np.ndarray) -> np.ndarray:
        """Returns float32 [n, num_classes].

        Args:
          images: uint8 [n, r, r, C] of the resolution and channels it was trained on.

        Raises:
          ValueError: if they are others.
        """
        side, channels = self.info["resolution"], self.info["channels"]
        if images.dtype != np.uint8 or images.shape[1:] != (side, side, channels):
            raise ValueError(
                f"images are {images.dtype} {list(images.shape)}; this classifier "
                f"takes uint8 [n, {side}, {side}, {channels}]"
            )
        return compute_logits(make_network(self.info), self.variables, images)


def make_network(info: dict[str, Any]) -> Any:
    """Returns the linen module of a description."""
    return ARCHITECTURES[info["architecture"]](
        num_classes=info["num_classes"], width=info["width"]
    )


def compute_logits(
    network: Any, variables: dict[str, Any], images: np.ndarray
) -> np.ndarray:
    """Returns logits float32 [n, classes] of uint8 [n, r, r, C], batch by batch."""
    return run_in_batches(partial(_apply, network, variables), images, _BATCH)


@partial(jax.jit, static_argnums=0)
def _apply(network: Any, variables: dict[str, Any], images: jax.Array) -> jax.Array:
    return network.apply(variables, images, train=False)


def make_classifier(variables: dict[str, Any], info: dict[str, Any]) -> Classifier:
    """Returns the classifier of trained variables and their description."""
    return Classifier(
        variables, info, hashlib.sha256(_serialise(variables)).hexdigest()
    )


def write_classifier(path: Path, classifier: Classifier) -> None:
    """Writes PATH.safetensors, then PATH.json with the digest of the weights."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(Path(f"{path}.safetensors"), _serialise(classifier.variables))
    info = classifier.info | {"weights_sha256": classifier.digest}
    write_json(Path(f"{path}.json"), seal(info))


def read_classifier(path: Path, fingerprint: str | None = None) -> Classifier:
    """Reads the files of `write_classifier`.

    Args:
      path: Without a suffix.
      fingerprint: Fingerprint of the set it was trained on; None for any.

    Raises:
      UserError: if the files are missing or damaged, or it is of another data set.
    """
    try:
        info = json.loads(Path(f"{path}.json").read_bytes())
        data = Path(f"{path}.safetensors").read_bytes()
        if not is_intact(info):
            raise ValueError(f"{path}.json has changed since it was written")
        digest = info.pop("weights_sha256")
        if hashlib.sha256(data).hexdigest() != digest:
            raise ValueError(f"{path}.safetensors is not the file of {path}.json")
        info.pop(CHECKSUM, None)
        variables = traverse_util.unflatten_dict(load(data), sep="/")
        if jax.tree.map(np.shape, variables) != _shapes(info):
            raise ValueError(f"{path}.json describes other weights")
        classifier = Classifier(variables, info, digest)
        trained_on = f"{info['data_set']['name']} ({info['data_set']['fingerprint']})"
        str(classifier)
    except Exception as error:  # Of files, of JSON, and of fields that are missing.
        raise UserError(
            f"classifier {path} cannot be read ({type(error).__name__}: {error}); "
            f"{_FIX}"
        ) from error
    if fingerprint not in (None, info["data_set"]["fingerprint"]):
        raise UserError(
            f"classifier {path} was trained on {trained_on}, and the images are of "
            f"another set ({fingerprint}); {_FIX}"
        )
    return classifier


def _shapes(info: dict[str, Any]) -> dict[str, Any]:
    """Returns the shapes of the variables of a description."""
    side, channels = info["resolution"], info["channels"]
    images = jax.ShapeDtypeStruct((1, side, side, channels), np.uint8)
    init = partial(make_network(info).init, train=False)
    return jax.tree.map(
        lambda v: v.shape, jax.eval_shape(init, jax.random.key(0), images)
    )


def _serialise(variables: dict[str, Any]) -> bytes:
    flat = traverse_util.flatten_dict(variables, sep="/")
    return save({k: np.ascontiguousarray(v) for k, v in sorted(flat.items())})
