"""A few hundred to a few thousand images of your own, with less overfitting.

These choices are ours; they are not from the paper and have not been compared with it.
Take them as a starting point. D can memorise so few images, and then G stops improving:
early in a long run, the grids lose variety, repeat the images or break up. Therefore
  - images are mirrored, which doubles the set. Switch this off for text and anything
    else that must not be mirrored: --noconfig.data.mirror;
  - D sees all images, real ones and fakes, changed at random in colour, place and
    content (Zhao et al. 2020), so that there are more to memorise. G's images are not
    changed. Leave out what must not vary: --config.data.augment=translation,cutout;
  - networks are half as wide, with a quarter of the parameters, and memorise less;
  - batches are up to twice as large, and D's minibatch statistic still spans all of a
    batch, so that D sees missing variety. If memory is short, set
    --config.schedule.batch_size;
  - the run is short, 200 kimg per phase and 4,000 in all, since longer training mostly
    overfits. Snapshots are frequent: look at the grids and choose the best one, which
    need not be the last.
A lower resolution helps more than any of these. Prepare the set as for folder.py and
run with
    python -m progan_jax.main --config=configs/folder_small.py:DIR/IMAGES
DIR/IMAGES,relativistic has the relativistic pairing loss with R1 and R2 (Huang et al.
2024) instead of WGAN-GP. Their gamma, --config.loss.r1_weight and r2_weight, is 2 at
64x64 and grows with the square of the side, which is ours, too: less lets D see more
detail, more keeps it from running ahead.
"""

from pathlib import Path

import ml_collections

from progan_jax.configs import folder
from progan_jax.data.prepared import is_pyramid
from progan_jax.errors import UserError
from progan_jax.models.relativistic import advised_gamma


def get_config(argument: str = "") -> ml_collections.ConfigDict:
    """Returns our choices for a small prepared set.

    Args:
      argument: PATH or PATH,relativistic; for PATH see `folder.use_set`.

    Raises:
      UserError: as for `folder.use_set`, or if PATH is followed by something else.
    """
    path, relativistic = _split(argument)
    config = folder.get_config(path)
    if relativistic:
        config.loss.kind = "relativistic"
        gamma = advised_gamma(config.model.resolution)
        config.loss.r1_weight = config.loss.r2_weight = gamma
    config.data.mirror = True
    config.data.augment = "color,translation,cutout"
    config.model.fmap_base = 4096
    config.model.fmap_max = 256
    config.schedule.total_kimg = 4000.0
    config.schedule.stabilise_kimg = "200"
    config.schedule.fade_kimg = "200"
    config.schedule.batch_size = "32, 256:16, 512:8, 1024:4"
    config.train.snapshot_ticks = 10
    return config


def _split(argument: str) -> tuple[str, bool]:
    """Splits PATH[,relativistic]; a PATH may have commas."""
    path, _, kind = argument.rpartition(",")
    if path and kind == "relativistic":
        return path, True
    if path and is_pyramid(Path(path).expanduser()):
        raise UserError(
            f"--config=folder_small:{argument}: {kind!r} must be LOSS of "
            "folder_small:PATH,LOSS, which is relativistic; write that or nothing"
        )
    return argument, False
