"""VGG-16's features, by which published precision and recall are measured.

They are the rectified outputs of the second dense layer, 4,096 numbers, of images of
224x224. Source: Kynkaanniemi et al. 2019, section 3. torchvision's weights and the
resizing of TensorFlow 1 are those of torch-fidelity.
"""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from progan_jax.errors import MissingWeightsError, UserError
from progan_jax.metrics.extractor import Kind
from progan_jax.metrics.inception import resize_tf1
from progan_jax.metrics.vgg import VGG, VGG16, WIDTHS, from_torch, vgg_shapes
from progan_jax.weights.torch_files import read_pth
from progan_jax.weights.weight_files import Weights, check_shapes, read_safetensors

SIDE = 224

_CELLS = SIDE // 32  # Along a side of the maps after all pooling.

_WIDTH = 4096

# The dense layers and their places in torchvision's `classifier`.
_DENSE = {"fc1": 0, "fc2": 3}


def _load(file: str) -> tuple[Weights, dict[str, Any]]:
    """Reads torchvision's .pth, or safetensors with its names."""
    path = Path(file).expanduser()
    if not file or not path.is_file():
        kind = UserError if file else MissingWeightsError
        raise kind(
            f"there is no file of VGG-16's weights; name torchvision's {VGG16.file} "
            "(download.pytorch.org/models) or its arrays as safetensors"
        )
    arrays = read_pth(path) if path.suffix == ".pth" else read_safetensors(path)[0]
    ours = from_torch(arrays, VGG16)
    for name, place in _DENSE.items():
        kernel = arrays.get(f"classifier.{place}.weight")
        bias = arrays.get(f"classifier.{place}.bias")
        if kernel is not None and bias is not None:
            ours |= {f"{name}/kernel": kernel.T, f"{name}/bias": bias}
    check_shapes(ours, _shapes(), file)
    first = ours["fc1/kernel"].reshape(WIDTHS[-1], _CELLS, _CELLS, _WIDTH)
    ours["fc1/kernel"] = np.moveaxis(first, 0, 2).reshape(-1, _WIDTH)  # Maps are NHWC.
    weights = Weights(VGG16.name, ours)
    return weights, weights.variables()


def _shapes() -> dict[str, tuple[int, ...]]:
    inputs = _CELLS**2 * WIDTHS[-1]
    dense = {"fc1/kernel": (inputs, _WIDTH), "fc2/kernel": (_WIDTH, _WIDTH)}
    return vgg_shapes(VGG16) | dense | {f"{name}/bias": (_WIDTH,) for name in _DENSE}


def _run(variables: dict[str, Any], images: jax.Array) -> jax.Array:
    images = resize_tf1(images, SIDE)
    colour = jnp.broadcast_to(images, (*images.shape[:-1], 3))
    taps: Any = VGG(VGG16).apply(variables, colour)
    x = nn.max_pool(taps[-1], (2, 2), (2, 2)).reshape(len(images), -1)
    for name in _DENSE:
        layer = variables["params"][name]
        x = jnp.matmul(x, layer["kernel"], precision="highest")
        x = nn.relu(x + layer["bias"].reshape(1, -1))
    return x


# In half precision, as in the authors' program.
KIND = Kind("fc2", "tf1", _load, _run, dtype=np.float16)
