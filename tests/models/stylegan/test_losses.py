"""Losses of a discriminator simple enough to be differentiated by hand."""

from collections import Counter
from types import SimpleNamespace

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
from progan_jax.models.stylegan.losses import (
    Draws,
    d_loss,
    draw_for_d,
    draw_for_g,
    draw_mixed_from,
    g_loss,
    is_zero_sum,
    make_fakes,
)
from progan_jax.models.stylegan.options import LossOptions, Options

N = 6
KINDS = (
    "nonsaturating",
    "saturating",
    "wgan",
    "wgan_gp",
    "hinge",
    "hinge_gp",
    "relativistic",
)
WEIGHTS = np.random.default_rng(1).normal(size=(1, 4, 4, 1)).astype(np.float32)


@pytest.fixture(autouse=True)
def strict_dtypes():
    with jax.numpy_dtype_promotion("strict"):
        yield


def arrays():
    rng = np.random.default_rng(0)
    reals, fakes = rng.normal(size=(2, N, 4, 4, 1)).astype(np.float32)
    mix = rng.uniform(size=(N, 1, 1, 1)).astype(np.float32)
    return reals, fakes, mix


class Quadratic:
    """Scores weight * sum(w * x**2) / 2, whose gradient is weight * w * x."""

    def apply(self, variables, images, labels, alpha, *, sets):
        weights = WEIGHTS.astype(images.dtype)
        scores = jnp.sum(weights * jnp.square(images), axis=(1, 2, 3)) / 2
        scores = variables["params"] * scores
        return DiscriminatorOutput(scores, scores[:, None][:, :0], scores * 0 + 0.5)


def scores_of(images):
    return (WEIGHTS.astype(np.float64) * images**2).sum(axis=(1, 2, 3)) / 2


def squares_of(images):
    return ((WEIGHTS.astype(np.float64) * images) ** 2).sum(axis=(1, 2, 3))


def inputs(reals, fakes, mix, ratio, **options):
    progress = Progress(jnp.float32(0.5), ratio, jax.random.key(0))
    weight = {"params": jnp.ones([], reals.dtype), "stats": {}}
    return LossInputs(
        Networks(None, Quadratic()),
        Variables(weight, weight),
        Examples(reals, None),
        Examples(fakes, None),
        Draws(None, None, None, mix, None),
        progress,
        {},
        LossOptions(**options),
    )


def discriminator_loss(ratio=1.0, given=None, **options):
    given = arrays() if given is None else given
    loss, (scalars, *_) = d_loss(
        jnp.ones([], given[0].dtype), inputs(*given, ratio, **options)
    )
    return loss, scalars


def softplus(x):
    return np.log1p(np.exp(x))


def expected_d_loss(kind):
    reals, fakes, _ = arrays()
    real, fake = scores_of(reals), scores_of(fakes)
    if kind in ("nonsaturating", "saturating"):
        return np.mean(softplus(fake) + softplus(-real))
    if kind == "relativistic":
        return np.mean(softplus(fake - real))
    if kind in ("wgan", "wgan_gp"):
        return np.mean(fake - real + 0.001 * real**2)
    return np.mean(np.maximum(0, 1 + fake) + np.maximum(0, 1 - real))


@pytest.mark.parametrize("kind", KINDS)
def test_losses_of_d_without_penalties_are_the_formulas(kind):
    loss, scalars = discriminator_loss(kind=kind, r1_weight=0.0, gp_weight=0.0)
    np.testing.assert_allclose(loss, expected_d_loss(kind), rtol=1e-5)
    reals, fakes, _ = arrays()
    np.testing.assert_allclose(
        scalars["real_scores"], scores_of(reals).mean(), rtol=1e-5
    )
    np.testing.assert_allclose(
        scalars["fake_scores"], scores_of(fakes).mean(), rtol=1e-5
    )
    assert scalars["stddev_reals"] == scalars["stddev_fakes"] == 0.5
    assert "r1_penalty" not in scalars


@pytest.mark.parametrize("kind", ["nonsaturating", "saturating"])
@pytest.mark.parametrize(("r1", "r2"), [(10.0, 0.0), (0.0, 10.0), (3.0, 7.0)])
@pytest.mark.parametrize("ratio", [1.0, 4.0])
def test_r1_and_r2_are_half_the_squared_gradient_in_full_space(kind, r1, r2, ratio):
    loss, scalars = discriminator_loss(ratio, kind=kind, r1_weight=r1, r2_weight=r2)
    reals, fakes, _ = arrays()
    # A gradient is spread over ratio**2 pixels of the final resolution.
    of_reals, of_fakes = (np.mean(squares_of(x)) / ratio**2 for x in (reals, fakes))
    penalty = r1 / 2 * of_reals + r2 / 2 * of_fakes
    np.testing.assert_allclose(loss, expected_d_loss(kind) + penalty, rtol=1e-5)
    found = [scalars.get(name) for name in ("r1_penalty", "r2_penalty")]
    for value, weight, squares in zip(
        found, (r1, r2), (of_reals, of_fakes), strict=True
    ):
        if weight:
            np.testing.assert_allclose(value, squares, rtol=1e-5)
        else:
            assert value is None


@pytest.mark.parametrize("kind", ["wgan_gp", "hinge_gp"])
@pytest.mark.parametrize(("target", "ratio"), [(1.0, 1.0), (2.0, 8.0)])
def test_gradient_penalty_is_taken_between_real_images_and_fakes(kind, target, ratio):
    loss, scalars = discriminator_loss(ratio, kind=kind, gp_target=target)
    reals, fakes, mix = arrays()
    norms = np.sqrt(squares_of(reals + mix * (fakes - reals))) / ratio
    penalty = 10 / target**2 * np.mean((norms - target) ** 2)
    np.testing.assert_allclose(loss, expected_d_loss(kind) + penalty, rtol=1e-5)
    np.testing.assert_allclose(scalars["mixed_norms"], norms.mean(), rtol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_losses_of_g_are_the_formulas(kind):
    reals, fakes, mix = arrays()
    loss, _ = g_loss({}, inputs(reals, fakes, mix, 1.0, kind=kind))
    real, fake = scores_of(reals), scores_of(fakes)
    expected = {
        "nonsaturating": softplus(-fake),
        "saturating": -softplus(fake),
        "relativistic": softplus(real - fake),
    }
    np.testing.assert_allclose(loss, np.mean(expected.get(kind, -fake)), rtol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_losses_of_d_differentiate_to_second_order(kind, float64):
    given = [np.float64(x) for x in arrays()]

    def loss(weight):
        of = inputs(*given, 2.0, kind=kind, r2_weight=3.0)
        return d_loss(weight, of)[0]

    check_grads(loss, (jnp.float64(0.7),), order=1, modes=["rev"], atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_only_opposed_losses_are_called_zero_sum(kind):
    """G's loss is minus the fakes' scores, and D's has the opposite derivative."""
    reals, fakes, mix = arrays()

    def of_d(images):
        return d_loss(jnp.float32(1), inputs(reals, images, mix, 1.0, kind=kind))[0]

    def of_g(images):
        return g_loss({}, inputs(reals, images, mix, 1.0, kind=kind))[0]

    opposed = np.allclose(-jax.grad(of_d)(fakes), jax.grad(of_g)(fakes), atol=1e-6)
    same = np.isclose(of_g(fakes), -scores_of(fakes).mean())
    assert is_zero_sum(Options(), LossOptions(kind=kind)) == (opposed and same)


def test_mixing_starts_at_each_layer_but_the_first_equally_often():
    def draw(num_layers, probability):
        keys = jax.random.split(jax.random.key(0), 4000)
        drawn = jax.vmap(draw_mixed_from, (0, None, None))(
            keys, num_layers, probability
        )
        return Counter(np.asarray(drawn).tolist())

    counts = draw(6, 0.9)
    assert counts.keys() == {1, 2, 3, 4, 5, 6}  # From 6 on: no layer.
    # Five deviations of a binomial count.
    for first in range(1, 6):
        assert abs(counts[first] - 720) < 5 * np.sqrt(720 * 0.82)
    assert abs(counts[6] - 400) < 5 * np.sqrt(400 * 0.9)
    assert draw(2, 1.0).keys() == {1}
    assert draw(6, 0.0).keys() == {6}


class Recorder:
    """A generator that returns what it was called with."""

    num_layers, num_classes = 6, 3

    def __init__(self, options):
        self.options = options

    def apply(self, variables, z, labels, alpha, numbers, **named):
        return SimpleNamespace(z=z, labels=labels, numbers=numbers, **named), {
            "stats": {}
        }


def keys():
    return jax.random.split(jax.random.key(7), 3)


def test_fakes_of_d_take_the_real_images_classes_and_those_of_g_random_ones():
    options, log_probs = Options(num_classes=3), (-np.inf, 0.0, -np.inf)
    assert draw_for_d(keys(), 4, options, LossOptions(), log_probs).labels is None
    drawn = draw_for_g(keys(), 4, options, LossOptions(), log_probs)
    assert drawn.labels.tolist() == [1, 1, 1, 1]
    assert draw_for_g(keys(), 4, Options(), LossOptions(), ()).labels is None


class Flat:
    """A generator whose images are their classes."""

    num_layers, num_classes, options = 6, 3, Options(style_mixing=0.0)

    def apply(self, variables, z, labels, alpha, numbers, **named):
        images = jnp.broadcast_to(labels.argmax(1).reshape(-1, 1, 1, 1), (N, 4, 4, 1))
        return images.astype(jnp.float32), {"stats": {}}


def test_fakes_of_g_take_the_classes_of_the_real_images_that_they_are_paired_with():
    options, loss = Options(num_classes=3), LossOptions(kind="relativistic")
    draws = draw_for_g(keys(), N, options, loss, (0.0, 0.0, 0.0))
    assert draws.labels is None
    reals, fakes, _ = arrays()
    labels = np.int32([2, 0, 1, 2, 0, 1])
    of = inputs(reals, fakes, None, 1.0, kind="relativistic")
    of = of._replace(
        variables=of.variables._replace(g={"params": {}, "stats": {}}),
        networks=Networks(Flat(), Quadratic()),
        reals=Examples(reals, labels),
        fakes=None,
        draws=draws,
    )
    value, _ = g_loss({}, of)
    images = np.broadcast_to(labels.reshape(-1, 1, 1, 1), (N, 4, 4, 1))
    expected = np.mean(softplus(scores_of(reals) - scores_of(images)))
    np.testing.assert_allclose(value, expected, rtol=1e-5)


def test_a_step_draws_latents_noise_and_where_it_mixes_once():
    options = Options(num_classes=3, latent_size=16)
    draws = draw_for_d(keys(), 4, options, LossOptions(), (0.0, 0.0, 0.0))
    assert draws.z.shape == draws.mixed_z.shape == (4, 16)
    assert not np.array_equal(draws.z, draws.mixed_z)
    progress = Progress(jnp.float32(1), 1.0, jax.random.key(3))
    labels = np.int32([2, 0, 1, 2])
    calls = []
    for rows in (slice(0, 2), slice(2, 4)):  # The parts of a batch.
        part = jax.tree.map(lambda x, rows=rows: x[rows], draws)
        fakes, _ = make_fakes(Recorder(options), {}, part, labels[rows], progress)
        calls.append(fakes)
    assert calls[0].mixed_from == calls[1].mixed_from
    assert calls[0].rngs["noise"] == calls[1].rngs["noise"]
    assert [c.numbers.tolist() for c in calls] == [[0, 1], [2, 3]]
    assert calls[0].labels.tolist() == [[0, 0, 1], [1, 0, 0]]
    assert all(call.train for call in calls)
    again, _ = make_fakes(
        Recorder(options), {}, draws, labels, progress._replace(key=jax.random.key(4))
    )
    assert again.rngs["noise"] != calls[0].rngs["noise"]


def test_without_mixing_no_second_latents_are_drawn():
    options = Options(style_mixing=0.0)
    draws = draw_for_g(keys(), 4, options, LossOptions(), ())
    assert draws.mixed_z is None
    progress = Progress(jnp.float32(1), 1.0, jax.random.key(3))
    generator = Recorder(options)
    generator.num_classes = 0
    fakes, _ = make_fakes(generator, {}, draws, None, progress)
    assert not hasattr(fakes, "mixed_z")
