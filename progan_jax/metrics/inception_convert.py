"""Turns published forms of the Inception weights into ours.

PyTorch's names are those of torchvision's Inception v3, whose blocks are the graph's in
another notation; each convolution is followed by batch norm with fixed statistics.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from progan_jax.errors import UserError
from progan_jax.metrics.inception_graph import parameter_shapes
from progan_jax.metrics.weights import check_shapes
from progan_jax.official.kinds import NPZ, check_kind
from progan_jax.official.unpickling import Budget

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
