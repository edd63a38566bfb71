"""The configurations that Sauer et al. 2022 compare, table 1: ImageNet at 128x128.

stylegan_xl_ablation.py:ROW has ROW one of
    B    StyleGAN3's generator with small latents and a projected D on lite0
    C    + class embeddings made of ImageNet's features
    D    + stages: a stem of 16x16, then 32x32, 64x64 and 128x128
    E    + DeiT-base besides lite0
    F    + guidance by a classifier: StyleGAN-XL
A, StyleGAN3 as it is, has a discriminator that is not built here. C to F need
--config.model.embedding_file=FILE, without which they have random embeddings as B. All
rows have the same length in images; the paper's have the same time. The published
results are in progan_jax/experiments/stylegan_xl_tables.py. Run one row with
    python -m progan_jax.main --config=configs/stylegan_xl_ablation.py:F
or all with
    python -m progan_jax.tools.reproduce stylegan_xl_table -- --config.data.data_dir=DIR
"""

import ml_collections

from progan_jax.configs import stylegan_xl
from progan_jax.errors import UserError

ROWS = ("B", "C", "D", "E", "F")

_STAGES = "16-32-64-128"


def get_config(argument: str = "F") -> ml_collections.ConfigDict:
    """Returns one row's recipe.

    Raises:
      UserError: if the argument is no row.
    """
    if argument not in ROWS:
        raise UserError(
            f"--config=stylegan_xl_ablation:{argument}: {argument!r} must be a row, "
            f"one of {', '.join(ROWS)}; choose one"
        )
    place = ROWS.index(argument)
    stages = _STAGES if place >= ROWS.index("D") else "128"
    config = stylegan_xl.get_config(f"imagenet,{stages}")
    config.schedule.total_kimg = 100000.0  # Of all rows.
    if place < ROWS.index("E"):
        config.model.backbones = "lite0"
    if argument == "F":
        config.loss.guidance_weight = 8.0
    return config
