"""A few hundred to a few thousand images of your own: guidance against collapse.

These choices are ours, neither the paper's nor tested against it; take them as a start.
D can learn so few images by heart, and then teaches G no more: the grids lose variety,
repeat the images or break up, early in a long run. Therefore
  - images are mirrored, which doubles the set. Switch it off, --noconfig.data.mirror,
    for letters and all else that has a left and a right;
  - networks are half as wide, a quarter of the parameters: less to learn by heart with;
  - batches are up to twice as large, and D's statistic still spans all of one, so that
    missing variety shows; --config.schedule.batch_size if memory is short;
  - the run is short, 200 kimg a phase and 4,000 in all: what is not good by then has
    mostly been overtrained. Snapshots are frequent: look at the grids and take the best
    one, which need not be the last.
A lower resolution helps more than any of them. The set is prepared as for folder.py;
run it as
    python -m progan_jax.main --config=configs/folder_small.py:DIR/IMAGES
"""

import ml_collections

from progan_jax.configs import folder


def get_config(path: str = "") -> ml_collections.ConfigDict:
    """Returns our choices for a small prepared set.

    Args:
      path: See `folder.get_config`.

    Raises:
      UserError: if no set is prepared there.
    """
    config = folder.get_config(path)
    config.data.mirror = True
    config.model.fmap_base = 4096
    config.model.fmap_max = 256
    config.schedule.total_kimg = 4000.0
    config.schedule.stabilise_kimg = "200"
    config.schedule.fade_kimg = "200"
    config.schedule.batch_size = "32, 256:16, 512:8, 1024:4"
    config.train.snapshot_ticks = 10
    return config
