"""A score and a class histogram from a classifier that this project has trained.

They serve where there are no weights of Inception. The formula is that of the Inception
Score, the classifier is another: values are comparable only under the same classifier,
and never with published Inception Scores. `tools.train_classifier` writes the file. The
two networks, one for any set, one for digits, are cheap on a CPU: about 33 and 15
million floating-point operations for an image of 32x32 pixels.
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
from progan_jax.metrics.inception_score import score_from_logits
from progan_jax.metrics.inputs import Measurement

_LOGIT_SCALE = 0.125  # Keeps the first steps calm: the largest values are large.


class ResidualClassifier(nn.Module):
    """A residual network that works at half the resolution and below.

    Blocks of 2x2 pixels are taken as channels, so that the costly full resolution is
    left at once. Each stage halves the side, doubles the maps and adds a residual
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
    stacked MNIST; the 3x3 kernels, the normalisation and the pooling are ours.

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


LABEL = "classifier score"

SIDES = (8, 16, 32, 64)  # Of the images, in pixels.

_BATCH = 256

_MEND = "train one with: python -m progan_jax.tools.train_classifier"

_FIELDS = {
    "architecture": str,
    "width": int,
    "num_classes": int,
    "resolution": int,
    "channels": int,
    "data_set": dict,
    "test_accuracy": float,
}

_SET_FIELDS = {"name": str, "fingerprint": str}


@dataclass(frozen=True)
class Classifier:
    """A trained classifier.

    Attributes:
      variables: Parameters and running statistics, nested arrays.
      info: What JSON can hold: architecture, width, num_classes, resolution,
        channels, data_set (name, split, fingerprint), test_accuracy, training.
      digest: Of the weights, by which a figure names them.
    """

    variables: dict[str, Any]
    info: dict[str, Any]
    digest: str

    def __str__(self) -> str:
        """Returns the words by which a figure names its classifier."""
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


@dataclass(frozen=True)
class ClassifierScore:
    """The figures of one set of images, never to be called Inception Score.

    Attributes:
      mean: Over the splits, from 1 to the number of classes.
      std: Over the splits.
      splits: Number of them.
      histogram: Images that fall into each class.
      classifier: Names the classifier.
    """

    mean: float
    std: float
    splits: int
    histogram: tuple[int, ...]
    classifier: str

    def __str__(self) -> str:
        """Returns the line that may stand in a table."""
        return f"{LABEL} {self.mean:.3f} +- {self.std:.3f} ({self.classifier})"


def measure(images: Measurement) -> dict[str, float]:
    """Returns the score over the splits, and the share of each class."""
    whole = np.concatenate(list(images.chunks()))
    score = classifier_score(images.classifier(), whole, **images.constants)
    shares = np.array(score.histogram) / len(whole)
    return {
        "classifier_score_mean": score.mean,
        "classifier_score_std": score.std,
        **{f"classifier_share_{c}": share for c, share in enumerate(shares)},
    }


def classifier_score(
    classifier: Classifier, images: np.ndarray, splits: int = 10
) -> ClassifierScore:
    """Scores images: exp of the mean KL divergence of p(y|x) from the mean p(y).

    Args:
      classifier: Of the data set that the images are to resemble.
      images: uint8 [n, r, r, C], n at least `splits`; see `Classifier.logits`.
      splits: Contiguous parts, each with its own p(y).
    """
    logits = classifier.logits(images)
    mean, std = score_from_logits(logits, splits)
    counts = np.bincount(logits.argmax(1), minlength=logits.shape[1])
    return ClassifierScore(mean, std, splits, tuple(counts.tolist()), str(classifier))


def make_network(info: dict[str, Any]) -> Any:
    """Returns the linen module that a description names."""
    return ARCHITECTURES[info["architecture"]](
        num_classes=info["num_classes"], width=info["width"]
    )


def compute_logits(
    network: Any, variables: dict[str, Any], images: np.ndarray
) -> np.ndarray:
    """Returns logits float32 [n, classes] of uint8 [n, r, r, C], batch by batch."""
    parts = []
    for start in range(0, len(images), _BATCH):
        chunk = images[start : start + _BATCH]
        # A short last batch is filled up, so that one program serves for all.
        blank = np.zeros((_BATCH - len(chunk), *chunk.shape[1:]), np.uint8)
        logits = _apply(network, variables, np.concatenate([chunk, blank]))
        parts.append(np.asarray(logits)[: len(chunk)])
    return np.concatenate(parts)


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
    write_whole(_weights(path), _serialise(classifier.variables))
    info = classifier.info | {"weights_sha256": classifier.digest}
    write_json(_info(path), seal(info))


def read_classifier(path: Path, fingerprint: str | None = None) -> Classifier:
    """Reads what `write_classifier` wrote.

    Args:
      path: Without a suffix.
      fingerprint: Of the data set that it must have been trained on; None for any.

    Raises:
      UserError: if the files are missing or damaged, or it is of another data set.
    """
    info = _read_info(path)
    if not is_intact(info):
        raise _refusal(path, f"{_info(path)} has changed since it was written")
    info.pop(CHECKSUM, None)
    digest = info.pop("weights_sha256", None)
    try:
        data = _weights(path).read_bytes()
    except OSError as error:
        raise _refusal(path, f"its weights cannot be read ({error})") from error
    if hashlib.sha256(data).hexdigest() != digest:
        raise _refusal(path, "its weights are damaged (their checksum differs)")
    trained_on = info["data_set"]
    if fingerprint not in (None, trained_on["fingerprint"]):
        raise _refusal(
            path,
            f"it was trained on {trained_on['name']} "
            f"({trained_on['fingerprint'][:8]}), and the images are of another set "
            f"({fingerprint[:8]})",
        )
    variables = traverse_util.unflatten_dict(load(data), sep="/")
    if jax.tree.map(np.shape, variables) != _shapes(info):
        raise _refusal(path, f"{_info(path)} describes other weights")
    return Classifier(variables, info, digest)


def _shapes(info: dict[str, Any]) -> dict[str, Any]:
    """Returns the shapes of the variables that a description asks for."""
    side, channels = info["resolution"], info["channels"]
    images = jax.ShapeDtypeStruct((1, side, side, channels), np.uint8)
    init = partial(make_network(info).init, train=False)
    return jax.tree.map(
        lambda v: v.shape, jax.eval_shape(init, jax.random.key(0), images)
    )


def _read_info(path: Path) -> dict[str, Any]:
    try:
        info = json.loads(_info(path).read_text())
    except FileNotFoundError as error:
        raise _refusal(path, f"there is no {_info(path)}") from error
    except (OSError, ValueError, RecursionError) as error:
        raise _refusal(path, f"its description cannot be read ({error})") from error
    if not (
        _is_whole(info, _FIELDS)
        and _is_whole(info["data_set"], _SET_FIELDS)
        and info["resolution"] in SIDES
        and info["channels"] in (1, 3)
        and min(info["width"], info["num_classes"]) > 0
    ):
        raise _refusal(path, f"{_info(path)} does not describe a classifier")
    if info["architecture"] not in ARCHITECTURES:
        raise _refusal(
            path, f"architecture {info['architecture']!r} is not one of this version"
        )
    return info


def _is_whole(info: Any, fields: dict[str, type]) -> bool:
    return isinstance(info, dict) and all(
        isinstance(info.get(name), kind) for name, kind in fields.items()
    )


def _refusal(path: Path, what: str) -> UserError:
    return UserError(f"classifier {path}: {what}; name another file, or {_MEND}")


def _serialise(variables: dict[str, Any]) -> bytes:
    flat = traverse_util.flatten_dict(variables, sep="/")
    return save({k: np.ascontiguousarray(v) for k, v in sorted(flat.items())})


def _weights(path: Path) -> Path:
    return path.with_name(path.name + ".safetensors")


def _info(path: Path) -> Path:
    return path.with_name(path.name + ".json")
