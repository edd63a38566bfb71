"""The demonstration: handwritten digits, from 4x4 to 32x32 in minutes on two cores.

The 1,797 digits ship with the package, so nothing is downloaded. The networks are
narrow and the schedule is short. Run it with
    python -m progan_jax.main --config=configs/digits.py
"""

import ml_collections

from progan_jax.configs import base


def get_config() -> ml_collections.ConfigDict:
    """Returns the paper's recipe, narrow and short."""
    config = base.get_config()
    config.data.name = "digits"
    config.model.channels = 1
    config.model.latent_size = 64
    config.model.fmap_base = 256
    config.model.fmap_max = 64
    config.model.mbstd_group_size = 4
    config.schedule.stabilise_kimg = "4, 8:10, 16:8, 32:1000"
    config.schedule.fade_kimg = "4, 32:6"
    config.schedule.total_kimg = 46.0
    config.schedule.batch_size = "16"
    config.schedule.g_learning_rate = "0.002"
    config.schedule.d_learning_rate = "0.002"
    config.schedule.rampup_kimg = 0.0
    config.schedule.quantum_pairs = 4
    config.optim.ema_decay = 0.99
    config.train.tick_kimg = "2"
    config.train.grid = "16x8"
    config.train.snapshot_ticks = 1000
    config.eval.stage_swd_images = 1024
    config.eval.num_images = 890  # Of 1,797: leaves enough for the row of real images.
    return config
