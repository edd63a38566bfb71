"""Steps of a family unlike Progressive GAN: stats in both networks, a loss state.

Its G averages latents, its D counts the images that it is applied to in training, and
G's loss compares fakes with real images. Everything is small enough for a formula.
"""

from types import SimpleNamespace
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from progan_jax.models.common import Examples, generate_in_training
from progan_jax.training.config import StepOptions
from progan_jax.training.state import create_state, grow
from progan_jax.training.steps import Steps

N, DECAY = 8, 0.5


class Generator(nn.Module):
    """Images z * gain; `stats` hold a running average of the latents."""

    resolution = 4
    num_classes, latent_size, options = 0, 16, None

    @nn.compact
    def __call__(self, z, labels=None, alpha=1.0, train=False):
        del labels, alpha
        average = self.variable("stats", "average", lambda: jnp.zeros(16))
        if train:
            average.value = DECAY * average.value + (1 - DECAY) * z.mean(axis=0)
        gain = self.param("gain", nn.initializers.ones, ())
        return gain * z.reshape(-1, 4, 4, 1)


class Discriminator(nn.Module):
    """Scores gain * mean(images); `stats` count the images of the training."""

    resolution, channels = 4, 1

    @nn.compact
    def __call__(self, images, train=False, alpha=1.0):
        del alpha
        seen = self.variable("stats", "seen", lambda: jnp.zeros([]))
        if train:
            seen.value += images.shape[0]
        gain = self.param("gain", nn.initializers.ones, ())
        return gain * images.mean(axis=(1, 2, 3))


class Draws(NamedTuple):
    z: jax.Array
    labels: None


def draw(key, n, options, loss, log_probs):
    del options, loss, log_probs
    return Draws(jax.random.normal(key, (n, 16)), None)


def scores(inputs, params, images):
    variables = inputs.variables.d | {"params": params}
    out, changed = inputs.networks.discriminator.apply(
        variables, images, train=True, mutable=["stats"]
    )
    variables = inputs.variables._replace(d=variables | changed)
    return out, inputs._replace(variables=variables)


def d_loss(params, inputs):
    real, inputs = scores(inputs, params, inputs.reals.images)
    fake, inputs = scores(inputs, params, inputs.fakes.images)
    loss = fake.mean() - real.mean()
    mean = DECAY * inputs.loss_state["mean"] + (1 - DECAY) * fake.mean()
    return loss, ({"d_loss": loss}, inputs.variables.stats, {"mean": mean})


def g_loss(params, inputs):
    if inputs.fakes is None:
        images, g_stats = generate_in_training(
            inputs.networks.generator,
            inputs.variables.g | {"params": params},
            inputs.draws.z,
            None,
            inputs.progress,
        )
        inputs = inputs.with_fakes(Examples(images, None), g_stats)
    d_params = inputs.variables.d["params"]
    real, inputs = scores(inputs, d_params, inputs.reals.images)
    fake, inputs = scores(inputs, d_params, inputs.fakes.images)
    loss = jnp.square(fake.mean() - real.mean())
    return loss, ({"g_loss": loss}, inputs.variables.stats, inputs.loss_state)


FAMILY = SimpleNamespace(
    G_TAKES_REALS=True,
    d_loss=d_loss,
    g_loss=g_loss,
    draw_for_d=draw,
    draw_for_g=draw,
)


def make(**options):
    networks, tx = (Generator(), Discriminator()), optax.identity()
    steps = Steps(*networks, FAMILY, tx, StepOptions(loss=None, **options))
    state = create_state(jax.random.key(0), *networks, tx, {"mean": jnp.ones([])})
    return steps, state.replace(sums=steps.zero_sums(state, N))


def step_key():
    return jax.random.key(2)


def latents():
    """Returns the latents of every step with that key."""
    return np.asarray(draw(step_key(), N, None, None, None).z)


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
    np.testing.assert_allclose(state.g_params["gain"], gain, rtol=1e-5)


def test_both_losses_of_a_simultaneous_step_see_the_same_fakes_made_once():
    steps, state = make(simultaneous=True)
    after = steps.simultaneous_step(state, step_key(), reals(), 0.5, 1.0, 1.0)
    z, images = latents(), np.asarray(reals().images)
    difference = z.mean() - images.mean()
    np.testing.assert_allclose(after.d_params["gain"], 1 - difference, rtol=1e-5)
    gain = 1 - 2 * difference * z.mean()
    np.testing.assert_allclose(after.g_params["gain"], gain, rtol=1e-5)
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
    grown = grow(state, jax.random.key(0), *networks, steps.tx, reset=True)
    assert np.array_equal(grown.g_stats["average"], state.g_stats["average"])
    assert grown.d_stats["seen"] == 2 * N


def test_sums_are_named_by_the_losses():
    _, state = make()
    counts = {"d_steps", "g_steps", "d_skipped", "g_skipped"}
    assert set(state.sums) == {"d_loss", "g_loss"} | counts
