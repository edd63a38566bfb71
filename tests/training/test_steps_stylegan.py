"""StyleGAN's steps: when its averages move, and what parts of a batch change."""

import functools

import jax
import numpy as np
import optax
import pytest

from progan_jax.models import stylegan
from progan_jax.models.augmentation import POLICIES
from progan_jax.models.common import Examples
from progan_jax.models.stylegan import LossOptions, Options, make_networks
from progan_jax.models.stylegan.losses import draw_for_d
from progan_jax.training.config import StepOptions
from progan_jax.training.optimizer import Optimizers
from progan_jax.training.state import create_state
from progan_jax.training.steps import Steps

N, SIDE = 8, 4  # The smallest network that mixes: two layers.
MODEL = Options(
    resolution=SIDE,
    latent_size=8,
    w_size=8,
    mapping_width=8,
    mapping_layers=2,
    fmap_base=16,
    fmap_max=8,
)
DECAY = 0.995
PLAIN = LossOptions()
RELATIVISTIC = LossOptions(kind="relativistic", r1_weight=0.5, r2_weight=0.5)


@functools.cache
def make(parts, augment=(), loss=PLAIN):
    """Returns jitted steps of D and of G, of plain descent, and a first state."""
    networks, tx = make_networks(MODEL, SIDE), optax.identity()
    options = StepOptions(loss, ema_decay=0.9, augment=augment, microbatches=parts)
    steps = Steps(*networks, stylegan, Optimizers(tx, tx), options)
    create = jax.jit(lambda key: create_state(key, *networks, tx, {}))
    state = create(jax.random.key(0))
    state = state.replace(sums=steps.zero_sums(state, N))
    return jax.jit(steps.d_step), jax.jit(steps.g_step, static_argnums=2), state


def step_key():
    return jax.random.key(2)


def reals():
    images = jax.random.uniform(jax.random.key(1), (N, SIDE, SIDE, 3)) * 2 - 1
    return Examples(images, None)


def w_of_a_step(state):
    """Returns w [N, 8] of the first latents that a step with that key draws."""
    keys = jax.random.split(step_key(), 3)
    z = draw_for_d(keys, N, MODEL, LossOptions(), ()).z
    generator, _ = make_networks(MODEL, SIDE)
    return np.asarray(generator.apply(state.trained.g, z, method="mapping"))


def moved(average, w):
    mean = w.mean(axis=0)
    return mean + DECAY * (average - mean)


def test_the_average_of_w_follows_the_steps_of_d_and_those_of_g():
    d_step, g_step, state = make(1)
    average = moved(np.zeros(8), w_of_a_step(state))
    state = d_step(state, step_key(), reals(), 0.5, 0.0)
    np.testing.assert_allclose(state.g_stats["w_average"], average, rtol=1e-4)
    average = moved(average, w_of_a_step(state))
    state = g_step(state, step_key(), N, None, 0.5, 0.0)
    np.testing.assert_allclose(state.g_stats["w_average"], average, rtol=1e-4)
    # Fixed noise is drawn once, for good.
    for a, b in zip(
        *map(jax.tree.leaves, (state.g_stats, make(1)[2].g_stats)), strict=True
    ):
        assert a.shape == b.shape == (8,) or np.array_equal(a, b)


def test_the_averaged_g_takes_the_average_of_w_after_the_step_of_d():
    d_step, g_step, state = make(1)
    params = jax.tree.map(lambda x: x + 1, state.g_params)
    state = d_step(state.replace(g_params=params), step_key(), reals(), 0.5, 0.1)
    then = np.asarray(state.g_stats["w_average"])
    assert then.any()
    state = g_step(state, step_key(), N, None, 0.5, 0.1)
    assert np.array_equal(state.g_ema_stats["w_average"], then)
    assert not np.array_equal(state.g_stats["w_average"], then)
    # Parameters are averaged, by a step of D alone.
    before = jax.tree.leaves(make(1)[2].g_ema)
    for a, b in zip(before, jax.tree.leaves(state.g_ema), strict=True):
        np.testing.assert_allclose(b, a + 0.1, rtol=1e-4, atol=1e-5)


def test_a_skipped_step_leaves_the_average_of_w():
    d_step, _, state = make(1)
    broken = reals()._replace(images=reals().images * np.nan)
    state = d_step(state, step_key(), broken, 0.5, 0.1)
    assert state.sums["d_skipped"] == 1
    assert not state.g_stats["w_average"].any()


@pytest.mark.parametrize(("augment", "loss"), [((), PLAIN), (POLICIES, RELATIVISTIC)])
def test_parts_of_a_batch_change_nothing(augment, loss):
    """Noise and changes of images are those of each image's place in the batch."""
    after = []
    for parts in (1, 2):
        d_step, g_step, state = make(parts, augment, loss)
        strong = jax.tree_util.tree_map_with_path(
            lambda path, x: x + (path[-1].key == "noise_strength"), state.g_params
        )
        state = state.replace(g_params=strong)
        state = d_step(state, step_key(), reals(), 0.5, 0.1)
        taken = reals() if stylegan.g_takes_reals(loss) else None
        state = g_step(state, step_key(), N, taken, 0.5, 0.1)
        trained = state.d_params, state.g_params, state.g_stats["w_average"]
        after.append(jax.device_get((trained, state.sums)))
    for a, b in zip(*map(jax.tree.leaves, after), strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-4 * max(1, np.abs(a).max()))


def test_sums_are_named_by_the_losses():
    *_, state = make(1)
    counts = {"d_steps", "g_steps", "d_skipped", "g_skipped"}
    scores = {"real_scores", "fake_scores", "stddev_reals", "stddev_fakes"}
    losses = {"d_loss", "g_loss", "r1_penalty"}
    assert set(state.sums) == counts | scores | losses


@pytest.mark.parametrize(
    ("batch", "decay"), [(4, 0.99972), (32, 0.99778), (64, 0.99557), (512, 0.96513)]
)
def test_the_half_life_of_the_averaged_g_is_ten_thousand_images(batch, decay):
    from progan_jax.configs import stylegan_ffhq
    from progan_jax.training.config import make_step_options

    config = stylegan_ffhq.get_config()
    options = make_step_options(config, 1024, batch)
    assert options.ema_decay == pytest.approx(decay, abs=5e-6)
    assert options.ema_after == "d_step"
