"""LSUN at 256x256, 30 categories: the paper's recipe and the authors' later presets.

lsun.py:CATEGORY is the paper's recipe (Karras et al. 2018, appendix G), and
lsun.py:CATEGORY,PRESET one of celeba_hq.py's. Categories are spelt as TFDS spells them,
tv-monitor, or as the authors do, tvmonitor. The paper took all images of bedroom and
dog, without mirroring, and 100,000 of each other category, mirrored. The later program
took 100,000, mirrored, of these two as well: --config.data.mirror does that.

Fréchet Inception distances, by the paper: bedroom 8.34, cat 37.52, church_outdoor 6.42;
as others quote them from it: car 8.36, dining_table 10.28, dog 47.63. Prepare and run a
category as follows, without --max_images for bedroom and dog:
    python -m progan_jax.tools.prepare_data lmdb:PATH --name=cat --out=DIR/lsun \
        --resolution=256 --max_images=100000
    python -m progan_jax.main --config=configs/lsun.py:cat --config.data.data_dir=DIR
    python -m progan_jax.main --config=configs/lsun.py:cat,v2_8gpus \
        --config.data.data_dir=DIR
"""

import difflib

import ml_collections

from progan_jax.configs import base, celeba_hq
from progan_jax.errors import UserError

# By TFDS's names: ten scenes, then twenty objects.
CATEGORIES = (
    *("bedroom", "bridge", "church_outdoor", "classroom", "conference_room"),
    *("dining_room", "kitchen", "living_room", "restaurant", "tower"),
    *("airplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair"),
    *("cow", "dining_table", "dog", "horse", "motorbike", "person", "potted_plant"),
    *("sheep", "sofa", "train", "tv-monitor"),
)
# The authors write the same names as one word.
_BY_SPELLING = {c.replace("_", "").replace("-", ""): c for c in CATEGORIES}
_FULL_SETS = ("bedroom", "dog")


def get_config(argument: str = "") -> ml_collections.ConfigDict:
    """Returns a recipe of the authors' programs.

    Args:
      argument: CATEGORY or CATEGORY,PRESET.

    Raises:
      UserError: if it is something else.
    """
    name, comma, preset = argument.partition(",")
    category = _find_category(argument, name)
    preset = preset if comma else "paper"
    celeba_hq.check_preset("lsun", argument, preset)
    config = base.get_config()
    config.data.name = f"lsun/{category}"
    config.data.mirror = category not in _FULL_SETS
    config.model.resolution = 256
    if preset == "paper":
        config.schedule.total_kimg = 20000.0
        config.schedule.stabilise_kimg = "800"
        config.schedule.fade_kimg = "800"
    else:
        celeba_hq.use_v2(config, preset)
    return config


def _find_category(argument: str, name: str) -> str:
    """Returns TFDS's name of a category; `name` is part of the argument."""
    if name in CATEGORIES:
        return name
    if name in _BY_SPELLING:
        return _BY_SPELLING[name]
    near = difflib.get_close_matches(name, CATEGORIES, n=1)
    mend = f"did you mean {near[0]}? There are" if near else "write CATEGORY, one of"
    raise UserError(
        f"--config=lsun:{argument}: {name!r} is no category; {mend} "
        f"{', '.join(CATEGORIES)}"
    )
