import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util

from progan_jax.models.progan.networks import Discriminator, Generator
from progan_jax.models.progan.options import Options
from progan_jax.training.optimizer import scale_by_authors_adam
from progan_jax.training.state import (
    average,
    create_state,
    grow,
    reset_optimizers,
    reset_sums,
)

NARROW = Options(latent_size=8, fmap_base=16, fmap_max=8)
TX = scale_by_authors_adam(0.0, 0.99, 1e-8)


def networks(resolution):
    return Generator(resolution, NARROW), Discriminator(resolution, NARROW)


def create(resolution, seed=0):
    key = jax.random.key(seed)
    return create_state(key, *networks(resolution), TX, {})


def flat(tree):
    return traverse_util.flatten_dict(tree)


def trained(state):
    """A state whose every number differs from what a new one holds."""

    def move(tree, by):
        return jax.tree.map(lambda x: x + by, tree)

    return state.replace(
        pairs=state.pairs + 5,
        g_params=move(state.g_params, 1),
        d_params=move(state.d_params, 2),
        g_ema=move(state.g_ema, 3),
        g_opt=state.g_opt._replace(
            count=state.g_opt.count + 5,
            mu=move(state.g_opt.mu, 4),
            nu=move(state.g_opt.nu, 5),
        ),
        d_opt=state.d_opt._replace(
            count=state.d_opt.count + 6,
            mu=move(state.d_opt.mu, 7),
            nu=move(state.d_opt.nu, 8),
        ),
    )


def test_average_starts_as_a_copy_of_the_generator():
    state = create(8)
    jax.tree.map(np.testing.assert_array_equal, state.g_ema, state.g_params)


def test_same_key_gives_the_same_state_and_another_a_different_one():
    one, same = create(8), create(8)
    jax.tree.map(np.testing.assert_array_equal, one.g_params, same.g_params)
    other = create(8, seed=1)
    path = ("block_4x4", "conv", "kernel")
    assert not np.array_equal(flat(one.g_params)[path], flat(other.g_params)[path])


def test_growing_a_new_state_equals_starting_larger_bit_for_bit():
    grown = grow(create(4), jax.random.key(0), *networks(8), TX, reset=True)
    grown = grow(grown, jax.random.key(0), *networks(16), TX, reset=True)
    born = create(16)
    for name in ("g_params", "d_params", "g_ema", "g_opt", "d_opt"):
        jax.tree.map(
            np.testing.assert_array_equal, getattr(grown, name), getattr(born, name)
        )


@pytest.mark.parametrize("reset", [True, False])
def test_growth_carries_old_layers_over_and_adds_new_ones(reset):
    old = trained(create(8))
    grown = grow(old, jax.random.key(0), *networks(16), TX, reset=reset)
    born = create(16)
    for name in ("g_params", "d_params", "g_ema"):
        before, after = flat(getattr(old, name)), flat(getattr(grown, name))
        new = flat(getattr(born, name))
        assert after.keys() == new.keys()
        for path, value in after.items():
            expected = before[path] if path in before else new[path]
            np.testing.assert_array_equal(value, expected)
    assert grown.pairs == 5
    new_layers = flat(grown.g_ema).keys() - flat(old.g_ema).keys()
    assert {path[0] for path in new_layers} == {"block_16x16", "to_rgb_16x16"}


def test_growth_without_reset_keeps_moments_and_starts_new_ones_at_zero():
    old = trained(create(8))
    grown = grow(old, jax.random.key(0), *networks(16), TX, reset=False)
    for name in ("g_opt", "d_opt"):
        before, after = getattr(old, name), getattr(grown, name)
        assert after.count == before.count
        for moment in ("mu", "nu"):
            kept = flat(getattr(before, moment))
            for path, value in flat(getattr(after, moment)).items():
                expected = kept[path] if path in kept else jnp.zeros_like(value)
                np.testing.assert_array_equal(value, expected)


def test_reset_clears_moments_and_counts_but_no_parameter():
    old = trained(create(8))
    new = reset_optimizers(old, TX)
    for leaf in jax.tree.leaves((new.g_opt, new.d_opt)):
        assert not leaf.any()
    jax.tree.map(np.testing.assert_array_equal, new.g_params, old.g_params)


def test_running_mean_of_scores_outlives_growth_and_resets():
    followed = {"fake_scores": jnp.float32(0.7)}
    inputs = jax.random.key(0), *networks(4), TX
    state = create_state(*inputs, loss_state=followed)
    state = grow(state, jax.random.key(0), *networks(8), TX, reset=True)
    state = reset_sums(reset_optimizers(state, TX))
    assert state.loss_state == followed


def test_reset_sums_clears_sums_alone():
    state = create(4).replace(sums={"d_loss": jnp.ones([])})
    assert reset_sums(state).sums == {"d_loss": 0}


def test_average_keeps_the_given_share():
    ema, params = {"a": jnp.float32([1, 2])}, {"a": jnp.float32([11, 22])}
    assert np.array_equal(average(ema, params, 1.0)["a"], ema["a"])
    assert np.array_equal(average(ema, params, 0.0)["a"], params["a"])
    np.testing.assert_allclose(average(ema, params, 0.9)["a"], [2, 4], rtol=1e-6)
