"""Both networks of a StyleGAN-XL."""

from progan_jax.models.stylegan_xl.discriminator import Discriminator
from progan_jax.models.stylegan_xl.generator import Generator
from progan_jax.models.stylegan_xl.options import Options


def make_networks(
    options: Options, resolution: int, per_device_batch: int = 0
) -> tuple[Generator, Discriminator]:
    """Returns both networks of a stage.

    Args:
      options: Options of the run's networks.
      resolution: That of the stage, one of `options.sides`.
      per_device_batch: Without effect: groups of statistics are never made smaller.
    """
    del per_device_batch
    discriminator = Discriminator(
        resolution,
        options.num_classes,
        options.backbone_names,
        options.backbone_size,
        (options.embedding_rows, options.embedding_size),
        options.stats_batch,
    )
    return Generator(resolution, options.at(resolution)), discriminator
