"""Steps of a family unlike Progressive GAN: stats in both networks, a loss state."""

import itertools
from dataclasses import replace
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from progan_jax.models.common import Examples, Penalty
from progan_jax.training.config import Controls, StepOptions
from progan_jax.training.optimizer import Optimizers
from progan_jax.training.state import create_state, grow
from progan_jax.training.steps import Steps
from tests.second_family import DECAY, FAMILY, Options, draw, make_networks

N = 8


def make(noise=0.0, **options):
    networks, tx = make_networks(Options(noise=noise), 4), optax.identity()
    steps = Steps(
        *networks, FAMILY, Optimizers(tx, tx), StepOptions(loss=None, **options)
    )
    create = jax.jit(create_state, static_argnums=(1, 2, 3))
    state = create(jax.random.key(0), *networks, tx, {"mean": jnp.ones([])})
    return steps, state.replace(sums=steps.zero_sums(state, N))


def step_key():
    return jax.random.key(2)


def latents():
    """Returns the latents of every step with that key."""
    return np.asarray(draw(jax.random.split(step_key(), 3), N, None, None, ()).w)


def reals():
    return Examples(jax.random.normal(jax.random.key(1), (N, 4, 4, 1)), None)


@pytest.mark.parametrize("parts", [1, 4])
def test_stats_go_from_part_to_part_and_parts_do_not_show_in_the_loss_state(parts):
    steps, state = make(microbatches=parts)
    state = steps.d_step(state, step_key(), reals(), 0.5, 0.1)
    average = np.zeros(16)
    for z in np.split(latents(), parts):
        average = DECAY * average + (1 - DECAY) * z.mean(axis=0)
    np.testing.assert_allclose(state.g_stats["average"], average, rtol=1e-5)
    assert state.d_stats["seen"] == 2 * N
    mean = DECAY + (1 - DECAY) * latents().mean()
    np.testing.assert_allclose(state.loss_state["mean"], mean, rtol=1e-5)
    state = steps.g_step(state, step_key(), N, reals(), 0.5, 0.1)
    assert state.d_stats["seen"] == 4 * N
    np.testing.assert_allclose(state.loss_state["mean"], mean, rtol=1e-5)


def test_the_loss_of_g_sees_real_images():
    steps, state = make()
    state = steps.g_step(state, step_key(), N, reals(), 0.5, 1.0)
    z = latents()
    difference = z.mean() - np.asarray(reals().images).mean()
    gain = 1 - 2 * difference * z.mean()
    np.testing.assert_allclose(state.g_params["block_4x4"], gain, rtol=1e-5)


def test_both_losses_of_a_simultaneous_step_see_the_same_fakes_made_once():
    steps, state = make(simultaneous=True)
    after = steps.simultaneous_step(state, step_key(), reals(), 0.5, 1.0, 1.0)
    z, images = latents(), np.asarray(reals().images)
    difference = z.mean() - images.mean()
    np.testing.assert_allclose(after.d_params["gain"], 1 - difference, rtol=1e-5)
    gain = 1 - 2 * difference * z.mean()
    np.testing.assert_allclose(after.g_params["block_4x4"], gain, rtol=1e-5)
    average = (1 - DECAY) * z.mean(axis=0)
    np.testing.assert_allclose(after.g_stats["average"], average, rtol=1e-5)
    assert after.d_stats["seen"] == 4 * N
    mean = DECAY + (1 - DECAY) * z.mean()
    np.testing.assert_allclose(after.loss_state["mean"], mean, rtol=1e-5)


def test_a_skipped_step_leaves_stats_and_loss_state():
    steps, state = make()
    broken = reals()._replace(images=reals().images * np.nan)
    after = steps.d_step(state, step_key(), broken, 0.5, 0.1)
    assert after.sums["d_skipped"] == 1
    assert not after.g_stats["average"].any()
    assert after.d_stats["seen"] == 0
    assert after.loss_state["mean"] == 1


def test_stats_are_carried_over_a_growth():
    steps, state = make()
    state = steps.d_step(state, step_key(), reals(), 0.5, 0.1)
    networks = steps.generator, steps.discriminator
    grown = grow(state, jax.random.key(0), *networks, steps.tx.g, reset=True)
    assert np.array_equal(grown.g_stats["average"], state.g_stats["average"])
    assert grown.d_stats["seen"] == 2 * N


def test_sums_are_named_by_the_losses():
    _, state = make()
    counts = {"d_steps", "g_steps", "d_skipped", "g_skipped"}
    losses = {"d_loss", "g_loss", "g_square", "real_scores", "fake_scores"}
    assert set(state.sums) == losses | counts


def test_the_average_of_g_takes_its_stats_as_they_are_when_it_is_updated():
    steps, state = make()  # The average follows each step of D.
    state = steps.d_step(state, step_key(), reals(), 0.5, 0.1)
    then = np.asarray(state.g_stats["average"])
    state = steps.g_step(state, step_key(), N, reals(), 0.5, 0.1)
    assert np.array_equal(state.averaged["stats"]["average"], then)
    assert not np.array_equal(state.g_stats["average"], then)


def test_noise_by_an_images_number_does_not_depend_on_the_parts_of_its_batch():
    scores = []
    for parts in (1, 4):
        steps, state = make(noise=1.0, microbatches=parts)
        state = steps.d_step(state, step_key(), reals(), 0.5, 0.1)
        scores.append(state.sums["fake_scores"])
    steps, state = make()
    plain = steps.d_step(state, step_key(), reals(), 0.5, 0.1).sums["fake_scores"]
    np.testing.assert_allclose(scores[0], scores[1], rtol=1e-5)
    assert abs(plain - scores[0]) > 0.01


def always_the_same_latents(keys, n, *rest):
    del keys
    return draw(jax.random.split(jax.random.key(9), 3), n, *rest)


def test_noise_of_networks_differs_from_step_to_step():
    """D's steps and G's, with the same latents and real images throughout."""
    steps, state = make(noise=1.0)
    draws = dict.fromkeys(("draw_for_d", "draw_for_g"), always_the_same_latents)
    steps = replace(steps, family=SimpleNamespace(**vars(FAMILY) | draws))
    scores, losses = [], []
    for seed in range(3):
        after = steps.d_step(state, jax.random.key(seed), reals(), 0.5, 0.1)
        scores.append(float(after.sums["fake_scores"]))
        after = steps.g_step(state, jax.random.key(seed), N, reals(), 0.5, 0.1)
        losses.append(float(after.sums["g_loss"]))
    for values in (scores, losses):
        assert min(abs(a - b) for a, b in itertools.combinations(values, 2)) > 1e-3


EVERY, START = 2, 3 * N  # Pairs, and images shown.


def penalise(g_params, inputs):
    """The gain times the latents' mean square."""
    z = inputs.draws.w
    loss = g_params["block_4x4"] * jnp.mean(z**2)
    scalars = {"penalty_loss": loss, "penalty_rows": jnp.float32(len(z))}
    return loss, (scalars, inputs.variables.stats, inputs.loss_state)


def make_penalised(**options):
    steps, state = make(**options)
    penalty = Penalty(lambda loss: (EVERY, START), penalise)
    family = SimpleNamespace(**vars(FAMILY) | {"G_PENALTY": penalty})
    steps = replace(steps, family=family)
    return steps, state.replace(sums=steps.zero_sums(state, N))


def test_a_penalty_on_g_is_an_update_of_its_own_on_half_as_many_latents():
    steps, state = make_penalised()
    after = steps.penalty_step(state, step_key(), N, 0.5, 0.1)
    z = draw(jax.random.split(step_key(), 3), N // 2, None, None, ()).w
    gain = 1 - 0.1 * np.mean(np.square(z))
    np.testing.assert_allclose(after.g_params["block_4x4"], gain, rtol=1e-5)
    sums = {name: float(value) for name, value in after.sums.items()}
    assert (sums["penalty_steps"], sums["penalty_skipped"], sums["g_steps"]) == (
        1,
        0,
        0,
    )
    assert sums["penalty_rows"] == N // 2
    assert np.array_equal(after.d_params["gain"], state.d_params["gain"])


class Batches:
    """The same real images in every step."""

    def take(self, pair, repeat):
        del pair, repeat
        images = jnp.zeros((N, 4, 4, 1), jnp.uint8)
        return images, jnp.zeros(N, jnp.int32), jnp.zeros(N, bool)


def run(steps, state, pairs):
    rows, nimg = jnp.ones(pairs), N * jnp.arange(pairs, dtype=jnp.float32)
    controls = Controls(jnp.int32(pairs), rows, 0.01 * rows, 0.01 * rows, nimg)
    return jax.jit(lambda state: steps.run(state, Batches(), controls)[0])(state)


def test_a_penalty_on_g_is_taken_every_few_pairs_from_its_start_on():
    steps, state = make_penalised()
    pairs = 9
    after = run(steps, state, pairs)
    due = [n for n in range(pairs) if n % EVERY == 0 and n * N >= START]
    assert due == [4, 6, 8]
    assert after.sums["penalty_steps"] == len(due)
    assert after.sums["g_steps"] == pairs


def test_without_a_penalty_the_steps_have_no_sums_for_one():
    steps, state = make()
    after = run(steps, state, 3)
    assert not [name for name in after.sums if name.startswith("penalty")]


def test_the_half_life_of_the_average_rises_with_the_images_shown():
    ramp = 0.05 / N  # At most a twentieth of the images shown.
    for shown in (0, 4 * N, 400 * N):
        steps, state = make(ema_decay=0.5, ema_ramp=ramp, ema_after="g_step")
        state = state.replace(g_ema={"block_4x4": jnp.float32(2)})
        after = steps.g_step(state, step_key(), N, reals(), 0.5, 0.0, nimg=shown)
        decay = min(0.5, 0.5 ** (N / max(0.05 * shown, 1e-30)))
        expected = decay * 2 + (1 - decay)
        np.testing.assert_allclose(after.g_ema["block_4x4"], expected, rtol=1e-6)


def test_g_and_d_have_optimizers_of_their_own():
    steps, state = make()
    steps = replace(steps, tx=Optimizers(optax.identity(), optax.scale(2.0)))
    once, twice = (
        tried.d_step(state, step_key(), reals(), 0.5, 0.1).d_params["gain"] - 1
        for tried in (make()[0], steps)
    )
    np.testing.assert_allclose(twice, 2 * once, rtol=1e-5)
