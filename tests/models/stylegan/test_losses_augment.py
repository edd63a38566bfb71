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
from progan_jax.models.stylegan import losses
from progan_jax.models.stylegan.losses import Draws, d_loss, g_loss
from progan_jax.models.stylegan.options import LossOptions
from tests.augmented import POLICY, affine_maps, drawn_for, pull_back, see

N, SIDE, RATIO = 4, 8, 2.0
KINDS = ("nonsaturating", "saturating", "wgan", "wgan_gp", "hinge", "hinge_gp")
WEIGHTS = np.random.default_rng(1).normal(size=(SIDE * SIDE)).astype(np.float32)

pytestmark = pytest.mark.usefixtures("strict_dtypes")


class Quadratic:
    """Scores weight * sum(w * x**2) / 2, and keeps the images that it is given."""

    def __init__(self):
        self.seen = []

    def apply(self, variables, images, labels, alpha, *, sets):
        self.seen.append(images)
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


def inputs(reals, fakes, mix, policy=POLICY, **options):
    draws = Draws(None, None, None, mix, jnp.arange(N, dtype=jnp.int32))
    progress = Progress(jnp.float32(0.5), RATIO, step_key())
    weight = {"params": jnp.ones([], reals.dtype), "stats": {}}
    return LossInputs(
        Networks(None, Quadratic()),
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


def scores_and_squares(what, images):
    """Returns D's scores, and the squared norms of their gradients by the images."""
    seen = see(maps := maps_of(what), images)
    gradients = pull_back(maps, WEIGHTS * seen)
    return (WEIGHTS * seen**2).sum(axis=1) / 2, (gradients**2).sum(axis=1) / RATIO**2


def softplus(x):
    return np.logaddexp(0, x)


def of_kind(kind, real, fake):
    if kind in ("nonsaturating", "saturating"):
        return np.mean(softplus(fake) + softplus(-real))
    if kind in ("wgan", "wgan_gp"):
        return np.mean(fake - real + 0.001 * real**2)
    return np.mean(np.maximum(0, 1 + fake) + np.maximum(0, 1 - real))


@pytest.mark.parametrize("kind", KINDS)
def test_losses_of_d_are_those_of_changed_images(kind):
    """With penalties of the gradients by the images before the change."""
    reals, fakes, mix = arrays()
    given = inputs(reals, fakes, mix, kind=kind, r2_weight=3.0, gp_target=2.0)
    loss, (scalars, *_) = d_loss(jnp.float32(1), given)
    real, of_reals = scores_and_squares(losses._REALS, reals)
    fake, of_fakes = scores_and_squares(losses._FAKES, fakes)
    mixed = reals + mix * (fakes - reals)
    _, of_mixed = scores_and_squares(losses._MIXED, mixed)
    penalty = 0.0
    if "saturating" in kind:
        penalty = np.mean(10 / 2 * of_reals + 3 / 2 * of_fakes)
        np.testing.assert_allclose(scalars["r1_penalty"], of_reals.mean(), rtol=1e-4)
        np.testing.assert_allclose(scalars["r2_penalty"], of_fakes.mean(), rtol=1e-4)
    if kind.endswith("_gp"):
        penalty = np.mean(10 / 2**2 * (np.sqrt(of_mixed) - 2) ** 2)
    expected = of_kind(kind, real, fake) + penalty
    np.testing.assert_allclose(loss, expected, rtol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_losses_of_g_are_those_of_changed_images(kind):
    loss, _ = g_loss({}, inputs(*arrays(), kind=kind))
    fake, _ = scores_and_squares(losses._FAKES, arrays()[1])
    expected = {"nonsaturating": softplus(-fake), "saturating": -softplus(fake)}
    np.testing.assert_allclose(loss, np.mean(expected.get(kind, -fake)), rtol=1e-4)


@pytest.mark.parametrize("kind", ["wgan", "wgan_gp"])
def test_losses_that_are_opposed_remain_so(kind):
    """One pass back through D then gives both gradients of a simultaneous step."""
    reals, fakes, mix = arrays()

    def of_d(images):
        return d_loss(jnp.float32(1), inputs(reals, images, mix, kind=kind))[0]

    def of_g(images):
        return g_loss({}, inputs(reals, images, mix, kind=kind))[0]

    by_d, by_g = jax.grad(of_d)(fakes), jax.grad(of_g)(fakes)
    assert np.any(by_g != 0)
    np.testing.assert_allclose(-by_d, by_g, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", ["nonsaturating", "wgan_gp"])
def test_penalties_of_changed_images_differentiate_to_second_order(kind, float64):
    given = [np.float64(x) for x in arrays()]

    def loss(weight):
        return d_loss(weight, inputs(*given, kind=kind, r2_weight=3.0))[0]

    check_grads(loss, (jnp.float64(0.7),), order=1, modes=["rev"], atol=1e-6)


def test_without_a_policy_d_is_given_the_images_themselves():
    reals, fakes, mix = arrays()
    given = inputs(reals, fakes, mix, policy=(), r1_weight=0.0)
    g_loss({}, given)
    (images,) = given.networks.discriminator.seen
    assert images is fakes
