"""StyleGAN (Karras et al. 2019), with the interface of a family."""

from progan_jax.models.common import NETWORKS as IMPORTED
from progan_jax.models.defaults import (
    begin,
    files,
    fit,
    load_frozen,
    loss_at,
    num_to_fit,
)
from progan_jax.models.stylegan.losses import (
    CURVES,
    G_PENALTY,
    d_loss,
    draw_for_d,
    draw_for_g,
    g_loss,
    g_takes_reals,
    init_loss_state,
    is_zero_sum,
    make_fakes,
)
from progan_jax.models.stylegan.networks import make_networks
from progan_jax.models.stylegan.official import (
    RECORD_CLASSES,
    import_value,
    recognises,
)
from progan_jax.models.stylegan.options import (
    PAPER,
    RESTARTS,
    LossOptions,
    Options,
    describe,
    joint_faults,
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
