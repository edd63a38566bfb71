"""LSUN bedroom at 256x256, the paper's recipe (Karras et al. 2018, appendix G).

The full set without mirroring, with batches of 16 at every resolution. The paper
reports a Fréchet Inception distance of 8.34. Prepare and run with
    python -m progan_jax.tools.prepare_data lmdb:bedroom_train_lmdb.zip --name=bedroom \
        --out=DIR/lsun --resolution=256
    python -m progan_jax.main --config=configs/lsun_bedroom.py \
        --config.data.data_dir=DIR
"""

import ml_collections

from progan_jax.configs import base


def get_config() -> ml_collections.ConfigDict:
    """Returns the recipe of the paper's program."""
    config = base.get_config()
    config.data.name = "lsun/bedroom"
    config.model.resolution = 256
    config.schedule.total_kimg = 20000.0
    config.schedule.stabilise_kimg = "800"
    config.schedule.fade_kimg = "800"
    return config
