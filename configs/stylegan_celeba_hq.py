"""StyleGAN on CelebA-HQ at 1024x1024 (Karras et al. 2019).

stylegan_celeba_hq.py:LOSS,PRESET has LOSS wgan_gp, as in the paper, or logistic, the
loss of its trainings on FFHQ; PRESET is one of those of stylegan_ffhq.py; by default
wgan_gp,8gpus. The paper reports Fréchet Inception distances of 5.06 (configuration E)
and 5.17 (F, this one).

Prepare the images as described in celeba_hq.py, and run with
    python -m progan_jax.main --config=configs/stylegan_celeba_hq.py:wgan_gp,8gpus \
        --config.data.data_dir=DIR
"""

import ml_collections

from progan_jax.configs import stylegan_ffhq

LOSSES = ("wgan_gp", "logistic")


def get_config(argument: str = "wgan_gp") -> ml_collections.ConfigDict:
    """Returns the recipe of the authors' program.

    Args:
      argument: LOSS or LOSS,PRESET.

    Raises:
      UserError: if it is anything else.
    """
    loss, preset = stylegan_ffhq.split_argument("stylegan_celeba_hq", argument, LOSSES)
    config = stylegan_ffhq.program_config(preset)
    config.data.name = "celeba_hq"
    config.data.mirror = True
    config.model.resolution = 1024
    if loss == "wgan_gp":
        stylegan_ffhq.use_wgan_gp(config)
    return config
