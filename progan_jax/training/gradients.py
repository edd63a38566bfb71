"""Gradients of a family's losses: of one, and of both on the same fakes."""

from collections.abc import Callable
from typing import Any

import jax

from progan_jax.models.common import (
    LossInputs,
    LossOutputs,
    LossState,
    Params,
    Scalars,
    Stats,
)
from progan_jax.models.families import Family
from progan_jax.training.state import TrainState

# Gradients, scalars and state of one loss; means over the parts of a batch.
Gradients = tuple[Any, Scalars, LossState]

# Stats, gradients of D, and those of G's loss by its images, with its scalars.
OfBoth = tuple[Stats, Gradients, tuple[jax.Array, Scalars]]


def one_by_one(family: Family, state: TrainState, inputs: LossInputs) -> OfBoth:
    """Differentiates G's loss by the fakes, then D's by its parameters."""
    fakes = inputs.fakes
    assert fakes is not None, "made before"

    def g_loss(images: jax.Array, inputs: LossInputs) -> Any:
        given = inputs._replace(fakes=fakes._replace(images=images))
        return family.g_loss(state.g_params, given)

    stats, (of_images, scalars, loss_state) = differentiate(
        g_loss, fakes.images, inputs
    )
    inputs = inputs._replace(
        variables=inputs.variables.with_stats(stats), loss_state=loss_state
    )
    stats, of_d = differentiate(family.d_loss, state.d_params, inputs)
    return stats, of_d, (of_images, scalars)


def opposed(family: Family, state: TrainState, inputs: LossInputs) -> OfBoth:
    """Differentiates D's loss by its parameters and by the fakes, in one pass back.

    The gradient of G's loss by the fakes is minus that of D's.
    """
    fakes = inputs.fakes
    assert fakes is not None, "made before"

    def d_loss(by: tuple[Params, jax.Array], inputs: LossInputs) -> Any:
        d_params, images = by
        given = inputs._replace(fakes=fakes._replace(images=images))
        return family.d_loss(d_params, given)

    by = state.d_params, fakes.images
    stats, ((of_d, of_images), scalars, loss_state) = differentiate(d_loss, by, inputs)
    of_g = -of_images, {"g_loss": -scalars["fake_scores"]}
    return stats, (of_d, scalars, loss_state), of_g


def differentiate(
    loss: Callable[[Any, LossInputs], tuple[jax.Array, LossOutputs]],
    by: Any,
    inputs: LossInputs,
) -> tuple[Stats, Gradients]:
    """Returns both networks' stats after a loss, and its gradients by `by`."""
    gradients, (scalars, stats, loss_state) = jax.grad(loss, has_aux=True)(by, inputs)
    return stats, (gradients, scalars, loss_state)
