"""The command that prepares a set which is not there."""

from pathlib import Path

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
