"""StyleGAN on LSUN (Karras et al. 2019): bedroom and cat at 256x256, car at 512x384.

stylegan_lsun.py:CATEGORY,PRESET has CATEGORY bedroom, cat or car, and PRESET one of
those of stylegan_ffhq.py; by default CATEGORY,8gpus. All images of a category are used,
without mirroring, and shown for as long as in the paper: 70 million images for bedroom
and cat, 46 million for car. The authors' program has 25 million; for those set
--config.schedule.total_kimg=25000. The paper reports Fréchet Inception distances of
2.65 (bedroom), 8.53 (cat) and 3.27 (car).

Cars fill the middle 512x384 of black squares of 512x512: --crop=lsun_wide. Prepare and
run with
    python -m progan_jax.tools.prepare_data lmdb:PATH --name=bedroom --out=DIR/lsun \
        --resolution=256
    python -m progan_jax.tools.prepare_data lmdb:PATH --name=car --out=DIR/lsun \
        --resolution=512 --crop=lsun_wide
    python -m progan_jax.main --config=configs/stylegan_lsun.py:car,8gpus \
        --config.data.data_dir=DIR
"""

import ml_collections

from progan_jax.configs import stylegan_ffhq

# Final resolution and length in kimg.
CATEGORIES = {"bedroom": (256, 70000.0), "cat": (256, 70000.0), "car": (512, 46000.0)}


def get_config(argument: str = "") -> ml_collections.ConfigDict:
    """Returns the recipe of the authors' program, with the paper's length.

    Args:
      argument: CATEGORY or CATEGORY,PRESET.

    Raises:
      UserError: if it is anything else.
    """
    category, preset = stylegan_ffhq.split_argument(
        "stylegan_lsun", argument, tuple(CATEGORIES)
    )
    config = stylegan_ffhq.program_config(preset)
    config.data.name = f"lsun/{category}"
    config.model.resolution, config.schedule.total_kimg = CATEGORIES[category]
    return config
