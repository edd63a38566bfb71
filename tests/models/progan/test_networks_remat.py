"""Computing blocks anew changes what is kept, and no number."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from progan_jax.models.common import (
    Examples,
    LossInputs,
    Networks,
    Progress,
    Variables,
)
from progan_jax.models.progan.losses import Draws, d_loss, g_loss
from progan_jax.models.progan.options import LossOptions, Options
from progan_jax.models.progan.topologies import make_networks

NARROW = Options(latent_size=8, fmap_base=16, fmap_max=8, mbstd_group_size=4)


def gradients(remat, dtype, **changes):
    """Returns the gradients of D's loss, with its penalty, and of G's."""
    options = dataclasses.replace(NARROW, dtype=dtype, remat=remat, **changes)
    g, d = make_networks(options, 8)
    keys = jax.random.split(jax.random.key(0), 6)
    z = jax.random.normal(keys[0], (4, 8), dtype)
    reals = jax.random.normal(keys[1], (4, 8, 8, 3), dtype)
    mix = jax.random.uniform(keys[2], (4, 1, 1, 1), dtype)
    g_params = jax.jit(g.init)(keys[3], z, alpha=0.5)["params"]
    d_params = jax.jit(d.init)(keys[4], reals, alpha=0.5)["params"]
    # With noise, too, of strength 0.1.
    loss, state = LossOptions(noise_coefficient=0.4), {"fake_scores": jnp.ones([])}
    draws = Draws(z, None, mix, jnp.arange(4))
    rest = draws, Progress(jnp.asarray(0.5, dtype), 1.0, keys[5]), state, loss

    def both(g_params, d_params):
        variables = Variables({"stats": {}}, {"params": d_params, "stats": {}})
        fakes = Examples(g.apply({"params": g_params}, z, alpha=0.5), None)
        inputs = LossInputs(
            Networks(g, d), variables, Examples(reals, None), None, *rest
        )
        return (
            jax.grad(g_loss, has_aux=True)(g_params, inputs)[0],
            jax.grad(d_loss, has_aux=True)(d_params, inputs.with_fakes(fakes, {}))[0],
        )

    return jax.jit(both), (g_params, d_params)


@pytest.mark.parametrize(
    "options",
    [
        {},
        pytest.param({"fused_resampling": True}, marks=pytest.mark.slow),
        pytest.param(
            {
                "g_norm": "batch",
                "activation": "relu",
                "d_norm": "layer",
                "minibatch_discrimination": 3,
            },
            marks=pytest.mark.slow,
        ),
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


@pytest.mark.slow
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
    one, other = (jax.jit(network.init)(key, z, alpha=1.0) for network in networks)
    jax.tree.map(np.testing.assert_array_equal, one, other)
