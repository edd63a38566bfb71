"""Penalties of a discriminator: of its gradients, and of wrong classes.

They take scores, logits or a function of images, never a network.
"""

from collections.abc import Callable
from typing import TypeVar

import jax
import jax.numpy as jnp

from progan_jax.models.common import DiscriminatorOutput, Examples, Scalars

Aux = TypeVar("Aux")


def gradient_penalty(
    scores: Callable[[jax.Array], jax.Array],
    images: jax.Array,
    *,
    weight: float,
    target: float,
    resolution_ratio: float,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Penalises gradients of the scores whose norm is not gamma.

    lambda * (||dD/dx||_2 / resolution_ratio - gamma)**2 / gamma**2, for each image:
    Karras et al. 2018, section 6.5, after Gulrajani et al. 2017 (lambda 10, gamma 1;
    gamma 750 for CIFAR-10).

    Args:
      scores: Maps images [N, r, r, C] to scores [N].
      images: [N, r, r, C], between real images and fakes.
      weight: Lambda.
      target: Gamma, the target norm.
      resolution_ratio: R / r, or 1 to keep the norm in the space of the stage's images.
        The authors' networks take images of the final resolution R and pool them to the
        stage's r first, which spreads every gradient over (R / r)**2 pixels and makes
        its norm R / r times smaller.

    Returns:
      Penalties [N], norms [N] after the division, and scores [N].
    """

    def summed_scores(x: jax.Array) -> tuple[jax.Array, jax.Array]:
        each = scores(x)
        return jnp.sum(each), each

    gradient, each = jax.grad(summed_scores, has_aux=True)(images)
    norms = _norm(gradient) / resolution_ratio
    return weight / target**2 * jnp.square(norms - target), norms, each


def zero_centred_penalty(
    scores: Callable[[jax.Array], tuple[jax.Array, Aux]],
    images: jax.Array,
    *,
    weight: float,
    resolution_ratio: float,
) -> tuple[jax.Array, jax.Array, Aux]:
    """Penalises gradients of the scores: R1 of real images, R2 of fakes.

    gamma / 2 * ||dD/dx||_2**2 / resolution_ratio**2, for each image: Mescheder et al.
    2018, section 4.1. The gradient is that of the scores, not of the loss.

    Args:
      scores: Maps images [N, r, r, C] to scores [N], and anything else that a caller
        wants from the same pass.
      images: [N, r, r, C], real images or fakes.
      weight: Gamma.
      resolution_ratio: As for `gradient_penalty`: the sum of squares is (R / r)**2
        times smaller at the final resolution R.

    Returns:
      Penalties [N], sums of squares [N] after the division, and what `scores` returned
      beside the scores.
    """

    def summed_scores(x: jax.Array) -> tuple[jax.Array, Aux]:
        each, aux = scores(x)
        return jnp.sum(each), aux

    gradient, aux = jax.grad(summed_scores, has_aux=True)(images)
    squares = _sum_of_squares(gradient) / resolution_ratio**2
    return weight / 2 * squares, squares, aux


def score_with_r1_and_r2(
    apply: Callable[..., DiscriminatorOutput],
    reals: Examples,
    fakes: Examples,
    sets: tuple[int, int],
    *,
    r1_weight: float,
    r2_weight: float,
    resolution_ratio: float,
) -> tuple[DiscriminatorOutput, DiscriminatorOutput, jax.Array | float, Scalars]:
    """Scores with R1 of the real images and R2 of the fakes.

    Mescheder et al. 2018, section 4.1; Huang et al. 2024.

    Args:
      apply: D as a function of images, classes or None, and what the images are.
      reals: N real images.
      fakes: N fakes.
      sets: What real images are to `apply`, and what fakes are.
      r1_weight: Gamma of R1; 0 for none.
      r2_weight: Gamma of R2; 0 for none.
      resolution_ratio: As for `gradient_penalty`.

    Returns:
      D's outputs for real images and for fakes, penalties [N] or 0 without weights, and
      the means of the sums of squares as scalars for the log, without their weights.
    """
    real, r1, of_reals = _score_penalised(
        apply, reals, sets[0], r1_weight, resolution_ratio
    )
    fake, r2, of_fakes = _score_penalised(
        apply, fakes, sets[1], r2_weight, resolution_ratio
    )
    # Named as in StyleGAN's program.
    terms = {"r1_penalty": of_reals, "r2_penalty": of_fakes}
    terms = {name: jnp.mean(x) for name, x in terms.items() if x is not None}
    return real, fake, r1 + r2, terms


def _score_penalised(
    apply: Callable[..., DiscriminatorOutput],
    examples: Examples,
    what: int,
    weight: float,
    resolution_ratio: float,
) -> tuple[DiscriminatorOutput, jax.Array | float, jax.Array | None]:
    """Returns D's outputs, penalties and sums of squares, all in one pass."""
    if not weight:
        return apply(*examples, what), 0.0, None

    def scores(images: jax.Array) -> tuple[jax.Array, DiscriminatorOutput]:
        out = apply(images, examples.labels, what)
        return out.scores, out

    penalties, squares, out = zero_centred_penalty(
        scores, examples.images, weight=weight, resolution_ratio=resolution_ratio
    )
    return out, penalties, squares


def class_penalty(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Mean softmax cross entropy of logits [N, L] against classes int [N].

    Classes from L on have a one-hot vector of zeros, and so an entropy of zero. Source:
    Odena et al. 2017 (AC-GAN).
    """
    import optax  # Here, because sampling imports the losses and must not need optax.

    known = labels < logits.shape[-1]
    entropy = optax.softmax_cross_entropy_with_integer_labels(
        logits, jnp.where(known, labels, 0)
    )
    return jnp.mean(jnp.where(known, entropy, 0))


def _norm(gradient: jax.Array) -> jax.Array:
    """L2 norm per image, whose derivative at zero is zero instead of NaN."""
    squared = _sum_of_squares(gradient)
    is_zero = squared == 0
    return jnp.where(is_zero, 0, jnp.sqrt(jnp.where(is_zero, 1, squared)))


def _sum_of_squares(gradient: jax.Array) -> jax.Array:
    """Returns the sum of squares of each image [N, ...]: [N]."""
    return jnp.sum(jnp.square(gradient), axis=tuple(range(1, gradient.ndim)))
