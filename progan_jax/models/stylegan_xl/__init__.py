"""StyleGAN-XL (Sauer et al. 2022), with the interface of a family."""

from progan_jax.models.defaults import fit, make_fakes, num_to_fit
from progan_jax.models.stylegan_xl.embedding import begin
from progan_jax.models.stylegan_xl.losses import (
    CURVES,
    G_PENALTY,
    d_loss,
    files,
    g_loss,
    g_takes_reals,
    init_loss_state,
    is_zero_sum,
    load_frozen,
)
from progan_jax.models.stylegan_xl.losses import draw as draw_for_d
from progan_jax.models.stylegan_xl.losses import draw as draw_for_g
from progan_jax.models.stylegan_xl.networks import make_networks
from progan_jax.models.stylegan_xl.official import (
    IMPORTED,
    RECORD_CLASSES,
    import_value,
    recognises,
)
from progan_jax.models.stylegan_xl.options import (
    PAPER,
    RESTARTS,
    LossOptions,
    Options,
    describe,
    joint_faults,
    loss_at,
)

__all__ = [
    "CURVES",
    "G_PENALTY",
    "IMPORTED",
    "PAPER",
    "RECORD_CLASSES",
    "RESTARTS",
    "LossOptions",
    "Options",
    "begin",
    "d_loss",
    "describe",
    "draw_for_d",
    "draw_for_g",
    "files",
    "fit",
    "g_loss",
    "g_takes_reals",
    "import_value",
    "init_loss_state",
    "is_zero_sum",
    "joint_faults",
    "load_frozen",
    "loss_at",
    "make_fakes",
    "make_networks",
    "num_to_fit",
    "recognises",
]
