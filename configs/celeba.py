"""CelebA at 128x128: row (g) of the paper's ablation (Karras et al. 2018, table 1).

All of the paper's contributions, in networks a quarter as wide at 128x128 as those of
base.py. The paper reports an average sliced Wasserstein distance (x 1e3) of 3.56 and
MS-SSIM 0.2845. Download CelebA's aligned images, 178x218; prepare and run with
    python -m progan_jax.tools.prepare_data folder:img_align_celeba --name=celeba \
        --out=DIR --resolution=128 --crop=celeba
    python -m progan_jax.main --config=configs/celeba.py --config.data.data_dir=DIR
"""

import ml_collections

from progan_jax.configs import base


def get_config() -> ml_collections.ConfigDict:
    """Returns the recipe of the paper's program."""
    config = base.get_config()
    config.data.name = "celeba"
    config.data.mirror = True
    config.model.resolution = 128
    config.model.fmap_base = 2048
    config.schedule.total_kimg = 10000.0
    config.schedule.stabilise_kimg = "800"
    config.schedule.fade_kimg = "800"
    config.schedule.rampup_kimg = 0.0
    return config
