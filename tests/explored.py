"""Generators of random weights."""

import jax
import numpy as np
import pytest

from progan_jax.inference.generator import TrainedGenerator
from progan_jax.inference.sampling import generator_from_snapshot


@pytest.fixture
def make_generator(tiny_config):
    """Makes an 8x8 generator of 8 latents; its fields may be changed."""

    def make(change=lambda params: params, **fields):
        model = tiny_config.model.to_dict() | fields
        info = {"stage": {"resolution": 8, "alpha": 0.5}, "options": model}
        network = generator_from_snapshot(info)
        classes = model["num_classes"]
        labels = np.zeros((1, classes), np.float32) if classes else None
        z = np.zeros((1, model["latent_size"]), np.float32)
        params = network.init(jax.random.key(0), z, labels, 1.0)["params"]
        return TrainedGenerator(change(jax.device_get(params)), info, "000001_r008")

    return make
