"""StyleGAN (Karras et al. 2019)."""

from progan_jax.models.stylegan.networks import make_networks
from progan_jax.models.stylegan.official import (
    RECORD_CLASSES,
    import_value,
    recognises,
)
from progan_jax.models.stylegan.options import (
    PAPER,
    LossOptions,
    Options,
    describe,
    joint_faults,
)

__all__ = [
    "PAPER",
    "RECORD_CLASSES",
    "LossOptions",
    "Options",
    "describe",
    "import_value",
    "joint_faults",
    "make_networks",
    "recognises",
]
