"""Adam in the form that the authors' programs use.

TensorFlow and Lasagne add epsilon to the square root of the *uncorrected* second
moment; optax adds it to that of the corrected one, and has no option for this form:
    step = lr * sqrt(1 - beta2**t) / (1 - beta1**t) * m / (sqrt(v) + epsilon).
Source: Kingma & Ba 2015, end of section 2.
"""

from typing import Any

import jax
import jax.numpy as jnp
import optax


def scale_by_authors_adam(
    beta1: float, beta2: float, epsilon: float
) -> optax.GradientTransformation:
    """Returns the direction of Adam's step; the caller multiplies by minus the rate."""

    def init(params: optax.Params) -> optax.ScaleByAdamState:
        zeros = jax.tree.map(jnp.zeros_like, params)
        count = jnp.zeros([], jnp.int32)
        return optax.ScaleByAdamState(count, zeros, jax.tree.map(jnp.copy, zeros))

    def update(
        updates: optax.Updates,
        state: Any,
        params: optax.Params | None = None,
    ) -> tuple[optax.Updates, optax.ScaleByAdamState]:
        del params
        count = state.count + 1
        mu = optax.tree.update_moment(updates, state.mu, beta1, 1)
        nu = optax.tree.update_moment_per_elem_norm(updates, state.nu, beta2, 2)
        t = jnp.asarray(count, jnp.float32)
        correction = jnp.sqrt(1 - beta2**t) / (1 - beta1**t)
        step = jax.tree.map(
            lambda m, v: correction * m / (jnp.sqrt(v) + epsilon), mu, nu
        )
        return step, optax.ScaleByAdamState(count, mu, nu)

    return optax.GradientTransformation(init, update)
