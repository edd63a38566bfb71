"""Losses of StyleGAN: logistic, Wasserstein, hinge, relativistic, with R1, R2 or GP.

Every loss is a mean over the batch, in float32 at least, and returns the scalars for
the log. Gradients of scores are measured in the space of the final resolution. Source:
Karras et al. 2019, section 2 and appendix C, and the losses of the authors' program.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax, nn

from progan_jax.models.augmentation import augment_sets
from progan_jax.models.common import (
    DiscriminatorOutput,
    Examples,
    LossInputs,
    LossOutputs,
    LossState,
    Params,
    Penalty,
    Progress,
    Scalars,
    draw_labels,
    one_hot,
    score_together,
)
from progan_jax.models.layers import lerp
from progan_jax.models.penalties import gradient_penalty, score_with_r1_and_r2
from progan_jax.models.relativistic import d_relativistic, g_relativistic
from progan_jax.models.stylegan.options import LossOptions, Options

G_PENALTY: Penalty | None = None  # Nor is there a penalty with steps of its own.

# Charts of a run's report: scalars, and their names in the legend.
CURVES: Mapping[str, Mapping[str, str]] = {
    "Squared norm of D's gradient, at the final resolution": {
        "Loss/r1_penalty": "real images (R1)",
        "Loss/r2_penalty": "fakes (R2)",
    },
    "Norm of D's gradient between real images and fakes": {"Loss/mixed_norms": ""},
    "Standard deviation over a batch, in D": {
        "Health/stddev_reals": "real images",
        "Health/stddev_fakes": "fakes",
    },
}

# Random numbers inside G, and of what D sees, folded into the key of the step.
_NOISE_KEY, _MIXING_KEY, _AUGMENT_KEY = 0, 1, 2
# What D sees, folded into the last. In one step D and G see fakes alike, so that losses
# that are opposed remain so.
_REALS, _FAKES, _MIXED = range(3)

# Of images, classes, and what each set of images is that take turns.
_Apply = Callable[..., DiscriminatorOutput]


class Draws(NamedTuple):
    """The random arrays of one step, each [N, ...] with one row per image.

    Attributes:
      z: Latents [N, latent_size].
      mixed_z: Latents of the layers that are mixed in, likewise; None without mixing.
      labels: Classes of the fakes, int [N]; None for those of the real images, as for
        D and in pairs, and without classes.
      mix: [N, 1, 1, 1] in [0, 1], weight of the fake in each image of the gradient
        penalty; None for G.
      numbers: int [N], the images' places in the batch, for noise and augmentations.
    """

    z: jax.Array
    mixed_z: jax.Array | None
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
    del loss, log_probs
    key_latents, _, key_mix = keys
    z, mixed_z = _draw_latents(key_latents, n, options)
    mix = jax.random.uniform(key_mix, (n, 1, 1, 1))
    return Draws(z, mixed_z, None, mix, _number(n))


def draw_for_g(
    keys: jax.Array,
    n: int,
    options: Options,
    loss: LossOptions,
    log_probs: tuple[float, ...],
) -> Draws:
    """Draws the random arrays of a step of G on n fakes."""
    key_latents, key_labels, _ = keys
    z, mixed_z = _draw_latents(key_latents, n, options)
    random = options.num_classes and not g_takes_reals(loss)  # A pair has one class.
    labels = draw_labels(key_labels, n, log_probs) if random else None
    return Draws(z, mixed_z, labels, None, _number(n))


def make_fakes(
    generator: Any,
    variables: dict[str, Any],
    draws: Draws,
    labels: jax.Array | None,
    progress: Progress,
) -> tuple[jax.Array, dict[str, Any]]:
    """Returns G's images of a step's draws, and G's stats after the call.

    The average of w follows the mean of this call's w over all devices. Which layers
    take the second latents is drawn once for the step, from `progress.key`.
    """
    mixing = {}
    if draws.mixed_z is not None:
        mixed_from = draw_mixed_from(
            jax.random.fold_in(progress.key, _MIXING_KEY),
            generator.num_layers,
            generator.options.style_mixing,
        )
        mixing = {"mixed_z": draws.mixed_z, "mixed_from": mixed_from}
    images, changed = generator.apply(
        variables,
        draws.z,
        one_hot(generator, labels),
        progress.alpha,
        draws.numbers,
        train=True,
        rngs={"noise": jax.random.fold_in(progress.key, _NOISE_KEY)},
        mutable=["stats"],
        w_rate=_rate_of_part(1 - generator.options.w_average_decay, progress),
        **mixing,
    )
    return images, changed["stats"]


def _rate_of_part(rate: float, progress: Progress) -> jax.typing.ArrayLike:
    """Returns a rate by which the parts of a batch move an average as the whole would.

    An average a that moves to the means m_i of parts i = 0 .. k-1, one after the other,
    by the rates (rate / k) / (1 - (k - 1 - i) rate / k) ends at a + rate (mean(m) - a).
    """
    each = rate / progress.num_parts
    return each / (1 - (progress.num_parts - 1 - progress.part) * each)


def draw_mixed_from(key: jax.Array, num_layers: int, probability: float) -> jax.Array:
    """Draws the first layer that takes the second latents' style, a scalar int.

    Args:
      key: Key of the draw.
      num_layers: Number of the stage's layers: 2 at 4x4, two more for each doubling.
      probability: Share of the steps that mix.

    Returns:
      1 .. num_layers - 1 with equal chances, or num_layers, which is no layer, in the
      steps that do not mix.

    Source: Karras et al. 2019, section 3.1, and `G_style` of the authors' program,
    which likewise draws once for all images (of one device there).
    """
    key_whether, key_where = jax.random.split(key)
    mixes = jax.random.uniform(key_whether) < probability
    where = jax.random.randint(key_where, (), 1, num_layers)
    return jnp.where(mixes, where, num_layers)


def init_loss_state(options: LossOptions) -> LossState:
    """Returns what the losses carry from step to step: nothing."""
    del options
    return {}


def g_takes_reals(options: LossOptions) -> bool:
    """Returns whether G's loss needs a batch of real images."""
    return options.kind == "relativistic"


def is_zero_sum(options: Options, loss: LossOptions) -> bool:
    """Returns whether G's loss is minus `fake_scores`, the fakes' part of D's."""
    del options
    return loss.kind in ("wgan", "wgan_gp")


def d_loss(d_params: Params, inputs: LossInputs) -> tuple[jax.Array, LossOutputs]:
    """Returns the loss of D's parameters, with the penalty of its kind."""
    kind, apply = LOSSES[inputs.options.kind], _discriminate(inputs, d_params)
    real, fake, penalty, terms = kind.score(apply, inputs)
    loss = jnp.mean(kind.of_d(real.scores, fake.scores, inputs.options) + penalty)
    scalars = {
        "real_scores": jnp.mean(real.scores),
        "fake_scores": jnp.mean(fake.scores),
        "stddev_reals": jnp.mean(real.stddev),
        "stddev_fakes": jnp.mean(fake.stddev),
        "d_loss": loss,
    }
    return loss, (scalars | terms, inputs.variables.stats, inputs.loss_state)


def g_loss(g_params: Params, inputs: LossInputs) -> tuple[jax.Array, LossOutputs]:
    """Returns the loss of G's parameters, or of the given fakes."""
    fakes, stats = inputs.fakes, inputs.variables.stats
    reals = inputs.reals if g_takes_reals(inputs.options) else None
    if fakes is None:
        draws, g = inputs.draws, inputs.variables.g_with(g_params)
        labels = draws.labels if reals is None else reals.labels
        images, g_stats = make_fakes(
            inputs.networks.generator, g, draws, labels, inputs.progress
        )
        fakes, stats = Examples(images, labels), stats._replace(g=g_stats)
    apply = _discriminate(inputs, inputs.variables.d["params"])
    scores = [apply(*fakes, _FAKES).scores]
    if reals is not None:
        scores.append(apply(*reals, _REALS).scores)
    loss = jnp.mean(LOSSES[inputs.options.kind].of_g(*scores))
    return loss, ({"g_loss": loss}, stats, inputs.loss_state)


# D's outputs for real images and for fakes, penalties [N] or 0, scalars for the log.
_Scored = tuple[DiscriminatorOutput, DiscriminatorOutput, jax.Array | float, Scalars]


def _score_plainly(apply: _Apply, inputs: LossInputs) -> _Scored:
    """Scores real images and fakes, without a penalty."""
    reals, fakes = _examples(inputs)

    def of_both(images: jax.Array, labels: jax.Array | None) -> DiscriminatorOutput:
        return apply(images, labels, _REALS, _FAKES)

    return *score_together(of_both, reals, fakes), 0.0, {}


def _score_with_r1_and_r2(apply: _Apply, inputs: LossInputs) -> _Scored:
    """Scores with R1 of the real images and R2 of the fakes, if they have weights."""
    (reals, fakes), options = _examples(inputs), inputs.options
    if not options.r1_weight and not options.r2_weight:
        return _score_plainly(apply, inputs)
    return score_with_r1_and_r2(
        apply,
        reals,
        fakes,
        (_REALS, _FAKES),
        r1_weight=options.r1_weight,
        r2_weight=options.r2_weight,
        resolution_ratio=inputs.progress.resolution_ratio,
    )


def _score_with_gradient_penalty(apply: _Apply, inputs: LossInputs) -> _Scored:
    """Scores with WGAN-GP's penalty between real images and fakes."""
    (reals, fakes), options = _examples(inputs), inputs.options
    real, fake, _, _ = _score_plainly(apply, inputs)
    penalties, norms, mixed_scores = gradient_penalty(
        # With the real images' classes, which the fakes have too.
        lambda images: apply(images, reals.labels, _MIXED).scores,
        # The penalty is D's alone.
        lerp(reals.images, lax.stop_gradient(fakes.images), inputs.draws.mix),
        weight=options.gp_weight,
        target=options.gp_target,
        resolution_ratio=inputs.progress.resolution_ratio,
    )
    terms = {"mixed_scores": mixed_scores, "mixed_norms": norms}
    return real, fake, penalties, jax.tree.map(jnp.mean, terms)


def _d_logistic(real: jax.Array, fake: jax.Array, options: LossOptions) -> jax.Array:
    """-log(1 - sigmoid(fake)) - log(sigmoid(real)): Goodfellow et al. 2014."""
    del options
    return nn.softplus(fake) + nn.softplus(-real)


def _d_wasserstein(real: jax.Array, fake: jax.Array, options: LossOptions) -> jax.Array:
    """Fake - real + drift: Karras et al. 2018, appendix A.1."""
    return fake - real + options.drift_weight * jnp.square(real)


def _d_hinge(real: jax.Array, fake: jax.Array, options: LossOptions) -> jax.Array:
    """max(0, 1 + fake) + max(0, 1 - real): Lim & Ye 2017."""
    del options
    return nn.relu(1 + fake) + nn.relu(1 - real)


def _d_relativistic(
    real: jax.Array, fake: jax.Array, options: LossOptions
) -> jax.Array:
    """softplus(fake - real), of pairs: Huang et al. 2024."""
    del options
    return d_relativistic(real, fake)


def _g_nonsaturating(fake: jax.Array) -> jax.Array:
    """-log(sigmoid(fake)): Goodfellow et al. 2014, section 3."""
    return nn.softplus(-fake)


def _g_saturating(fake: jax.Array) -> jax.Array:
    """log(1 - sigmoid(fake)): Goodfellow et al. 2014, equation 1."""
    return -nn.softplus(fake)


class _Kind(NamedTuple):
    """Losses of one kind.

    Attributes:
      of_d: Maps scores of real images and of fakes, both [N], to D's losses [N].
      of_g: Maps scores of fakes [N], then of real images where `g_takes_reals`, to
        G's losses [N].
      score: Applies D, and computes the penalty that D's loss has besides.
    """

    of_d: Callable[[jax.Array, jax.Array, LossOptions], jax.Array]
    of_g: Callable[..., jax.Array]
    score: Callable[[_Apply, LossInputs], _Scored]


# By `config.loss.kind`.
LOSSES = {
    "nonsaturating": _Kind(_d_logistic, _g_nonsaturating, _score_with_r1_and_r2),
    "saturating": _Kind(_d_logistic, _g_saturating, _score_with_r1_and_r2),
    "wgan": _Kind(_d_wasserstein, jnp.negative, _score_plainly),
    "wgan_gp": _Kind(_d_wasserstein, jnp.negative, _score_with_gradient_penalty),
    "hinge": _Kind(_d_hinge, jnp.negative, _score_plainly),
    "hinge_gp": _Kind(_d_hinge, jnp.negative, _score_with_gradient_penalty),
    "relativistic": _Kind(_d_relativistic, g_relativistic, _score_with_r1_and_r2),
}


def _discriminate(inputs: LossInputs, params: Params) -> _Apply:
    """Returns D with the given parameters as a function of images and classes."""

    def apply(
        images: jax.Array, labels: jax.Array | None, *sets: int
    ) -> DiscriminatorOutput:
        if inputs.augment:
            key = jax.random.fold_in(inputs.progress.key, _AUGMENT_KEY)
            numbers = inputs.draws.numbers
            images = augment_sets(images, key, sets, numbers, inputs.augment)
        out: Any = inputs.networks.discriminator.apply(
            inputs.variables.d | {"params": params},
            images,
            labels,
            inputs.progress.alpha,
            sets=len(sets),
        )
        return out

    return apply


def _examples(inputs: LossInputs) -> tuple[Examples, Examples]:
    reals, fakes = inputs.reals, inputs.fakes
    assert reals is not None and fakes is not None, "D takes both"
    return reals, fakes


def _draw_latents(
    key: jax.Array, n: int, options: Options
) -> tuple[jax.Array, jax.Array | None]:
    """Draws the latents of n images, and those that are mixed in."""
    if not options.style_mixing:
        return jax.random.normal(key, (n, options.latent_size)), None
    both = jax.random.normal(key, (n, 2, options.latent_size))
    return both[:, 0], both[:, 1]


def _number(n: int) -> jax.Array:
    return jnp.arange(n, dtype=jnp.int32)
