"""Weights of Inception: from a file, the cache, the network, PyTorch, or a seed.

The published weights are those that pytorch-fid took from the TensorFlow graph. A
prefix, which ends before the last layers, has weights for the taps that it reaches.
"""

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from progan_jax.errors import MissingWeightsError, UserError
from progan_jax.metrics.inception_graph import (
    LOGITS,
    TAPS,
    convolution_names,
    parameter_shapes,
)
from progan_jax.weights.downloads import UnreachableError, download
from progan_jax.weights.kinds import NPZ, check_kind
from progan_jax.weights.torch_files import read_pth
from progan_jax.weights.unpickling import Budget
from progan_jax.weights.weight_files import (
    Weights,
    cache_dir,
    check_shapes,
    read_weights,
)

_EPSILON = 0.001  # Of the graph's batch norm.

_NORM = ("weight", "bias", "running_mean", "running_var")


def from_torch(state: Mapping[str, np.ndarray], source: str) -> dict[str, np.ndarray]:
    """Converts the state dictionary of pytorch-fid's network, a torchvision Inception.

    Each convolution there is followed by batch norm with fixed statistics, which is
    folded into the convolution in float64. The bias of the logits is dropped: no metric
    uses it.

    Args:
      state: By PyTorch's names; kernels OIHW.
      source: The file, for messages.

    Raises:
      UserError: if it is the state of another network.
    """
    convolutions = {
        name.removesuffix(".conv.weight"): None
        for name in state
        if name.endswith(".conv.weight")
    }
    # In the order of their names PyTorch's layers are those of the graph, but for the
    # branch of 5x5, which comes before that of 3x3.
    theirs = sorted(convolutions, key=lambda name: name.replace("5x5", "2x2"))
    ours = convolution_names()
    if len(theirs) != len(ours) or "fc.weight" not in state:
        raise UserError(f"{source}: these are weights of another network")
    arrays = {f"{LOGITS}/kernel": state["fc.weight"].T}
    for name, torch_name in zip(ours, theirs, strict=True):
        gain, shift, mean, variance = (
            state[f"{torch_name}.bn.{part}"].astype(np.float64) for part in _NORM
        )
        scale = gain / np.sqrt(variance + _EPSILON)
        kernel = state[f"{torch_name}.conv.weight"].transpose(2, 3, 1, 0) * scale
        arrays[f"{name}/kernel"] = kernel.astype(np.float32)
        arrays[f"{name}/bias"] = (shift - mean * scale).astype(np.float32)
    return arrays


NAME = "inception-2015-12-05"

PREFIX_NAME = f"{NAME}-prefix"

CONVERTED = f"{NAME}.safetensors"

PUBLISHED = "pt_inception-2015-12-05-6726825d.pth"

URL = (
    f"https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/{PUBLISHED}"
)

# Its first eight digits are in the file's name.
SHA256 = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"


def load_inception(file: Path | None = None) -> Weights:
    """Returns Inception weights from a file, the cache, or downloaded into the cache.

    Args:
      file: .safetensors as `tools.convert_inception` writes it, pytorch-fid's .pth, or
        a prefix in .npz. None for the cache, which may have either of the first two.

    Raises:
      UserError: if there are none, or they are damaged or of another network.
    """
    return read_inception(file or _find())


def read_inception(file: Path) -> Weights:
    """Reads one file, of any of the kinds that `load_inception` takes."""
    if not file.is_file():
        what = "it is a folder" if file.is_dir() else "there is no such file"
        raise UserError(f"{file}: {what}; name a file of Inception weights")
    if file.suffix == ".pth":
        weights = Weights(NAME, from_torch(read_pth(file, SHA256), str(file)))
    elif file.suffix == ".npz":
        weights = Weights(PREFIX_NAME, _read_npz(file))
    else:
        weights = read_weights(file)
    check_shapes(weights.arrays, parameter_shapes(highest_tap(weights)), str(file))
    return weights


def require_tap(weights: Weights, tap: str) -> None:
    """Raises MissingWeightsError unless the weights reach a tap of TAPS."""
    reached = highest_tap(weights)
    order = list(TAPS)
    if order.index(tap) > order.index(reached):
        raise MissingWeightsError(
            f"tap {tap} is beyond the weights {weights.name}, which end at {reached}; "
            f"get {PUBLISHED} (see docs/metrics.md), or leave that tap out"
        )


def highest_tap(weights: Weights) -> str:
    """Returns the highest tap that the weights reach, the lowest if they reach none."""
    there = weights.arrays.keys()
    reached = [tap for tap in TAPS if parameter_shapes(tap).keys() <= there]
    return reached[-1] if reached else next(iter(TAPS))


def random_inception(seed: int) -> Weights:
    """Returns random weights of all layers, for rFID.

    Kernels are drawn from N(0, 2 / fan-in), which keeps the scale of rectified maps (He
    et al. 2015, eq. 10), those of the logits from N(0, 1 / fan-in); biases are zero.
    Values are comparable for one seed only, and not with those of other programs.

    Args:
      seed: Seed of NumPy's default generator.
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


def _read_npz(path: Path) -> dict[str, np.ndarray]:
    check_kind(path, "NumPy's arrays (.npz)", "name a file of that format", (NPZ,))
    try:
        # NumPy leaves a file open that it cannot read.
        with path.open("rb") as stream, np.load(stream) as file:
            members = file.zip.infolist()
            Budget(path.stat().st_size).take(sum(m.file_size for m in members))
            return {name: file[name] for name in file}
    except Exception as error:  # Of zip files, of NumPy and of the system.
        raise UserError(
            f"{path} cannot be read ({error}); download it again"
        ) from error


def _find() -> Path:
    folder = cache_dir()
    for name in (PUBLISHED, CONVERTED):
        if (folder / name).exists():
            return folder / name
    return _download(folder / PUBLISHED)


def _download(path: Path) -> Path:
    try:
        download(URL, path, SHA256)
    except UnreachableError as error:
        raise MissingWeightsError(
            f"there are no Inception weights in {path.parent}, and {error}, or put "
            f"that file there as {path.name}"
        ) from error
    return path
