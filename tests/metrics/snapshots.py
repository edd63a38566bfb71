"""Fakes of small networks, for the metrics of generators."""

import dataclasses
import functools

import jax
import numpy as np

from progan_jax.data.pyramid import build_pyramid
from progan_jax.inference.sampling import Sampler
from progan_jax.metrics.image_sources import Fakes, Reals
from progan_jax.models import progan
from progan_jax.models.common import init_variables
from progan_jax.models.progan.options import Options as ProganOptions
from progan_jax.models.stylegan import networks as stylegan
from progan_jax.models.stylegan.options import Options as StyleganOptions
from tests.untrained import untrained

SIDE = 32


@functools.cache
def make_reals(num_classes=0):
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (24, SIDE, SIDE, 3), np.uint8)
    labels = np.arange(24, dtype=np.int32) % num_classes if num_classes else None
    return Reals(build_pyramid("noise", pixels, labels, num_classes), SIDE, 3, False)


@functools.cache
def make_fakes(family="stylegan", stage=SIDE, **settings):
    """A network that was never trained, with noise that matters."""
    shared = {"resolution": SIDE, "latent_size": 8, "fmap_base": 64, "fmap_max": 8}
    if family == "progan":
        networks = progan.make_networks(ProganOptions(**shared, **settings), stage)
    else:
        shared |= {"w_size": 8, "mapping_width": 8, "mapping_layers": 2}
        networks = stylegan.make_networks(StyleganOptions(**shared, **settings), stage)
    variables = untrained(init_variables, *networks).g
    # Strengths of noise are 0 at first.
    variables = jax.tree.map(lambda x: x + 0.1, variables)
    reals = make_reals(settings.get("num_classes", 0))
    alpha = 1.0
    return Fakes(Sampler(networks[0], 8), variables, alpha, reals, family)


def make_info(generator, family):
    """A snapshot's description of a network."""
    options = dataclasses.asdict(generator.options)
    stage = {"resolution": generator.resolution, "alpha": 1.0, "nimg": 1000}
    return {"family": family, "options": options, "stage": stage}
