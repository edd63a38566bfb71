"""Losses of Progressive GAN: WGAN-GP, LSGAN and the AC-GAN class terms.

They take the discriminator as a callable of images and know no network. Every loss is
a mean over the batch, in float32 at least, and comes with the scalars worth logging.
Each evaluation has a number, from which the discriminator's noise follows, if any.
Source: Karras et al. 2018, section 3 and appendices A.1 and B.
"""

import jax
import jax.numpy as jnp

from progan_jax.models.common import DiscriminatorFn, DiscriminatorOutput, Metrics
from progan_jax.models.layers import lerp
from progan_jax.models.penalties import class_penalty, gradient_penalty
from progan_jax.models.progan.options import LossOptions

# Evaluations of D for its own loss, and for G's.
_REALS, _FAKES, _MIXED, _FAKES_OF_G = range(4)


def discriminator_loss(
    discriminator: DiscriminatorFn,
    reals: jax.Array,
    fakes: jax.Array,
    mix: jax.Array,
    real_labels: jax.Array | None,
    fake_labels: jax.Array | None,
    options: LossOptions,
    resolution_ratio: float = 1.0,
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
      resolution_ratio: See `penalties.gradient_penalty`.
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
        mixed = lerp(reals, fakes, mix)
        loss, terms = _wgan_gp(
            discriminator, mixed, real, fake, options, resolution_ratio
        )
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


def _wgan_gp(
    discriminator: DiscriminatorFn,
    mixed: jax.Array,
    real: DiscriminatorOutput,
    fake: DiscriminatorOutput,
    options: LossOptions,
    resolution_ratio: float,
) -> tuple[jax.Array, Metrics]:
    penalty, norms, mixed_scores = gradient_penalty(
        lambda images: discriminator(images, _MIXED).scores,
        mixed,
        weight=options.gp_weight,
        target=options.gp_target,
        resolution_ratio=resolution_ratio,
    )
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
