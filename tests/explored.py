"""Generators of random weights."""

import pytest

from progan_jax.inference.generator import TrainedGenerator
from progan_jax.inference.sampling import generator_from_snapshot
from progan_jax.models.common import init_generator
from tests.untrained import untrained


@pytest.fixture
def make_generator(tiny_config):
    """Makes an 8x8 generator of 8 latents; its fields may be changed."""

    def make(change=lambda params: params, **fields):
        model = tiny_config.model.to_dict() | fields
        info = {"stage": {"resolution": 8, "alpha": 0.5}, "options": model}
        params = untrained(init_generator, generator_from_snapshot(info))
        return TrainedGenerator(change(params), info, "000001_r008")

    return make
