"""The relativistic loss of both families, against NumPy on a small D in float64."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from progan_jax.models import progan, stylegan
from progan_jax.models.common import (
    DiscriminatorOutput,
    Examples,
    LossInputs,
    Networks,
    Progress,
    Variables,
)
from progan_jax.models.relativistic import advised_gamma

N, RATIO = 5, 2.0
GAMMAS = {"r1_weight": 3.0, "r2_weight": 0.7}
FAMILIES = [progan, stylegan]
RNG = np.random.default_rng(3)
REALS, FAKES = RNG.normal(size=(2, N, 4, 4, 1))
INNER, OUTER = RNG.normal(size=(16, 3)) / 4, RNG.normal(size=3)


class Discriminator:
    """Scores tanh(x . INNER) . weights; both families' losses can call it."""

    sees_batch = False

    def apply(self, variables, images, labels, alpha, *args, **named):
        hidden = jnp.tanh(images.reshape(len(images), -1) @ INNER)
        scores = hidden @ variables["params"]
        return DiscriminatorOutput(scores, scores[:, None][:, :0], scores * 0)


def scores_of(images, weights=OUTER):
    return np.tanh(images.reshape(len(images), -1) @ INNER) @ weights


def squares_of(images, step=1e-6):
    """Squared norms of the scores' gradients, by differences of each pixel."""
    squares = np.zeros(N)
    for pixel in np.ndindex(images.shape[1:]):
        change = np.zeros(images.shape)
        change[:, *pixel] = step
        slopes = (scores_of(images + change) - scores_of(images - change)) / (2 * step)
        squares += slopes**2
    return squares


def softplus(x):
    return np.log(1 + np.exp(x))


def inputs(family, reals=REALS, fakes=FAKES, **options):
    options = family.LossOptions(kind="relativistic", **{**GAMMAS, **options})
    variables = {"params": jnp.asarray(OUTER), "stats": {}}
    return LossInputs(
        Networks(None, Discriminator()),
        Variables(variables, variables),
        Examples(jnp.asarray(reals), None),
        Examples(jnp.asarray(fakes), None),
        SimpleNamespace(numbers=None, labels=None),
        Progress(jnp.float64(1), RATIO, jax.random.key(0)),
        {},
        options,
    )


@pytest.mark.parametrize("family", FAMILIES)
def test_loss_of_d_is_that_of_the_pairs_and_gamma_halves_of_r1_and_r2(family, float64):
    loss, (scalars, *_) = family.d_loss(jnp.asarray(OUTER), inputs(family))
    r1, r2 = (np.mean(squares_of(x)) / RATIO**2 for x in (REALS, FAKES))
    pairs = np.mean(softplus(-(scores_of(REALS) - scores_of(FAKES))))
    np.testing.assert_allclose(loss, pairs + 3.0 / 2 * r1 + 0.7 / 2 * r2, rtol=1e-8)
    np.testing.assert_allclose(scalars["r1_penalty"], r1, rtol=1e-8)
    np.testing.assert_allclose(scalars["r2_penalty"], r2, rtol=1e-8)
    np.testing.assert_allclose(
        [scalars["real_scores"], scalars["fake_scores"]],
        [scores_of(REALS).mean(), scores_of(FAKES).mean()],
        rtol=1e-12,
    )


@pytest.mark.parametrize("family", FAMILIES)
def test_loss_of_g_is_that_of_the_pairs_with_both_in_each_others_place(family, float64):
    loss, (scalars, *_) = family.g_loss({}, inputs(family))
    pairs = np.mean(softplus(-(scores_of(FAKES) - scores_of(REALS))))
    np.testing.assert_allclose(loss, pairs, rtol=1e-12)
    assert scalars.keys() == {"g_loss"}


@pytest.mark.parametrize("family", FAMILIES)
def test_image_i_is_paired_with_fake_i_alone(family, float64):
    order = np.array([1, 0, 2, 3, 4])
    plain = family.d_loss(jnp.asarray(OUTER), inputs(family))[0]
    both = inputs(family, REALS[order], FAKES[order])
    np.testing.assert_allclose(family.d_loss(OUTER, both)[0], plain, rtol=1e-12)
    other = family.d_loss(OUTER, inputs(family, REALS[order]))[0]
    assert abs(other - plain) > 1e-3


@pytest.mark.parametrize("family", FAMILIES)
def test_losses_differentiate_to_second_order(family, float64):
    def of_d(weights):
        return family.d_loss(weights, inputs(family))[0]

    def of_g(fakes):
        return family.g_loss({}, inputs(family, fakes=fakes))[0]

    check_grads(of_d, (jnp.asarray(OUTER),), order=1, modes=["rev"], atol=1e-6)
    check_grads(of_g, (jnp.asarray(FAKES),), order=1, modes=["rev"], atol=1e-6)


@pytest.mark.parametrize("family", FAMILIES)
def test_both_penalties_are_needed_and_what_others_read_is_refused(family):
    def lines(**loss):
        loss = family.LossOptions(kind="relativistic", **loss)
        return list(family.joint_faults(family.Options(resolution=32), loss))

    assert not lines(**GAMMAS)
    assert lines(r1_weight=10.0, r2_weight=0.0) == [
        "config.loss.r2_weight = 0 switches R2 off, and config.loss.kind = "
        "'relativistic' needs R1 and R2; set both weights to a gamma, such as 0.5"
    ]
    [line] = lines(**GAMMAS, drift_weight=0.5)
    assert line == (
        "config.loss.drift_weight = 0.5 is not read with config.loss.kind = "
        "'relativistic'; leave it at 0.001"
    )
    assert len(lines(**GAMMAS, gp_weight=1.0, gp_target=750.0)) == 2


def test_gamma_begins_as_the_authors_do_at_64_and_grows_with_the_square_of_the_side():
    assert [advised_gamma(r) for r in (64, 32, 256)] == [2, 0.5, 32]


# The first and the last gamma of R3GAN's presets, by set and side.
PRESETS = {
    ("ImageNet", 32): (0.5, 0.05),
    ("FFHQ", 64): (2, 0.2),
    ("FFHQ", 256): (150, 15),
}


@pytest.mark.parametrize(("preset", "gammas"), PRESETS.items())
def test_gamma_is_one_that_the_authors_train_with(preset, gammas):
    first, last = gammas
    assert last <= advised_gamma(preset[1]) <= first


def test_gamma_grows_as_that_of_stylegan2_ada():
    def auto(resolution, batch=32):
        return 0.0002 * resolution**2 / batch

    for side in (16, 32, 128, 1024):
        ratio = advised_gamma(side) / advised_gamma(64)
        assert ratio == pytest.approx(auto(side) / auto(64))
