"""LSUN at 256x256, 30 categories: the paper's recipe and the authors' later presets.

lsun.py:CATEGORY is the paper's recipe (Karras et al. 2018, appendix G), and
lsun.py:CATEGORY,PRESET is one of the presets of celeba_hq.py. Names of categories are
spelt as in TFDS, tv-monitor, or as by the authors, tvmonitor. The paper used all images
of bedroom and dog, without mirroring, and 100,000 mirrored images of each other
category. The later program also used 100,000 mirrored images of these two: set
--config.data.mirror.

The paper reports Fréchet Inception distances of 8.34 (bedroom), 37.52 (cat) and 6.42
(church_outdoor); others quote from it 8.36 (car), 10.28 (dining_table) and 47.63 (dog).
Prepare and run a category as follows, without --max_images for bedroom and dog:
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

# Names in TFDS: ten scenes, then twenty objects.
CATEGORIES = (
    *("bedroom", "bridge", "church_outdoor", "classroom", "conference_room"),
    *("dining_room", "kitchen", "living_room", "restaurant", "tower"),
    *("airplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair"),
    *("cow", "dining_table", "dog", "horse", "motorbike", "person", "potted_plant"),
    *("sheep", "sofa", "train", "tv-monitor"),
)
# The authors write each name as one word.
_BY_SPELLING = {c.replace("_", "").replace("-", ""): c for c in CATEGORIES}
_FULL_SETS = ("bedroom", "dog")


def get_config(argument: str = "") -> ml_collections.ConfigDict:
    """Returns a recipe of the authors' programs.

    Args:
      argument: CATEGORY or CATEGORY,PRESET.

    Raises:
      UserError: if it is anything else.
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
    """Returns the name of a category in TFDS; `name` is part of the argument."""
    if name in CATEGORIES:
        return name
    if name in _BY_SPELLING:
        return _BY_SPELLING[name]
    near = difflib.get_close_matches(name, CATEGORIES, n=1)
    fix = f"did you mean {near[0]}? There are" if near else "write CATEGORY, one of"
    raise UserError(
        f"--config=lsun:{argument}: {name!r} is not a category; {fix} "
        f"{', '.join(CATEGORIES)}"
    )
