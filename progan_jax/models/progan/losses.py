"""Losses of Progressive GAN: WGAN-GP, LSGAN, relativistic; AC-GAN's class terms.

Every loss is a mean over the batch, in float32 at least, and returns the scalars for
the log. Source: Karras et al. 2018, section 6.5 and appendices A.1 and B.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from progan_jax.models.augmentation import augment_sets
from progan_jax.models.common import (
    DiscriminatorOutput,
    Examples,
    LossInputs,
    LossOutputs,
    LossState,
    Params,
    Penalty,
    Scalars,
    draw_labels,
    score_together,
)
from progan_jax.models.defaults import make_fakes
from progan_jax.models.layers import lerp
from progan_jax.models.penalties import (
    class_penalty,
    gradient_penalty,
    score_with_r1_and_r2,
)
from progan_jax.models.progan.ablation import Noise, follow_scores, noise_strength
from progan_jax.models.progan.options import LossOptions, Options
from progan_jax.models.relativistic import d_relativistic, g_relativistic

G_PENALTY: Penalty | None = None  # Penalties are parts of the losses.

# Charts of a run's report: scalars, and their names in the legend.
CURVES: Mapping[str, Mapping[str, str]] = {
    "Norm of D's gradient between real images and fakes": {"Loss/mixed_norms": ""},
    "Squared norm of D's gradient, at the final resolution": {
        "Loss/r1_penalty": "real images (R1)",
        "Loss/r2_penalty": "fakes (R2)",
    },
    "Standard deviation over a batch, in D": {
        "Health/stddev_reals": "real images",
        "Health/stddev_fakes": "fakes",
    },
    "Class terms of the losses": {
        "Loss/label_penalty_reals": "real images",
        "Loss/label_penalty_fakes": "fakes",
    },
    "Noise in D's layers": {"Health/noise_strength": ""},
}

# Applications of D, folded into the key of the step. Each has its own noise.
_REALS, _FAKES, _MIXED, _FAKES_OF_G = range(4)
_AUGMENT_KEY = 4  # Likewise folded in, and then the application.

# Of images, labels, and the application of each set of images that take turns.
_Apply = Callable[..., DiscriminatorOutput]


class Draws(NamedTuple):
    """The random arrays of one step, each [N, ...] with one row per image.

    Attributes:
      z: Latents [N, latent_size].
      labels: Classes of the fakes, int [N]; None if they are those of the real images,
        or if there are no classes.
      mix: [N, 1, 1, 1] in [0, 1], weight of the fake in each image of the penalty; None
        for G.
      numbers: int [N], the images' places in the batch, for noise and augmentations.
    """

    z: jax.Array
    labels: jax.Array | None
    mix: jax.Array | None
    numbers: jax.Array


def draw_for_d(
    keys: jax.Array,
    n: int,
    options: Options,
    loss: LossOptions,
    log_probs: tuple[float, ...],
) -> Draws:
    """Draws the random arrays of a step of D on n real images."""
    key_latents, key_labels, key_mix = keys
    random = loss.fake_labels == "random" and options.num_classes
    return Draws(
        z=jax.random.normal(key_latents, (n, options.latent_size)),
        labels=draw_labels(key_labels, n, log_probs) if random else None,
        mix=jax.random.uniform(key_mix, (n, 1, 1, 1)),
        numbers=_number(n),
    )


def draw_for_g(
    keys: jax.Array,
    n: int,
    options: Options,
    loss: LossOptions,
    log_probs: tuple[float, ...],
) -> Draws:
    """Draws the random arrays of a step of G on n fakes."""
    del loss
    key_latents, key_labels, _ = keys
    z = jax.random.normal(key_latents, (n, options.latent_size))
    labels = draw_labels(key_labels, n, log_probs) if options.num_classes else None
    return Draws(z, labels, mix=None, numbers=_number(n))


def init_loss_state(options: LossOptions) -> LossState:
    """Returns what the losses carry from step to step, at the start of a run.

    With LSGAN's noise this is the running mean of D's clipped scores of fakes, which
    determines the noise's strength; otherwise it is empty.
    """
    return {"fake_scores": jnp.zeros([])} if options.noise_coefficient else {}


def g_takes_reals(options: LossOptions) -> bool:
    """Returns whether G's loss needs a batch of real images."""
    return options.kind == "relativistic"


def is_zero_sum(options: Options, loss: LossOptions) -> bool:
    """Returns whether G's loss is minus `fake_scores`, the fakes' part of D's."""
    return loss.kind == "wgan_gp" and not options.num_classes


def d_loss(d_params: Params, inputs: LossInputs) -> tuple[jax.Array, LossOutputs]:
    """Returns the loss of D's parameters.

    The penalty has no gradient with respect to the fakes.
    """
    (reals, fakes), options = _examples(inputs), inputs.options
    noise = _noise(inputs)
    of_kind, _ = LOSSES[options.kind]
    real, fake, loss, terms = of_kind(_discriminate(inputs, d_params, noise), inputs)
    scalars = {
        "real_scores": jnp.mean(real.scores),
        "fake_scores": jnp.mean(fake.scores),
        "stddev_reals": jnp.mean(real.stddev),
        "stddev_fakes": jnp.mean(fake.stddev),
    }
    scalars |= terms
    if reals.labels is not None and fakes.labels is not None:
        penalty_reals = class_penalty(real.logits, reals.labels)
        penalty_fakes = class_penalty(fake.logits, fakes.labels)
        scalars["label_penalty_reals"] = penalty_reals
        scalars["label_penalty_fakes"] = penalty_fakes
        loss += options.label_weight * (penalty_reals + penalty_fakes)
    loss_state = inputs.loss_state
    if noise is not None:
        scalars["noise_strength"] = noise.strength
        # Not the loss, which the authors' program takes: see docs/fidelity.md.
        mean = follow_scores(loss_state["fake_scores"], scalars["fake_scores"])
        loss_state = {"fake_scores": mean}
    return loss, (scalars | {"d_loss": loss}, inputs.variables.stats, loss_state)


def g_loss(g_params: Params, inputs: LossInputs) -> tuple[jax.Array, LossOutputs]:
    """Returns the loss of G's parameters, or of the given fakes."""
    fakes, stats = inputs.fakes, inputs.variables.stats
    reals = inputs.reals if g_takes_reals(inputs.options) else None
    if fakes is None:
        draws, g = inputs.draws, inputs.variables.g_with(g_params)
        images, g_stats = make_fakes(
            inputs.networks.generator, g, draws, draws.labels, inputs.progress
        )
        fakes, stats = Examples(images, draws.labels), stats._replace(g=g_stats)
    apply = _discriminate(inputs, inputs.variables.d["params"], _noise(inputs))
    out = apply(fakes.images, fakes.labels, _FAKES_OF_G)
    outputs = [out]
    if reals is not None:
        outputs.append(apply(*reals, _REALS))
    _, of_kind = LOSSES[inputs.options.kind]
    loss = of_kind(*outputs)
    if fakes.labels is not None:
        loss += inputs.options.label_weight * class_penalty(out.logits, fakes.labels)
    return loss, ({"g_loss": loss}, stats, inputs.loss_state)


# D's outputs for real images and for fakes, its loss, and scalars for the log.
_Judged = tuple[DiscriminatorOutput, DiscriminatorOutput, jax.Array, Scalars]


def _score(
    apply: _Apply, inputs: LossInputs
) -> tuple[DiscriminatorOutput, DiscriminatorOutput]:
    """Scores real images and fakes, in one pass where no layer sees the batch."""
    reals, fakes = _examples(inputs)
    noisy = inputs.options.noise_coefficient > 0
    if noisy or inputs.networks.discriminator.sees_batch:
        return apply(*reals, _REALS), apply(*fakes, _FAKES)
    return score_together(
        lambda images, _: apply(images, None, _REALS, _FAKES),
        reals._replace(labels=None),
        fakes._replace(labels=None),
    )


def _d_wgan_gp(apply: _Apply, inputs: LossInputs) -> _Judged:
    """E[fake] - E[real] + penalty + drift: Karras et al. 2018, appendix A.1."""
    (reals, fakes), options = _examples(inputs), inputs.options
    real, fake = _score(apply, inputs)
    penalty, norms, mixed_scores = gradient_penalty(
        lambda images: apply(images, None, _MIXED).scores,
        # The penalty is D's alone: appendix A.1.
        lerp(reals.images, lax.stop_gradient(fakes.images), inputs.draws.mix),
        weight=options.gp_weight,
        target=options.gp_target,
        resolution_ratio=inputs.progress.resolution_ratio,
    )
    drift = options.drift_weight * jnp.square(real.scores)
    loss = jnp.mean(fake.scores - real.scores + penalty + drift)
    terms = {"mixed_scores": mixed_scores, "mixed_norms": norms}
    terms["epsilon_penalty"] = drift
    return real, fake, loss, jax.tree.map(jnp.mean, terms)


def _g_wgan_gp(fake: DiscriminatorOutput) -> jax.Array:
    """-E[fake]: Karras et al. 2018, appendix A.1."""
    return -jnp.mean(fake.scores)


def _d_lsgan(apply: _Apply, inputs: LossInputs) -> _Judged:
    """E[real**2] + E[(fake - 1)**2] / 10: Mao et al. 2017, with other targets."""
    real, fake = _score(apply, inputs)
    # The paper's program has targets 0 for real images and 1 for fakes, and weights
    # fakes by a tenth.
    real_term, fake_term = jnp.square(real.scores), jnp.square(fake.scores - 1)
    return real, fake, jnp.mean(real_term) + 0.1 * jnp.mean(fake_term), {}


def _g_lsgan(fake: DiscriminatorOutput) -> jax.Array:
    """E[fake**2]: Mao et al. 2017, with the program's target of real images, 0."""
    return jnp.mean(jnp.square(fake.scores))


def _d_relativistic(apply: _Apply, inputs: LossInputs) -> _Judged:
    """E[softplus(fake - real)] + R1 + R2: Huang et al. 2024."""
    reals, fakes = _examples(inputs)
    real, fake, penalties, terms = score_with_r1_and_r2(
        apply,
        reals,
        fakes,
        (_REALS, _FAKES),
        r1_weight=inputs.options.r1_weight,
        r2_weight=inputs.options.r2_weight,
        resolution_ratio=inputs.progress.resolution_ratio,
    )
    loss = jnp.mean(d_relativistic(real.scores, fake.scores) + penalties)
    return real, fake, loss, terms


def _g_relativistic(fake: DiscriminatorOutput, real: DiscriminatorOutput) -> jax.Array:
    """E[softplus(real - fake)]: Huang et al. 2024."""
    return jnp.mean(g_relativistic(fake.scores, real.scores))


# By `config.loss.kind`: D's, and G's, which takes D's outputs for fakes, and for real
# images where `g_takes_reals`.
LOSSES = {
    "wgan_gp": (_d_wgan_gp, _g_wgan_gp),
    "lsgan": (_d_lsgan, _g_lsgan),
    "relativistic": (_d_relativistic, _g_relativistic),
}


def _discriminate(inputs: LossInputs, params: Params, noise: Noise | None) -> _Apply:
    """Returns D with the given parameters as a function of images and labels."""
    progress = inputs.progress

    def apply(
        images: jax.Array, labels: jax.Array | None, *sets: int
    ) -> DiscriminatorOutput:
        if inputs.augment:
            key = jax.random.fold_in(progress.key, _AUGMENT_KEY)
            # In one step D and G see fakes alike: losses that are opposed remain so.
            seen = [_FAKES if what == _FAKES_OF_G else what for what in sets]
            numbers = inputs.draws.numbers
            images = augment_sets(images, key, seen, numbers, inputs.augment)
        rngs = {"noise": jax.random.fold_in(progress.key, sets[0])}
        out: Any = inputs.networks.discriminator.apply(
            inputs.variables.d | {"params": params},
            images,
            labels,
            progress.alpha,
            noise,
            len(sets),
            rngs=None if noise is None else rngs,
        )
        return out

    return apply


def _examples(inputs: LossInputs) -> tuple[Examples, Examples]:
    reals, fakes = inputs.reals, inputs.fakes
    assert reals is not None and fakes is not None, "D takes both"
    return reals, fakes


def _noise(inputs: LossInputs) -> Noise | None:
    if not inputs.options.noise_coefficient:
        return None
    mean = inputs.loss_state["fake_scores"]
    strength = noise_strength(mean, inputs.options.noise_coefficient)
    return Noise(strength, inputs.draws.numbers)


def _number(n: int) -> jax.Array:
    return jnp.arange(n, dtype=jnp.int32)
