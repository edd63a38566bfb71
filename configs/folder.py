"""Your own images, with the paper's recipe (Karras et al. 2018, appendix A.1).

folder.py:PATH names a set that progan_jax.tools.prepare_data has written, DIR/NAME. The
networks grow to the largest resolution in it, with its channels, and learn its classes
if it has several; --config.model.num_classes=0 leaves classes out. For you to say:
--config.data.mirror where left and right mean the same. It is the paper's recipe for
tens of thousands of images; folder_small.py is for a few thousand or fewer. Prepare and
run your own as
    python -m progan_jax.tools.prepare_data folder:IMAGES --out=DIR --resolution=256
    python -m progan_jax.main --config=configs/folder.py:DIR/IMAGES
"""

import os
import re
import shlex
from pathlib import Path

import ml_collections

from progan_jax.configs import base
from progan_jax.data.layout import RECORD, UNFINISHED
from progan_jax.data.prepared import read_description
from progan_jax.errors import UserError


def get_config(path: str = "") -> ml_collections.ConfigDict:
    """Returns the paper's recipe for a prepared set.

    Args:
      path: DIR/NAME, which holds rNNN/1.0.0 for each resolution.

    Raises:
      UserError: if no set is prepared there, or it is damaged.
    """
    # Absolute: the same set, wherever the run is taken up again; "." has a name, too.
    folder = Path(os.path.abspath(os.path.expanduser(path)))
    resolution = _largest_resolution(path, folder)
    config = base.get_config()
    config.data.name = folder.name
    config.data.data_dir = str(folder.parent)
    config.model.resolution = resolution
    if (folder / RECORD).exists():
        record, _ = read_description(folder)
        config.model.channels = record["channels"]
        # One class is none: there is nothing to tell apart.
        config.model.num_classes = record["num_classes"] * (record["num_classes"] > 1)
    return config


def _largest_resolution(path: str, folder: Path) -> int:
    """Returns the side of the largest level of a prepared set."""
    if not path:
        raise UserError(
            "--config=FILE: it wants the folder of a prepared set; write FILE:DIR/NAME"
        )
    if (folder / UNFINISHED).exists() and not (folder / RECORD).exists():
        raise UserError(
            f"--config=FILE:{path}: the pyramid is not finished; give the "
            f"prepare_data command that began it again, with --out={folder.parent}"
        )
    levels = [
        int(match[1])
        for level in folder.glob("r*/1.0.0")
        if (match := re.fullmatch(r"r(\d{3,4})", level.parent.name))
    ]
    if not levels:
        what = "holds no prepared set" if folder.is_dir() else "is no folder"
        raise UserError(
            f"--config=FILE:{path}: it {what} (rNNN/1.0.0); prepare your images by: "
            "python -m progan_jax.tools.prepare_data "
            f"{shlex.quote(f'folder:{path}')} --out=DIR --resolution=R and write "
            f"DIR/{folder.name} for it"
        )
    return max(levels)
