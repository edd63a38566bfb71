"""StyleGAN's demonstration: handwritten digits, from 8x8 to 32x32.

The 1,797 digits ship with the package, so nothing is downloaded. The networks are
narrow and the schedule is short. The loss is WGAN-GP, as for the paper's CelebA-HQ: in
so few and small batches, the logistic loss with R1 made all digits alike. The mapping
has two layers of a higher learning rate, since it would hardly move otherwise, and
every second step mixes styles. Takes about six minutes on two CPU cores. Run it with
    python -m progan_jax.main --config=configs/stylegan_digits.py
"""

import ml_collections

from progan_jax.configs import stylegan_ffhq


def get_config() -> ml_collections.ConfigDict:
    """Returns the recipe of the authors' program, narrow and short."""
    config = stylegan_ffhq.program_config()
    config.data.name = "digits"
    config.model.channels = 1
    config.model.latent_size = 64
    config.model.w_size = 64
    config.model.mapping_width = 64
    config.model.mapping_layers = 2
    config.model.mapping_lr_multiplier = 0.1
    config.model.style_mixing = 0.5
    config.model.fmap_base = 256
    config.model.fmap_max = 64
    config.loss.kind = "wgan_gp"
    config.optim.ema_half_life_kimg = 1.0
    config.schedule.stabilise_kimg = "8, 32:1000"
    config.schedule.fade_kimg = "4, 32:6"
    config.schedule.total_kimg = 50.0
    config.schedule.batch_size = "16"
    config.schedule.g_learning_rate = "0.002"
    config.schedule.d_learning_rate = "0.002"
    config.train.tick_kimg = "2"
    config.train.grid = "16x8"
    config.train.snapshot_ticks = 1000
    config.eval.metrics = "swd"
    config.eval.stage_swd_images = 1024
    config.eval.num_images = 890  # Of 1,797: leaves enough for the row of real images.
    return config
