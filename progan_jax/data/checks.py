"""Checks of an image set; each raises UserError with the fix."""

from pathlib import Path
from typing import Any

import numpy as np

from progan_jax.data.names import first_few
from progan_jax.data.records import find_feature
from progan_jax.errors import UserError
from progan_jax.models.common import RESOLUTIONS


def check_split(name: str, split: str, sizes: dict[str, int]) -> None:
    """Refuses a split that is missing or empty; `sizes` are the numbers of images."""
    if not sizes.get(split):
        known = ", ".join(known for known, size in sizes.items() if size)
        raise UserError(
            f"config.data.split = {split!r}: {name} has no images in such a split; "
            f"choose one of: {known}"
        )


def check_features(name: str, features: Any, wanted: str = "image") -> None:
    """Refuses TFDS features unless `wanted` holds grey or RGB images of bytes."""
    image = find_feature(features, wanted)
    if image is None:
        raise UserError(
            f"config.data.name = {name!r}: its features "
            f"({', '.join(sorted(features))}) have no {wanted!r}; choose a set of "
            "images, or prepare it with prepare_data --image_feature=NAME"
        )
    shape = image.shape if isinstance(image.shape, tuple) else ()
    if image.np_dtype != np.uint8 or shape[2:] not in ((1,), (3,), (None,)):
        kind = f"{np.dtype(image.np_dtype)} {list(shape)}" if shape else "no image"
        raise UserError(
            f"config.data.name = {name!r}: its {wanted!r} is {kind}, and must be uint8 "
            "[h, w, 1 or 3]; choose another set"
        )


def check_size(name: str, shape: tuple[int, ...], resolution: int) -> None:
    """Refuses images [h, w, ...] unless both sides are `resolution`."""
    h, w = shape[:2]
    if h != w:
        raise UserError(
            f"config.data.name = {name!r}: its images are {h}x{w}, and must be square; "
            "choose another set"
        )
    if h != resolution:
        lower = f", or train stages up to {h}x{h}" if h in RESOLUTIONS else ""
        raise UserError(
            f"config.model.resolution = {resolution}: the images of {name} are "
            f"{h}x{w}, and must be {resolution}x{resolution}, as those of the last "
            f"stage; prepare them by prepare_data --resolution={resolution}{lower}"
        )


def check_memory(name: str, shape: tuple[int, ...], max_memory_mib: float) -> None:
    """Refuses images uint8 `shape` whose pyramid is larger than `max_memory_mib`."""
    # The smaller levels add 1/4, 1/16, ...: a third in all.
    needed_mib = np.prod(shape, dtype=np.float64) * 4 / 3 / 2**20
    if needed_mib > max_memory_mib:
        raise UserError(
            f"config.data.name = {name!r}: its pyramid takes {needed_mib:,.1f} MiB of "
            f"memory, more than config.data.max_memory_mib = {max_memory_mib:g}; raise "
            "the limit if the machine has the memory, or choose a smaller set"
        )


# Sets that TFDS does not know by these names, and the recipe that has the command.
_RECIPES = {
    "celeba": "celeba",
    "celeba_hq": "celeba_hq",
    "lsun": "lsun",
    "stacked_mnist": "mnist_modes",
}


def preparation(name: str, root: Path) -> str:
    """Returns how to prepare a set NAME or NAME/CONFIG in the folder of sets `root`."""
    import tensorflow_datasets as tfds

    first = name.partition("/")[0]
    if first in _RECIPES:
        return f"prepare it by the command in configs/{_RECIPES[first]}.py"
    if first not in tfds.list_builders(with_community_datasets=False):
        return "prepare your images by progan_jax.tools.prepare_data"
    configs = [config.name for config in tfds.builder_cls(first).BUILDER_CONFIGS or []]
    if configs and "/" not in name:
        return (
            f"name one of the configurations of {name} as {name}/CONFIG: "
            f"{first_few(configs)}"
        )
    # Not `tfds build`: that command also needs Apache Beam and mlcroissant.
    return (
        "prepare it by: pip install tensorflow-cpu importlib_resources && "
        'python -c "import '
        f"tensorflow_datasets as tfds; tfds.builder('{name}', data_dir='{root}', "
        "file_format='array_record').download_and_prepare()\""
    )
