"""The configurations that Karras et al. 2019 compare, tables 1 to 4, at 1024x1024.

stylegan_ablation.py:SET,ROW has SET ffhq or celeba_hq, and ROW one of
    A              the baseline: Progressive GAN, celeba_hq.py:v2_8gpus
    B              tuned: StyleGAN's training and blur, Progressive GAN's generator
    C              + mapping network and styles
    D              + constant input
    E              + noise
    F              + style mixing, in 90% of the steps: stylegan_ffhq.py
    mix0, mix50, mix100               F with other shares of steps that mix
    traditional0, traditional8        B with so many layers in the mapping network
    style0, style1, style2            F with so many
The rows B to F of table 1 have the logistic loss with R1 for FFHQ, and WGAN-GP for
CelebA-HQ. The published results are in progan_jax/experiments/stylegan_tables.py.
Prepare the sets as described in stylegan_ffhq.py and celeba_hq.py. Run one row with
    python -m progan_jax.main --config=configs/stylegan_ablation.py:ffhq,E \
        --config.data.data_dir=DIR
or all of a table with
    python -m progan_jax.tools.reproduce stylegan_table1 -- --config.data.data_dir=DIR
"""

import ml_collections

from progan_jax.configs import celeba_hq, stylegan_ffhq
from progan_jax.errors import UserError

SETS = ("ffhq", "celeba_hq")

# Progressive GAN's generator, with the blur.
_TRADITIONAL = {
    "mapping_layers": 0,
    "styles": False,
    "constant_input": False,
    "noise": False,
    "instance_norm": False,
    "pixel_norm": True,
    "style_mixing": 0.0,
    "truncation_psi": 1.0,
}

# Fields of `config.model` that are not F's.
ROWS = {
    "B": _TRADITIONAL,
    "C": {"constant_input": False, "noise": False, "style_mixing": 0.0},
    "D": {"noise": False, "style_mixing": 0.0},
    "E": {"style_mixing": 0.0},
    "F": {},
    "mix0": {"style_mixing": 0.0},
    "mix50": {"style_mixing": 0.5},
    "mix100": {"style_mixing": 1.0},
    "traditional0": _TRADITIONAL,
    "traditional8": _TRADITIONAL | {"mapping_layers": 8},
    "style0": {"mapping_layers": 0},
    "style1": {"mapping_layers": 1},
    "style2": {"mapping_layers": 2},
}


def get_config(argument: str = "") -> ml_collections.ConfigDict:
    """Returns one row's recipe.

    Args:
      argument: SET,ROW.

    Raises:
      UserError: if it is anything else.
    """
    name, _, row = argument.partition(",")
    if name not in SETS or row not in ("A", *ROWS):
        raise UserError(
            f"--config=stylegan_ablation:{argument} must be SET,ROW with SET one of "
            f"{', '.join(SETS)} and ROW one of A, {', '.join(ROWS)}; write ffhq,F"
        )
    if row == "A":
        config = celeba_hq.get_config("v2_8gpus")
    else:
        config = stylegan_ffhq.program_config()
        config.data.mirror = True
        config.model.resolution = 1024
        config.model.update(ROWS[row])
        if name == "celeba_hq":
            stylegan_ffhq.use_wgan_gp(config)
    config.data.name = name
    return config
