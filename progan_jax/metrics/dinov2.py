"""DINOv2's features: vectors of images by a network that was trained without labels.

They agree better with people's judgement than Inception's, and a discriminator on
networks trained on ImageNet's classes does not know them. Source: Stein et al. 2023,
"Exposing flaws of generative model evaluation metrics and their unfair treatment of
diffusion models"; preprocessing as in their program's default, the network of Oquab et
al. 2023.
"""

from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from progan_jax.errors import MissingWeightsError, UserError
from progan_jax.metrics.extractor import Kind
from progan_jax.models.transformer import VisionTransformer, from_timm, timm_shapes
from progan_jax.weights.weight_files import Weights, check_shapes, read_safetensors

SIDE = 224

# Mean and deviation of ImageNet's pixels in 0..1.
_COLOURS = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


class Model(NamedTuple):
    """A published size of DINOv2.

    Attributes:
      name: Written with every value that was measured with it.
      timm: Name of its weights in timm.
      network: The network.
    """

    name: str
    timm: str
    network: VisionTransformer


def _model(letter: str, timm: str, width: int, depth: int) -> Model:
    network = VisionTransformer(
        width,
        patch=14,
        side=SIDE,
        distilled=False,
        layer_scale=True,
        stored_tokens=37,
        depth=depth,
        overshoot=0.1,
    )
    return Model(f"dinov2-vit{letter}14", f"vit_{timm}_patch14_dinov2", network)


# By the width of their tokens. ViT-L/14 is that of published values.
MODELS = {
    384: _model("s", "small", 384, 12),
    768: _model("b", "base", 768, 12),
    1024: _model("l", "large", 1024, 24),
}


def _load(file: str) -> tuple[Weights, dict[str, Any]]:
    """Reads safetensors with timm's names; sizes tell which model it is."""
    path, names = Path(file).expanduser(), " or ".join(m.timm for m in MODELS.values())
    if not file or not path.is_file():
        kind = UserError if file else MissingWeightsError
        raise kind(
            f"there is no file of DINOv2's weights; name a .safetensors file of timm's "
            f"{names}"
        )
    arrays, _ = read_safetensors(path)
    width = arrays.get("cls_token", np.zeros(())).shape[-1:]
    if width not in {(of,) for of in MODELS}:
        raise UserError(
            f"{file} has no cls_token of one of the widths "
            f"{', '.join(map(str, MODELS))}; name a file of timm's {names}"
        )
    model = MODELS[width[0]]
    expected = timm_shapes(model.network, classifier=True)
    arrays = {name: arrays[name] for name in expected.keys() & arrays.keys()}
    check_shapes(arrays, expected, file)
    params = from_timm(arrays, model.network, classifier=True)
    return Weights(model.name, arrays), {"params": params}


def resize(images: np.ndarray) -> np.ndarray:
    """Resizes uint8 [n, h, w, 1 or 3] to 224x224 by Pillow's bicubic filter.

    It is antialiased, and rounded to whole numbers.
    """
    n, _, _, channels = images.shape
    resized = np.empty((n, SIDE, SIDE, channels), np.uint8)
    for index, image in enumerate(images):
        picture = Image.fromarray(image[:, :, 0] if channels == 1 else image)
        picture = picture.resize((SIDE, SIDE), Image.Resampling.BICUBIC)
        resized[index] = np.asarray(picture).reshape(SIDE, SIDE, channels)
    return resized


def _run(variables: dict[str, Any], images: jax.Array) -> jax.Array:
    mean, deviation = (jnp.asarray(c).reshape(1, 1, 1, 3) for c in _COLOURS)
    x = (images.astype(jnp.float32) / 255 - mean) / deviation
    width = variables["params"]["norm"]["scale"].shape[0]
    with jax.default_matmul_precision("highest"):
        features: Any = MODELS[width].network.apply(variables, x)
    return features


KIND = Kind("cls", "pillow", _load, _run, prepare=resize)
