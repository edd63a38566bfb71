"""Your own images, with the paper's recipe (Karras et al. 2018, appendix A.1).

folder.py:PATH names a set written by progan_jax.tools.prepare_data, DIR/NAME. The
networks get its resolution and channels, and its classes if it has several;
--config.model.num_classes=0 ignores the classes. If images may be mirrored, also set
--config.data.mirror. This is the paper's recipe, for tens of thousands of images;
folder_small.py is for a few thousand or fewer. Prepare and run your own with
    python -m progan_jax.tools.prepare_data folder:IMAGES --out=DIR --resolution=256
    python -m progan_jax.main --config=configs/folder.py:DIR/IMAGES
"""

import os
import shlex
from pathlib import Path

import ml_collections

from progan_jax.configs import base
from progan_jax.data.prepared import RECORD, is_pyramid, read_description
from progan_jax.errors import UserError


def get_config(path: str = "") -> ml_collections.ConfigDict:
    """Returns the paper's recipe for a prepared set.

    Args:
      path: See `use_set`.

    Raises:
      UserError: as for `use_set`.
    """
    config = base.get_config()
    use_set(config, path)
    return config


def use_set(config: ml_collections.ConfigDict, path: str) -> tuple[str, ...]:
    """Gives a recipe a prepared set, and the set's resolution, channels and classes.

    Returns the classes' names, as far as they are known.

    Args:
      config: The recipe.
      path: DIR/NAME, the folder with pyramid.json.

    Raises:
      UserError: if there is no prepared set, or its description is damaged.
    """
    if not path:
        raise UserError(
            "--config=FILE: name the folder of a prepared set: FILE:DIR/NAME"
        )
    # Absolute, so that a run can be resumed from any folder, and "." has a name.
    folder = Path(os.path.abspath(os.path.expanduser(path)))
    if not is_pyramid(folder):
        what = "holds no prepared set" if folder.is_dir() else "is not a folder"
        raise UserError(
            f"--config=FILE:{path}: it {what} ({RECORD}); prepare your images by: "
            "python -m progan_jax.tools.prepare_data "
            f"{shlex.quote(f'folder:{path}')} --out=DIR --resolution=R and write "
            f"DIR/{folder.name} for it"
        )
    record, _ = read_description(folder)
    config.data.name = folder.name
    config.data.data_dir = str(folder.parent)
    # Not the resolution of the largest level, which may have been lost.
    config.model.resolution = record["resolution"]
    config.model.channels = record["channels"]
    # With a single class the networks are unconditional.
    config.model.num_classes = record["num_classes"] * (record["num_classes"] > 1)
    return tuple(record["class_names"]) if config.model.num_classes else ()
