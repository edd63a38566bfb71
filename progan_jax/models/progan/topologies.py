"""The topologies of Progressive GAN, and the networks of one stage."""

from dataclasses import replace

from progan_jax.models.progan import mode_test, networks
from progan_jax.models.progan.options import Options

TOPOLOGIES: dict[str, tuple[type[networks.Generator], type[networks.Discriminator]]] = {
    "progan": (networks.Generator, networks.Discriminator),
    "mode_test": (mode_test.Generator, mode_test.Discriminator),
}


def make_networks(
    options: Options, resolution: int, per_device_batch: int = 0
) -> tuple[networks.Generator, networks.Discriminator]:
    """Returns both networks of one stage.

    Args:
      options: Options of the run's networks.
      resolution: Resolution of the stage.
      per_device_batch: Caps the group of the minibatch statistic; 0 for no cap.
    """
    make_generator, make_discriminator = TOPOLOGIES[options.topology]
    group = min(options.mbstd_group_size, per_device_batch or options.mbstd_group_size)
    capped = replace(options, mbstd_group_size=group)
    return make_generator(resolution, options), make_discriminator(resolution, capped)
