"""Progressive GAN (Karras et al. 2018): what a family provides."""

from progan_jax.models.progan.official import NETWORKS, import_network
from progan_jax.models.progan.options import LossOptions, Options, joint_faults
from progan_jax.models.progan.topologies import make_networks

__all__ = [
    "NETWORKS",
    "LossOptions",
    "Options",
    "import_network",
    "joint_faults",
    "make_networks",
]
