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
"""

import ml_collections

from progan_jax.configs import folder


def get_config(path: str = "") -> ml_collections.ConfigDict:
    """Returns our choices for a small prepared set.

    Args:
      path: See `folder.get_config`.

    Raises:
      UserError: as for `folder.get_config`.
    """
    config = folder.get_config(path)
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
