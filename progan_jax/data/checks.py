"""What an image set must be; each check raises UserError with the fix.

Among the fixes is the command that prepares a missing set.
"""

from pathlib import Path
from typing import Any

import numpy as np

from progan_jax.data.records import find_feature
from progan_jax.errors import UserError


def check_split(name: str, split: str, sizes: dict[str, int]) -> None:
    """Refuses a split that is not there or empty; `sizes` has the images of each."""
    if not sizes.get(split):
        known = ", ".join(known for known, size in sizes.items() if size)
        raise UserError(
            f"config.data.split = {split!r}: {name} has no images of such a split; "
            f"choose one of: {known}"
        )


def check_features(name: str, features: Any, wanted: str = "image") -> None:
    """Refuses TFDS features unless `wanted` holds bytes of grey or RGB images."""
    image = find_feature(features, wanted)
    if image is None:
        raise UserError(
            f"config.data.name = {name!r}: its features "
            f"({', '.join(sorted(features))}) hold no {wanted!r}; choose a set of "
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
        raise UserError(
            f"config.model.resolution = {resolution}: the images of {name} are "
            f"{h}x{w}, and must be {resolution}x{resolution}; change the resolution, "
            "or choose a set of that size"
        )


def check_memory(name: str, shape: tuple[int, ...], max_memory_mib: float) -> None:
    """Refuses images uint8 `shape` whose pyramid is larger than `max_memory_mib`."""
    # The smaller levels add a quarter, a sixteenth ...: a third in all.
    needed_mib = np.prod(shape, dtype=np.float64) * 4 / 3 / 2**20
    if needed_mib > max_memory_mib:
        raise UserError(
            f"config.data.name = {name!r}: its pyramid takes {needed_mib:,.1f} MiB of "
            f"memory, more than config.data.max_memory_mib = {max_memory_mib:g}; raise "
            "that if the machine has the memory, or choose a smaller set"
        )


def check_local(field: str, path: str) -> None:
    """Refuses the address of a bucket, such as gs://BUCKET/DIR."""
    if "://" in path:
        raise UserError(
            f"{field} = {path!r} is no folder of this machine; mount the bucket "
            "(gcsfuse) or copy it (gcloud storage rsync), as docs/data.md shows, and "
            "name that folder"
        )


_OWN = "python -m progan_jax.tools.prepare_data"

# Sets of our own recipes, which TFDS does not know by these names.
_RECIPES = {
    "celeba": "folder:img_align_celeba --resolution=128 --crop=celeba",
    "celeba_hq": (
        "celeba_hq:img_celeba --landmarks=list_landmarks_celeba.txt --keep=30000 "
        "--resolution=1024"
    ),
    "stacked_mnist": "stacked_mnist:PATH --resolution=32",
}


def preparation(name: str, root: Path) -> str:
    """Returns the command that prepares a set.

    Args:
      name: Of the set: NAME or NAME/CONFIG.
      root: Folder of sets, where it is to be.
    """
    import tensorflow_datasets as tfds

    if name.startswith("lsun/"):
        # TFDS's own builder needs a package that current TensorFlow does not load.
        return (
            f"prepare it by: {_OWN} lmdb:FOLDER --out={root / 'lsun'} "
            f"--name={name.removeprefix('lsun/')} --resolution=256"
        )
    if name in _RECIPES:
        source, _, options = _RECIPES[name].partition(" ")
        return f"prepare it by: {_OWN} {source} --name={name} --out={root} {options}"
    catalogue = tfds.list_builders(with_community_datasets=False)
    if name.partition("/")[0] not in catalogue:
        return "prepare it by its own TFDS builder with file_format='array_record'"
    # Not `tfds build`: TFDS's command line also wants Apache Beam and mlcroissant.
    return (
        "prepare it by: pip install -e '.[tf]' && python -c \"import "
        f"tensorflow_datasets as tfds; tfds.builder('{name}', data_dir='{root}', "
        "file_format='array_record').download_and_prepare()\""
    )
