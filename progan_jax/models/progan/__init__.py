"""Progressive GAN (Karras et al. 2018), with the interface of a family."""

from progan_jax.models.progan.fit import fit, num_to_fit
from progan_jax.models.progan.losses import (
    G_TAKES_REALS,
    d_loss,
    draw_for_d,
    draw_for_g,
    g_loss,
    init_loss_state,
)
from progan_jax.models.progan.official import NETWORKS, import_network
from progan_jax.models.progan.options import LossOptions, Options, joint_faults
from progan_jax.models.progan.topologies import make_networks

__all__ = [
    "G_TAKES_REALS",
    "NETWORKS",
    "LossOptions",
    "Options",
    "d_loss",
    "draw_for_d",
    "draw_for_g",
    "fit",
    "g_loss",
    "import_network",
    "init_loss_state",
    "joint_faults",
    "make_networks",
    "num_to_fit",
]
