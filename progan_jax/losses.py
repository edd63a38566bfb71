"""Losses of Progressive GAN: WGAN-GP, LSGAN and the AC-GAN class terms.

They take the discriminator as a callable of images and know no network. Every loss is
a mean over the batch, in float32 at least, and comes with the scalars worth logging.
Each evaluation has a number, from which the discriminator's noise follows, if any.
Source: Karras et al. 2018, section 3 and appendices A.1 and B.
"""

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import optax

from progan_jax.networks.layers import lerp
from progan_jax.networks.progan import DiscriminatorOutput

DiscriminatorFn = Callable[[jax.Array, int], DiscriminatorOutput]
Metrics = dict[str, jax.Array]

# Evaluations of D for its own loss, and for G's.
_REALS, _FAKES, _MIXED, _FAKES_OF_G = range(4)


@dataclass(frozen=True)
class LossOptions:
    """Weights of the loss terms.

    Attributes:
      kind: "wgan_gp" or "lsgan".
      gp_weight: Lambda, weight of the gradient penalty.
      gp_target: Gamma, the gradient norm that the penalty asks for.
      gp_norm_scale: Number that the gradient's norm at stage resolution is divided by.
        The authors' networks take images of the final resolution R and pool them to the
        stage's r first, which spreads every gradient over (R / r)**2 pixels and makes
        its norm R / r times smaller; 1 leaves the norm in stage space.
      drift_weight: Epsilon, weight of the squared scores of reals.
      label_weight: Weight of the class terms.
      noise_coefficient: Of the strength of the noise in D's layers; 0 is none of it.
    """

    kind: str = "wgan_gp"
    gp_weight: float = 10.0
    gp_target: float = 1.0
    gp_norm_scale: float = 1.0
    drift_weight: float = 0.001
    label_weight: float = 1.0
    noise_coefficient: float = 0.0


def discriminator_loss(
    discriminator: DiscriminatorFn,
    reals: jax.Array,
    fakes: jax.Array,
    mix: jax.Array,
    real_labels: jax.Array | None,
    fake_labels: jax.Array | None,
    options: LossOptions,
) -> tuple[jax.Array, Metrics]:
    """Returns D's loss and its scalars.

    Args:
      discriminator: Maps images [N, r, r, C], and the number of the evaluation, to
        scores, logits and stddev.
      reals: [N, r, r, C] in [-1, 1], faded as the generator's images are.
      fakes: [N, r, r, C]; no gradient flows into them.
      mix: [N, 1, 1, 1] in [0, 1], share of the fake in each image of the penalty.
      real_labels: Classes int [N]; None without classes.
      fake_labels: Classes that the fakes were made for; None without classes.
      options: Kind and weights.
    """
    real, fake = discriminator(reals, _REALS), discriminator(fakes, _FAKES)
    metrics = {
        "real_scores": jnp.mean(real.scores),
        "fake_scores": jnp.mean(fake.scores),
        "stddev_reals": jnp.mean(real.stddev),
        "stddev_fakes": jnp.mean(fake.stddev),
    }
    if options.kind == "lsgan":
        loss = _lsgan_discriminator(real.scores, fake.scores)
    else:
        loss, terms = _wgan_gp(discriminator, reals, fakes, mix, real, fake, options)
        metrics |= terms
    if real_labels is not None and fake_labels is not None:
        penalty_reals = class_penalty(real.logits, real_labels)
        penalty_fakes = class_penalty(fake.logits, fake_labels)
        metrics["label_penalty_reals"] = penalty_reals
        metrics["label_penalty_fakes"] = penalty_fakes
        loss += options.label_weight * (penalty_reals + penalty_fakes)
    return loss, metrics | {"d_loss": loss}


def generator_loss(
    discriminator: DiscriminatorFn,
    fakes: jax.Array,
    labels: jax.Array | None,
    options: LossOptions,
) -> tuple[jax.Array, Metrics]:
    """Returns G's loss and its scalars; arguments as in `discriminator_loss`."""
    out = discriminator(fakes, _FAKES_OF_G)
    if options.kind == "lsgan":
        loss = jnp.mean(jnp.square(out.scores))
    else:
        loss = -jnp.mean(out.scores)
    if labels is not None:
        loss += options.label_weight * class_penalty(out.logits, labels)
    return loss, {"g_loss": loss}


def gradient_penalty(
    discriminator: DiscriminatorFn, images: jax.Array, options: LossOptions
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Penalises gradients of the scores whose norm is not gamma.

    (lambda / gamma**2) * (||dD/dx||_2 / gp_norm_scale - gamma)**2, for each image.

    Returns:
      Penalties [N], norms [N] after the scaling, and scores [N].
    """

    def summed_scores(x: jax.Array) -> tuple[jax.Array, jax.Array]:
        scores = discriminator(x, _MIXED).scores
        return jnp.sum(scores), scores

    gradient, scores = jax.grad(summed_scores, has_aux=True)(images)
    norms = _norm(gradient) / options.gp_norm_scale
    weight = options.gp_weight / options.gp_target**2
    return weight * jnp.square(norms - options.gp_target), norms, scores


def class_penalty(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Mean softmax cross entropy of logits [N, L] against classes int [N].

    A class from L on is none: all of its one-hot vector is zero, and so is its entropy.
    """
    known = labels < logits.shape[-1]
    entropy = optax.softmax_cross_entropy_with_integer_labels(
        logits, jnp.where(known, labels, 0)
    )
    return jnp.mean(jnp.where(known, entropy, 0))


def _wgan_gp(
    discriminator: DiscriminatorFn,
    reals: jax.Array,
    fakes: jax.Array,
    mix: jax.Array,
    real: DiscriminatorOutput,
    fake: DiscriminatorOutput,
    options: LossOptions,
) -> tuple[jax.Array, Metrics]:
    mixed = lerp(reals, fakes, mix)
    penalty, norms, mixed_scores = gradient_penalty(discriminator, mixed, options)
    drift = options.drift_weight * jnp.square(real.scores)
    loss = jnp.mean(fake.scores - real.scores + penalty + drift)
    metrics = {
        "mixed_scores": jnp.mean(mixed_scores),
        "mixed_norms": jnp.mean(norms),
        "epsilon_penalty": jnp.mean(drift),
    }
    return loss, metrics


def _lsgan_discriminator(real: jax.Array, fake: jax.Array) -> jax.Array:
    # The authors' Theano program draws reals to 0 and fakes to 1, fakes at a tenth.
    return jnp.mean(jnp.square(real)) + 0.1 * jnp.mean(jnp.square(fake - 1))


def _norm(gradient: jax.Array) -> jax.Array:
    """L2 norm per image, whose own gradient at zero is zero instead of NaN."""
    squared = jnp.sum(jnp.square(gradient), axis=tuple(range(1, gradient.ndim)))
    is_zero = squared == 0
    return jnp.where(is_zero, 0, jnp.sqrt(jnp.where(is_zero, 1, squared)))
