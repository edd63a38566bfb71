"""Weights of Inception: from a file, the cache, the network, PyTorch, or a seed.

The published weights are those that pytorch-fid took from the TensorFlow graph. A
prefix, which ends before the last layers, serves the taps that it reaches. PyTorch's
names are those of torchvision's Inception v3, whose blocks are the graph's in another
notation; each convolution is followed by batch norm with fixed statistics.
"""

import hashlib
import http.client
import math
import sys
import urllib.request
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from progan_jax.errors import MissingWeightsError, UserError
from progan_jax.files import write_whole
from progan_jax.metrics.inception_graph import LOGITS, TAPS, parameter_shapes
from progan_jax.weights.kinds import NPZ, PYTORCH, check_kind
from progan_jax.weights.torch_files import read_pth
from progan_jax.weights.unpickling import Budget
from progan_jax.weights.weight_files import (
    CACHE_VARIABLE,
    Weights,
    cache_dir,
    check_shapes,
    read_weights,
)

_EPSILON = 0.001  # Of the graph's batch norm.

_NORM = ("weight", "bias", "running_mean", "running_var")

_STEM = {
    "conv": "Conv2d_1a_3x3",
    "conv_1": "Conv2d_2a_3x3",
    "conv_2": "Conv2d_2b_3x3",
    "conv_3": "Conv2d_3b_1x1",
    "conv_4": "Conv2d_4a_3x3",
}

_BLOCKS = {
    "mixed": "Mixed_5b",
    "mixed_1": "Mixed_5c",
    "mixed_2": "Mixed_5d",
    "mixed_3": "Mixed_6a",
    "mixed_4": "Mixed_6b",
    "mixed_5": "Mixed_6c",
    "mixed_6": "Mixed_6d",
    "mixed_7": "Mixed_6e",
    "mixed_8": "Mixed_7a",
    "mixed_9": "Mixed_7b",
    "mixed_10": "Mixed_7c",
}

# Branches by the first part of a block's name there: scope here, name there, and
# the suffixes of its convolutions.
_BRANCHES = {
    "Mixed_5": {
        "": ("branch1x1", [""]),
        "tower": ("branch5x5", ["_1", "_2"]),
        "tower_1": ("branch3x3dbl", ["_1", "_2", "_3"]),
        "tower_2": ("branch_pool", [""]),
    },
    "Mixed_6a": {
        "": ("branch3x3", [""]),
        "tower": ("branch3x3dbl", ["_1", "_2", "_3"]),
    },
    "Mixed_6": {
        "": ("branch1x1", [""]),
        "tower": ("branch7x7", ["_1", "_2", "_3"]),
        "tower_1": ("branch7x7dbl", ["_1", "_2", "_3", "_4", "_5"]),
        "tower_2": ("branch_pool", [""]),
    },
    "Mixed_7a": {
        "tower": ("branch3x3", ["_1", "_2"]),
        "tower_1": ("branch7x7x3", ["_1", "_2", "_3", "_4"]),
    },
    "Mixed_7": {
        "": ("branch1x1", [""]),
        "tower": ("branch3x3", ["_1"]),
        "tower/mixed": ("branch3x3", ["_2a", "_2b"]),
        "tower_1": ("branch3x3dbl", ["_1", "_2"]),
        "tower_1/mixed": ("branch3x3dbl", ["_3a", "_3b"]),
        "tower_2": ("branch_pool", [""]),
    },
}


def torch_names() -> dict[str, str]:
    """Returns PyTorch's name of each convolution by ours."""
    names = dict(_STEM)
    for block, theirs in _BLOCKS.items():
        branches = _BRANCHES.get(theirs) or _BRANCHES[theirs[:-1]]
        for scope, (branch, suffixes) in branches.items():
            for index, suffix in enumerate(suffixes):
                conv = f"conv_{index}" if index else "conv"
                ours = "/".join(filter(None, (block, scope, conv)))
                names[ours] = f"{theirs}.{branch}{suffix}"
    return names


def from_torch(state: Mapping[str, np.ndarray], source: str) -> dict[str, np.ndarray]:
    """Converts the state dictionary of pytorch-fid's network.

    Batch norm is folded into the convolutions, in float64. The bias of the logits is
    left out: no figure uses it. Counters of batches have no meaning here.

    Args:
      state: By PyTorch's names; kernels OIHW.
      source: For messages.

    Raises:
      UserError: if an array is missing, superfluous or of another shape.
    """
    state = {k: v for k, v in state.items() if not k.endswith("num_batches_tracked")}
    check_shapes(state, _torch_shapes(), source)
    arrays = {"softmax/kernel": state["fc.weight"].T}
    for name, theirs in torch_names().items():
        norm = (state[f"{theirs}.bn.{part}"].astype(np.float64) for part in _NORM)
        gain, shift, mean, variance = norm
        scale = gain / np.sqrt(variance + _EPSILON)
        kernel = state[f"{theirs}.conv.weight"].transpose(2, 3, 1, 0) * scale
        arrays[f"{name}/kernel"] = kernel.astype(np.float32)
        arrays[f"{name}/bias"] = (shift - mean * scale).astype(np.float32)
    return arrays


def read_npz(path: Path) -> dict[str, np.ndarray]:
    """Reads an .npz file whose arrays have our names.

    Raises:
      UserError: if it cannot be read.
    """
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


def _torch_shapes() -> dict[str, tuple[int, ...]]:
    """Returns the shapes of the arrays by PyTorch's names."""
    ours = parameter_shapes("logits")
    features, classes = ours["softmax/kernel"]
    shapes = {"fc.weight": (classes, features), "fc.bias": (classes,)}
    for name, theirs in torch_names().items():
        height, width, inputs, outputs = ours[f"{name}/kernel"]
        shapes[f"{theirs}.conv.weight"] = (outputs, inputs, height, width)
        shapes |= {f"{theirs}.bn.{part}": (outputs,) for part in _NORM}
    return shapes


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
