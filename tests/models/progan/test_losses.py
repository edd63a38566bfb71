"""Losses of a discriminator simple enough to be differentiated by hand."""

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
from progan_jax.models.penalties import class_penalty, gradient_penalty
from progan_jax.models.progan.losses import Draws, d_loss, g_loss
from progan_jax.models.progan.options import LossOptions

N = 6
CLASSES = 3


@pytest.fixture(autouse=True)
def strict_dtypes():
    with jax.numpy_dtype_promotion("strict"):
        yield


def arrays(seed=0):
    rng = np.random.default_rng(seed)
    reals, fakes = rng.normal(size=(2, N, 4, 4, 1)).astype(np.float32)
    mix = rng.uniform(size=(N, 1, 1, 1)).astype(np.float32)
    return reals, fakes, mix


class Fixed:
    """A discriminator without parameters, applied to real images and fakes apart."""

    sees_batch = True

    def __init__(self, score):
        self.score = score

    def apply(self, variables, images, labels, alpha, noise, sets, rngs=None):
        return self.score(images)


def inputs(score, reals, fakes, mix, options, ratio=1.0):
    networks = Networks(None, Fixed(score))
    draws = Draws(z=None, labels=None, mix=mix, numbers=None)
    progress = Progress(jnp.float32(0.5), ratio, jax.random.key(0))
    none = {"params": {}, "stats": {}}
    return LossInputs(
        networks, Variables(none, none), reals, fakes, draws, progress, {}, options
    )


def discriminator_loss(
    score, reals, fakes, mix, real_labels, fake_labels, options, ratio=1.0
):
    reals, fakes = Examples(reals, real_labels), Examples(fakes, fake_labels)
    loss, aux = d_loss({}, inputs(score, reals, fakes, mix, options, ratio))
    return loss, aux[0]


def generator_loss(score, fakes, labels, options, reals=None):
    reals, fakes = Examples(reals, None), Examples(fakes, labels)
    loss, aux = g_loss({}, inputs(score, reals, fakes, None, options))
    return loss, aux[0]


WEIGHTS = np.random.default_rng(1).normal(size=(1, 4, 4, 1)).astype(np.float32)
HEAD = np.random.default_rng(2).normal(size=(16, CLASSES)).astype(np.float32)


def quadratic(images):
    """Scores sum(w * x**2) / 2, whose gradient is w * x."""
    scores = jnp.sum(WEIGHTS * jnp.square(images), axis=(1, 2, 3)) / 2
    return DiscriminatorOutput(scores, images.reshape(N, -1) @ HEAD, scores * 0 + 0.5)


def scores_of(images):
    return (WEIGHTS.astype(np.float64) * images**2).sum(axis=(1, 2, 3)) / 2


def cross_entropy(images, labels):
    logits = images.reshape(N, -1).astype(np.float64) @ HEAD
    log_probs = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    return -log_probs[np.arange(N), labels].mean()


@pytest.mark.parametrize(
    ("options", "ratio"),
    [
        (LossOptions(), 1.0),
        (LossOptions(gp_weight=3.0, gp_target=750.0), 8.0),
        (LossOptions(drift_weight=0.5, gp_target=2.0), 1.0),
    ],
)
def test_wgan_gp_is_the_papers_formula(options, ratio):
    reals, fakes, mix = arrays()
    loss, metrics = discriminator_loss(
        quadratic, reals, fakes, mix, None, None, options, ratio
    )
    mixed = reals + mix * (fakes - reals)
    norms = np.sqrt(((WEIGHTS * mixed) ** 2).sum(axis=(1, 2, 3)))
    norms = norms / ratio
    gamma = options.gp_target
    penalty = options.gp_weight / gamma**2 * (norms - gamma) ** 2
    drift = options.drift_weight * scores_of(reals) ** 2
    expected = np.mean(scores_of(fakes) - scores_of(reals) + penalty + drift)
    np.testing.assert_allclose(loss, expected, rtol=1e-5)
    np.testing.assert_allclose(metrics["mixed_norms"], norms.mean(), rtol=1e-5)
    np.testing.assert_allclose(
        metrics["mixed_scores"], scores_of(mixed).mean(), rtol=1e-4
    )
    np.testing.assert_allclose(metrics["epsilon_penalty"], drift.mean(), rtol=1e-5)
    np.testing.assert_allclose(
        metrics["real_scores"], scores_of(reals).mean(), rtol=1e-5
    )
    np.testing.assert_allclose(
        metrics["fake_scores"], scores_of(fakes).mean(), rtol=1e-5
    )


def test_generator_loss_is_minus_the_mean_score():
    _, fakes, _ = arrays()
    loss, _ = generator_loss(quadratic, fakes, None, LossOptions())
    np.testing.assert_allclose(loss, -scores_of(fakes).mean(), rtol=1e-5)


def test_lsgan_draws_real_images_to_zero_and_fakes_to_one_at_a_tenth():
    reals, fakes, mix = arrays()
    options = LossOptions(kind="lsgan")
    loss, metrics = discriminator_loss(
        quadratic, reals, fakes, mix, None, None, options
    )
    expected = np.mean(scores_of(reals) ** 2) + 0.1 * np.mean(
        (scores_of(fakes) - 1) ** 2
    )
    np.testing.assert_allclose(loss, expected, rtol=1e-5)
    assert "mixed_norms" not in metrics
    loss, _ = generator_loss(quadratic, fakes, None, options)
    np.testing.assert_allclose(loss, np.mean(scores_of(fakes) ** 2), rtol=1e-5)


@pytest.mark.parametrize("kind", ["wgan_gp", "lsgan", "relativistic"])
def test_class_terms_are_cross_entropies_of_real_images_and_of_fakes(kind):
    reals, fakes, mix = arrays()
    real_labels, fake_labels = (
        np.int32([0, 1, 2, 0, 1, 2]),
        np.int32([2, 2, 1, 1, 0, 0]),
    )
    options = LossOptions(kind=kind, label_weight=0.25)
    plain, _ = discriminator_loss(quadratic, reals, fakes, mix, None, None, options)
    loss, metrics = discriminator_loss(
        quadratic, reals, fakes, mix, real_labels, fake_labels, options
    )
    of_reals = cross_entropy(reals, real_labels)
    of_fakes = cross_entropy(fakes, fake_labels)
    np.testing.assert_allclose(
        loss - plain, 0.25 * (of_reals + of_fakes), rtol=1e-4, atol=1e-5
    )
    np.testing.assert_allclose(metrics["label_penalty_reals"], of_reals, rtol=1e-5)
    np.testing.assert_allclose(metrics["label_penalty_fakes"], of_fakes, rtol=1e-5)
    g_plain, _ = generator_loss(quadratic, fakes, None, options, reals)
    g_full, _ = generator_loss(quadratic, fakes, fake_labels, options, reals)
    np.testing.assert_allclose(g_full - g_plain, 0.25 * of_fakes, rtol=1e-4, atol=1e-5)


def test_class_penalty_of_a_certain_right_answer_is_zero():
    assert class_penalty(jnp.float32([[50, 0]]), jnp.int32([0])) < 1e-6


def test_classes_past_the_last_have_no_entropy_and_no_gradient():
    logits = jnp.asarray(np.random.default_rng(0).normal(size=(4, 2)), jnp.float32)
    labels = np.int32([1, 2, 0, 7])
    one_hot = np.float32([[0, 1], [0, 0], [1, 0], [0, 0]])
    probs = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    value, gradient = jax.value_and_grad(class_penalty)(logits, labels)
    np.testing.assert_allclose(value, -(one_hot * np.log(probs)).sum() / 4, rtol=1e-5)
    known = one_hot.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(gradient, known * (probs - one_hot) / 4, atol=1e-6)


def test_penalty_of_a_flat_discriminator_has_finite_gradients():
    """The norm's derivative at zero is 0 / 0; a dead D must not become NaN."""

    def loss(weight):
        def flat(images):
            return weight * jnp.sum(images, axis=(1, 2, 3))

        terms = gradient_penalty(
            flat, arrays()[0], weight=10.0, target=1.0, resolution_ratio=1.0
        )
        return jnp.mean(terms[0])

    value, gradient = jax.value_and_grad(loss)(jnp.float32(0))
    assert value == 10
    assert gradient == 0


def test_penalty_differentiates_to_second_order(float64):
    reals, fakes, mix = (np.float64(x) for x in arrays())

    def loss(weights):
        def discriminator(images):
            scores = jnp.sum(jnp.tanh(weights * images), axis=(1, 2, 3))
            return DiscriminatorOutput(scores, scores[:, None], scores)

        return discriminator_loss(
            discriminator, reals, fakes, mix, None, None, LossOptions()
        )[0]

    check_grads(loss, (np.float64(WEIGHTS),), order=1, modes=["rev"], atol=1e-5)


def test_mix_is_the_share_of_the_fake():
    """0 leaves the reals, 1 the fakes."""
    reals, fakes, _ = arrays()
    for share, images in ((0.0, reals), (1.0, fakes)):
        mix = np.full((N, 1, 1, 1), share, np.float32)
        _, metrics = discriminator_loss(
            quadratic, reals, fakes, mix, None, None, LossOptions()
        )
        expected = np.sqrt(((WEIGHTS * images) ** 2).sum(axis=(1, 2, 3))).mean()
        np.testing.assert_allclose(metrics["mixed_norms"], expected, rtol=1e-5)
