"""VGG-19 features for nearest neighbours, from weights that the user provides.

The paper looks for neighbours by the activations of five VGG layers, as Chen & Koltun
2017 ("Photographic Image Synthesis with Cascaded Refinement Networks") compare images:
the rectified outputs of conv1_2 to conv5_2. How the five are weighted it does not say;
here the squared distance of two vectors is the sum of the layers' mean squared
differences. Pooling is that of VGG-19 itself, the largest of 2x2.
"""

import math
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax.sharding import NamedSharding

from progan_jax.errors import UserError
from progan_jax.metrics.inputs import Features, replicate, run_in_batches
from progan_jax.weights.kinds import PYTORCH, PYTORCH_ZIP, check_kind
from progan_jax.weights.torch_files import check_named_hash, read_pth
from progan_jax.weights.weight_files import Weights, check_shapes, read_safetensors

TAPS = ("conv1_2", "conv2_2", "conv3_2", "conv4_2", "conv5_2")

WIDTHS = (64, 128, 256, 512, 512)

SMALLEST_SIDE = 16  # Four times halved, one pixel is left.

_CONVOLUTIONS = (2, 2, 4, 4, 2)  # Of each stage, as far as conv5_2.

# Mean and deviation of ImageNet's pixels in 0..1, with which torchvision's weights were
# trained.
_COLOURS = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


class VGG19(nn.Module):
    """VGG-19 up to conv5_2 (Simonyan & Zisserman 2015, configuration E).

    Attributes:
      widths: Maps of the five stages.
      precision: Of the convolutions: "highest" or "default".
    """

    widths: tuple[int, ...] = WIDTHS
    precision: str = "highest"

    @nn.compact
    def __call__(self, images: jax.Array) -> list[jax.Array]:
        """Maps [n, h, w, 3], RGB in 0..255 of any dtype, to the maps of TAPS."""
        mean, stddev = (jnp.reshape(jnp.asarray(c), (1, 1, 1, 3)) for c in _COLOURS)
        x = (images.astype(jnp.float32) / 255 - mean) / stddev
        taps = []
        for stage, width in enumerate(self.widths, 1):
            if stage > 1:
                x = nn.max_pool(x, (2, 2), (2, 2))
            for index in range(1, _CONVOLUTIONS[stage - 1] + 1):
                name = f"conv{stage}_{index}"
                conv = nn.Conv(width, (3, 3), precision=self.precision, name=name)
                x = nn.relu(conv(x))
                taps += [x] if name in TAPS else []
        return taps


def vgg_features(
    weights: Weights,
    side: int,
    *,
    grid: int = 8,
    precision: str = "highest",
    batch_size: int = 16,
    sharding: NamedSharding | None = None,
) -> Features:
    """Returns the features of square images that are taken at their own size.

    Args:
      weights: From `load_vgg`.
      side: Of the images, from 16.
      grid: Each map is averaged over at most grid x grid equal cells, which bounds the
        vectors (94,208 numbers at 8); `side` keeps whole maps (30 MB for an image of
        256x256).
      precision: See `InceptionExtractor`.
      batch_size: Images at a time, over all devices.
      sharding: Of the batch axis over several devices; None for one device.

    Raises:
      ValueError: if the images are too small.
    """
    if side < SMALLEST_SIDE:
        raise ValueError(f"images of side {side} must have {SMALLEST_SIDE} at least")
    variables = replicate(weights.variables(weights.arrays), sharding)
    network = VGG19(precision=precision)
    run = partial(jax.jit(partial(_vectors, network, grid=grid)), variables)

    def extract(images: np.ndarray) -> np.ndarray:
        if images.shape[1:3] != (side, side):
            raise ValueError(f"images {images.shape} must be of side {side}")
        return run_in_batches(run, images, batch_size, sharding)

    cells = [_cells(side >> stage, grid) for stage in range(len(WIDTHS))]
    return Features(
        f"{weights.name}/{'+'.join(TAPS)}/grid{grid}",
        weights.fingerprint,
        "none",
        sum(c**2 * width for c, width in zip(cells, WIDTHS, strict=True)),
        extract,
    )


def load_vgg(file: Path | None) -> Weights:
    """Reads VGG-19's weights.

    Args:
      file: torchvision's vgg19-dcbb9e9d.pth, or safetensors with its names
        (`features.N.weight`, `features.N.bias`) or ours (`conv1_1/kernel`, ...). Layers
        above conv5_2 may be there and are not used.

    Raises:
      UserError: if there is none, or it is damaged or of another network.
    """
    if file is None or not file.is_file():
        raise UserError(
            f"VGG-19 weights: there is no file {file}; name torchvision's "
            "vgg19-dcbb9e9d.pth or its arrays as safetensors (see docs/metrics.md)"
        )
    if file.suffix == ".pth":
        data = file.read_bytes()
        check_kind(
            file, "vgg19-dcbb9e9d.pth", "download it again", (PYTORCH, PYTORCH_ZIP)
        )
        check_named_hash(file, data)
        arrays = read_pth(file, data)
    else:
        arrays, _ = read_safetensors(file)
    if any(name.startswith("features.") for name in arrays):
        arrays = _from_torch(arrays)
    shapes = _shapes()
    arrays = {name: arrays[name] for name in arrays.keys() & shapes.keys()}
    check_shapes(arrays, shapes, str(file))
    return Weights("vgg19", arrays)


def _vectors(network: VGG19, variables, images: jax.Array, *, grid: int) -> jax.Array:
    colour = jnp.broadcast_to(images, (*images.shape[:-1], 3))
    taps: Any = network.apply(variables, colour)
    maps = [_pool(x, grid) for x in taps]
    return jnp.concatenate([x / math.sqrt(x.shape[1]) for x in maps], axis=1)


def _pool(x: jax.Array, grid: int) -> jax.Array:
    """Averages [n, s, s, C] over equal cells and flattens it."""
    n, side, _, channels = x.shape
    cells = _cells(side, grid)
    x = x.reshape(n, cells, side // cells, cells, side // cells, channels)
    return jnp.mean(x, axis=(2, 4)).reshape(n, -1)


def _cells(side: int, grid: int) -> int:
    """Returns the largest number of equal cells along a side, at most `grid`."""
    return next(n for n in range(min(side, grid), 0, -1) if side % n == 0)


def _torch_indices() -> dict[str, int]:
    """Returns the place of each convolution among torchvision's layers."""
    indices, place = {}, 0
    for stage, count in enumerate(_CONVOLUTIONS, 1):
        for index in range(1, count + 1):
            indices[f"conv{stage}_{index}"] = place
            place += 2  # The convolution and its rectifier.
        place += 1  # The pooling after the stage.
    return indices


def _from_torch(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    ours = {}
    for name, index in _torch_indices().items():
        kernel, bias = (
            arrays.get(f"features.{index}.{part}") for part in ("weight", "bias")
        )
        if kernel is not None and kernel.ndim == 4 and bias is not None:
            ours |= {
                f"{name}/kernel": kernel.transpose(2, 3, 1, 0),
                f"{name}/bias": bias,
            }
    return ours


def _shapes() -> dict[str, tuple[int, ...]]:
    image = jax.ShapeDtypeStruct((1, SMALLEST_SIDE, SMALLEST_SIDE, 3), jnp.float32)
    layers = jax.eval_shape(VGG19().init, jax.random.key(0), image)["params"]
    return {
        f"{layer}/{name}": array.shape
        for layer, arrays in layers.items()
        for name, array in arrays.items()
    }
