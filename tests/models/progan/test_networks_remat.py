"""Computing blocks anew changes what is kept, and no number."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from progan_jax.models.progan.ablation import Noise, fold_noise
from progan_jax.models.progan.losses import (
    LossOptions,
    discriminator_loss,
    generator_loss,
)
from progan_jax.models.progan.options import Options
from progan_jax.models.progan.topologies import make_networks

NARROW = Options(latent_size=8, fmap_base=16, fmap_max=8, mbstd_group_size=4)


def gradients(remat, dtype, **changes):
    """Returns the gradients of D's loss, with its penalty, and of G's."""
    options = dataclasses.replace(NARROW, dtype=dtype, remat=remat, **changes)
    g, d = make_networks(options, 8)
    keys = jax.random.split(jax.random.key(0), 6)
    noise = Noise(jnp.ones([], dtype) / 10, jax.random.split(keys[5], 4))
    z = jax.random.normal(keys[0], (4, 8), dtype)
    reals = jax.random.normal(keys[1], (4, 8, 8, 3), dtype)
    mix = jax.random.uniform(keys[2], (4, 1, 1, 1), dtype)
    g_params, d_params = g.init(keys[3], z, 0.5), d.init(keys[4], reals, 0.5)

    def d_loss(d_params):
        fakes = g.apply(g_params, z, 0.5)
        score = lambda x, i: d.apply(d_params, x, 0.5, fold_noise(noise, i))  # noqa: E731
        return discriminator_loss(score, reals, fakes, mix, None, None, LossOptions())[
            0
        ]

    def g_loss(g_params):
        score = lambda x, i: d.apply(d_params, x, 0.5, fold_noise(noise, i))  # noqa: E731
        return generator_loss(score, g.apply(g_params, z, 0.5), None, LossOptions())[0]

    both = jax.jit(lambda g, d: (jax.grad(g_loss)(g), jax.grad(d_loss)(d)))
    return both, (g_params, d_params)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"fused_resampling": True},
        {
            "g_norm": "batch",
            "activation": "relu",
            "d_norm": "layer",
            "minibatch_discrimination": 3,
        },
    ],
    ids=["plain", "fused", "norms"],
)
def test_gradients_are_the_same_in_float64(float64, options):
    kept, params = gradients("none", "float64", **options)
    anew, _ = gradients("blocks", "float64", **options)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12),
        kept(*params),
        anew(*params),
    )


def test_gradients_are_the_same_in_float32():
    kept, params = gradients("none", "float32")
    anew, _ = gradients("blocks", "float32")
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(
            a, b, rtol=1e-5, atol=1e-5 * np.abs(a).max()
        ),
        kept(*params),
        anew(*params),
    )


def test_layers_and_their_first_values_are_the_same():
    key, z = jax.random.key(0), jnp.zeros((1, 8))
    anew = dataclasses.replace(NARROW, remat="blocks")
    networks = [make_networks(options, 8)[0] for options in (NARROW, anew)]
    one, other = (network.init(key, z, 1.0) for network in networks)
    jax.tree.map(np.testing.assert_array_equal, one, other)
