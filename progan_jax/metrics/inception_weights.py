"""Where the Inception weights come from: a file, the cache, the network or a seed.

The published weights are those that pytorch-fid took from the TensorFlow graph. A
prefix, which ends before the last layers, serves the taps that it reaches.
"""

import hashlib
import http.client
import math
import sys
import urllib.request
from pathlib import Path

import numpy as np

from progan_jax.errors import MissingWeightsError, UserError
from progan_jax.files import write_whole
from progan_jax.metrics.cache import CACHE_VARIABLE, cache_dir
from progan_jax.metrics.inception_convert import from_torch, read_npz
from progan_jax.metrics.inception_graph import parameter_shapes
from progan_jax.metrics.inception_layers import LOGITS, TAPS
from progan_jax.metrics.pth import read_pth
from progan_jax.metrics.weights import Weights, check_shapes, read_weights
from progan_jax.official.kinds import PYTORCH, check_kind

NAME = "inception-2015-12-05"
PREFIX_NAME = f"{NAME}-prefix"
CONVERTED = f"{NAME}.safetensors"
PUBLISHED = "pt_inception-2015-12-05-6726825d.pth"
URL = (
    f"https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/{PUBLISHED}"
)
# Its first eight digits are in the file's name.
SHA256 = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"
_TIMEOUT_SEC = 60


def load_inception(file: Path | None = None) -> Weights:
    """Returns Inception weights from a file, the cache, or downloaded into the cache.

    Args:
      file: .safetensors as `tools.convert_inception` writes it, pytorch-fid's .pth, or
        a prefix in .npz. None for the cache, where either of the first two may lie.

    Raises:
      UserError: if there are none, or they are damaged or of another network.
    """
    return read_inception(file or _find())


def read_inception(file: Path) -> Weights:
    """Reads one file, of any of the kinds that `load_inception` takes."""
    if not file.is_file():
        what = "it is a folder" if file.is_dir() else "there is no such file"
        raise UserError(f"{file}: {what}; name a file of Inception weights")
    weights = _READERS.get(file.suffix, read_weights)(file)
    check_shapes(weights.arrays, parameter_shapes(highest_tap(weights)), str(file))
    return weights


def require_tap(weights: Weights, tap: str) -> None:
    """Raises MissingWeightsError unless the weights reach a tap."""
    if tap not in TAPS:
        raise UserError(
            f"{tap!r} is no tap of Inception; choose from {', '.join(TAPS)}"
        )
    reached = highest_tap(weights)
    order = list(TAPS)
    if order.index(tap) > order.index(reached):
        raise MissingWeightsError(
            f"tap {tap} is beyond the weights {weights.name}, which end at {reached}; "
            f"get {PUBLISHED} (see docs/metrics.md), or ask for no figure of that tap"
        )


def highest_tap(weights: Weights) -> str:
    """Returns the highest tap that the weights reach, the lowest if they reach none."""
    there = weights.arrays.keys()
    reached = [tap for tap in TAPS if parameter_shapes(tap).keys() <= there]
    return reached[-1] if reached else next(iter(TAPS))


def random_inception(seed: int) -> Weights:
    """Returns random weights of the whole graph, for rFID.

    Kernels are drawn from N(0, 2 / fan-in), which keeps the scale of rectified maps (He
    et al. 2015), those of the logits from N(0, 1 / fan-in); biases are zero. Numbers
    are comparable for one seed only, and not with figures of other programs.

    Args:
      seed: Of NumPy's default generator.
    """
    random = np.random.default_rng(seed)
    arrays = {}
    for name, shape in parameter_shapes("logits").items():
        if name.endswith("bias"):
            arrays[name] = np.zeros(shape, np.float32)
            continue
        variance = (1 if name.startswith(LOGITS) else 2) / math.prod(shape[:-1])
        scale = np.float32(math.sqrt(variance))
        arrays[name] = random.standard_normal(shape, np.float32) * scale
    return Weights(f"inception-random-{seed}", arrays)


def _read_published(file: Path) -> Weights:
    data = file.read_bytes()
    if (found := hashlib.sha256(data).hexdigest()) != SHA256:
        check_kind(file, PUBLISHED, f"fetch that from {URL}", (PYTORCH,))
        raise UserError(
            f"{file} has the SHA-256 {found[:8]}... and must have {SHA256[:8]}...; "
            f"download it again from {URL}"
        )
    return Weights(NAME, from_torch(read_pth(file, data), str(file)))


def _read_prefix(file: Path) -> Weights:
    return Weights(PREFIX_NAME, read_npz(file))


_READERS = {".pth": _read_published, ".npz": _read_prefix}


def _find() -> Path:
    folder = cache_dir()
    for name in (PUBLISHED, CONVERTED):
        if (folder / name).exists():
            return folder / name
    return _download(folder / PUBLISHED)


def _download(path: Path) -> Path:
    print(f"fetching {URL} into {path.parent}", file=sys.stderr)
    try:
        with urllib.request.urlopen(URL, timeout=_TIMEOUT_SEC) as response:
            data = response.read()
    except (OSError, http.client.HTTPException) as error:
        raise MissingWeightsError(
            f"there are no Inception weights in {path.parent}, and {URL} cannot be "
            f"fetched ({error}); put that file there as {path.name}"
        ) from error
    if hashlib.sha256(data).hexdigest() != SHA256:
        raise UserError(f"{URL} came damaged or changed; try again")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, data)
    except OSError as error:
        raise UserError(
            f"{path.parent} cannot be written ({error}); name another folder in "
            f"{CACHE_VARIABLE}"
        ) from error
    return path
