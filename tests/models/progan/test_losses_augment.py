"""Losses of augmented images, by the matrices of their changes and by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from progan_jax.models.common import (
    DiscriminatorOutput,
    Examples,
    LossInputs,
    Networks,
    Progress,
    Variables,
)
from progan_jax.models.progan import losses
from progan_jax.models.progan.losses import Draws, d_loss, g_loss
from progan_jax.models.progan.options import LossOptions
from tests.augmented import POLICY, affine_maps, drawn_for, pull_back, see

N, SIDE = 4, 8
WEIGHTS = np.random.default_rng(1).normal(size=(SIDE * SIDE)).astype(np.float32)

pytestmark = pytest.mark.usefixtures("strict_dtypes")


class Quadratic:
    """Scores weight * sum(w * x**2) / 2, and keeps the images that it is given."""

    def __init__(self, sees_batch):
        self.sees_batch, self.seen = sees_batch, []

    def apply(self, variables, images, labels, alpha, noise, sets, rngs=None):
        self.seen.append((images, sets))
        weights = WEIGHTS.astype(images.dtype).reshape(1, SIDE, SIDE, 1)
        scores = jnp.sum(weights * jnp.square(images), axis=(1, 2, 3)) / 2
        scores = variables["params"] * scores
        return DiscriminatorOutput(scores, scores[:, None][:, :0], scores)


def arrays():
    rng = np.random.default_rng(0)
    reals, fakes = rng.normal(size=(2, N, SIDE, SIDE, 1)).astype(np.float32)
    mix = rng.uniform(size=(N, 1, 1, 1)).astype(np.float32)
    return reals, fakes, mix


def step_key():
    return jax.random.key(5)


def inputs(reals, fakes, mix, policy=POLICY, sees_batch=False, **options):
    draws = Draws(None, None, mix, jnp.arange(N, dtype=jnp.int32))
    progress = Progress(jnp.float32(0.5), 2.0, step_key())
    weight = {"params": jnp.ones([], reals.dtype), "stats": {}}
    return LossInputs(
        Networks(None, Quadratic(sees_batch)),
        Variables(weight, weight),
        Examples(reals, None),
        Examples(fakes, None),
        draws,
        progress,
        {},
        LossOptions(**options),
        augment=policy,
    )


def maps_of(what):
    drawn = drawn_for(step_key(), losses._AUGMENT_KEY, what, N, SIDE)
    return affine_maps(drawn, N, SIDE)


def scores_of(seen):
    return (WEIGHTS * seen**2).sum(axis=1) / 2


@pytest.mark.parametrize("sees_batch", [False, True])
def test_wgan_gp_is_that_of_changed_images_with_gradients_by_the_unchanged(sees_batch):
    reals, fakes, mix = arrays()
    given = inputs(reals, fakes, mix, sees_batch=sees_batch, gp_target=2.0)
    loss, (scalars, *_) = d_loss(jnp.float32(1), given)
    real = scores_of(see(maps_of(losses._REALS), reals))
    fake = scores_of(see(maps_of(losses._FAKES), fakes))
    of_mixed = maps_of(losses._MIXED)
    seen = see(of_mixed, reals + mix * (fakes - reals))
    norms = np.linalg.norm(pull_back(of_mixed, WEIGHTS * seen), axis=1) / 2
    penalty = 10 / 2**2 * (norms - 2) ** 2
    expected = np.mean(fake - real + penalty + 0.001 * real**2)
    np.testing.assert_allclose(loss, expected, rtol=1e-4)
    np.testing.assert_allclose(scalars["real_scores"], real.mean(), rtol=1e-4)
    np.testing.assert_allclose(scalars["fake_scores"], fake.mean(), rtol=1e-4)
    np.testing.assert_allclose(scalars["mixed_norms"], norms.mean(), rtol=1e-4)
    # Each kind of images has changes of its own.
    assert abs(real - scores_of(see(maps_of(losses._FAKES), reals))).min() > 1e-3


def test_lsgan_and_both_losses_of_g_are_those_of_changed_images():
    reals, fakes, mix = arrays()
    real, fake = (
        scores_of(see(maps_of(what), images))
        for what, images in ((losses._REALS, reals), (losses._FAKES, fakes))
    )
    loss, _ = d_loss(jnp.float32(1), inputs(reals, fakes, mix, kind="lsgan"))
    expected = np.mean(real**2) + 0.1 * np.mean((fake - 1) ** 2)
    np.testing.assert_allclose(loss, expected, rtol=1e-4)
    of_g = {"lsgan": np.mean(fake**2), "wgan_gp": -fake.mean()}
    for kind, expected in of_g.items():
        loss, _ = g_loss({}, inputs(reals, fakes, mix, kind=kind))
        np.testing.assert_allclose(loss, expected, rtol=1e-4)


def test_losses_that_are_opposed_remain_so():
    """One pass back through D then gives both gradients of a simultaneous step."""
    reals, fakes, mix = arrays()

    def of_d(images):
        return d_loss(jnp.float32(1), inputs(reals, images, mix))[0]

    def of_g(images):
        return g_loss({}, inputs(reals, images, mix))[0]

    by_d, by_g = jax.grad(of_d)(fakes), jax.grad(of_g)(fakes)
    np.testing.assert_allclose(-by_d, by_g, rtol=1e-5, atol=1e-6)
    expected = pull_back(maps := maps_of(losses._FAKES), WEIGHTS * see(maps, fakes))
    np.testing.assert_allclose(by_g.reshape(N, -1), -expected / N, rtol=1e-4, atol=1e-6)


def test_the_penalty_of_changed_images_differentiates_to_second_order(float64):
    given = [np.float64(x) for x in arrays()]

    def loss(weight):
        return d_loss(weight, inputs(*given))[0]

    check_grads(loss, (jnp.float64(0.7),), order=1, modes=["rev"], atol=1e-6)


def test_without_a_policy_d_is_given_the_images_themselves():
    reals, fakes, mix = arrays()
    given = inputs(reals, fakes, mix, policy=(), sees_batch=True, kind="lsgan")
    d_loss(jnp.float32(1), given)
    g_loss({}, given)
    seen = [images for images, _ in given.networks.discriminator.seen]
    expected = [reals, fakes, fakes]
    assert all(a is b for a, b in zip(seen, expected, strict=True))


def test_real_images_and_fakes_take_turns_with_changes_of_their_own():
    ones = np.ones((N, SIDE, SIDE, 1), np.float32)
    given = inputs(ones, ones, None, policy=("color",), kind="lsgan")
    d_loss(jnp.float32(1), given)
    ((images, sets),) = given.networks.discriminator.seen
    assert sets == 2 and len(images) == 2 * N
    expected = [
        drawn_for(step_key(), losses._AUGMENT_KEY, what, N, SIDE, ("color",)).brightness
        for what in (losses._REALS, losses._FAKES)
    ]
    # Of flat images colour leaves the brightness alone.
    found = np.asarray(images[:, 0, 0, 0]).reshape(N, 2) - 0.5
    np.testing.assert_allclose(found, np.stack(expected, axis=1), atol=1e-5)
    assert len(np.unique(found)) == 2 * N
