"""One update of one network: a step of the optimizer unless it is not finite.

A skipped update leaves parameters and moments as they are and is counted. The scalars
of a run are summed up in its state until a tick reads them.
"""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from progan_jax.losses import LossOptions, Metrics


def all_finite(tree: Any) -> jax.Array:
    """Returns whether every number of a tree is finite, bool."""
    checks = [jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(tree)]
    return jnp.all(jnp.stack(checks))


def apply_update(
    tx: optax.GradientTransformation,
    params: Any,
    opt: optax.OptState,
    grads: Any,
    rate: jax.Array,
    ok: jax.Array,
) -> tuple[Any, optax.OptState]:
    """Takes one step against the gradients, or none at all unless `ok`.

    Args:
      tx: Optimizer of unit learning rate.
      params: Of one network.
      opt: The optimizer's state for it.
      grads: Of its loss.
      rate: Learning rate, a scalar.
      ok: bool.

    Returns:
      New parameters and new state of the optimizer.
    """
    direction, new_opt = tx.update(grads, opt)
    new_params = jax.tree.map(lambda p, d: p - rate * d, params, direction)
    return jax.tree.map(
        lambda new, old: jnp.where(ok, new, old), (new_params, new_opt), (params, opt)
    )


def scalar_names(loss: LossOptions, conditional: bool) -> tuple[str, ...]:
    """Returns the names of the sums, for `state.create_state`."""
    names = ["real_scores", "fake_scores", "stddev_reals", "stddev_fakes"]
    names += ["d_loss", "g_loss", "d_steps", "g_steps", "d_skipped", "g_skipped"]
    if loss.kind == "wgan_gp":
        names += ["mixed_scores", "mixed_norms", "epsilon_penalty"]
    if loss.noise_coefficient:
        names += ["noise_strength"]
    if conditional:
        names += ["label_penalty_reals", "label_penalty_fakes"]
    return tuple(names)


def add_scalars(
    sums: dict[str, jax.Array], metrics: Metrics, network: str, ok: jax.Array
) -> dict[str, jax.Array]:
    """Adds an update's scalars to the sums; those of a skipped one only count as such.

    Args:
      sums: Of the tick so far.
      metrics: Of this update's loss.
      network: "d" or "g".
      ok: Whether the update was applied.
    """
    added = {name: jnp.where(ok, value, 0) for name, value in metrics.items()}
    added |= {f"{network}_steps": ok, f"{network}_skipped": ~ok}
    return sums | {
        name: sums[name] + value.astype(sums[name].dtype)
        for name, value in added.items()
    }


def count_skipped(sums: dict[str, jax.Array]) -> jax.Array:
    """Returns the skipped updates of both networks in the sums."""
    return sums["d_skipped"] + sums["g_skipped"]
