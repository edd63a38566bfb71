"""One update of a network: gradients in parts, Adam, and steps that are skipped.

Adam has the form of the authors' programs. TensorFlow and Lasagne add epsilon to the
square root of the *uncorrected* second moment; optax adds it to that of the corrected
one, and has no option for this form:
    step = lr * sqrt(1 - beta2**t) / (1 - beta1**t) * m / (sqrt(v) + epsilon).
Source: Kingma & Ba 2015, end of section 2.

An update that is not finite is skipped: parameters and moments stay as they are, and
the skip is counted. The scalars of a run are summed up in its state until a tick reads
them.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import lax

from progan_jax.models.common import Metrics


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


def scalar_names(loss: Any, conditional: bool) -> tuple[str, ...]:
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


def accumulate(
    run: Callable[[Any], Any], batch: Any, num_parts: int, num_shards: int
) -> Any:
    """Returns the mean of `run` over equal parts of the batch.

    That is `run` of the whole batch, up to rounding, if `run` is a mean over images
    that are independent but within groups that no part cuts.

    Args:
      run: From a part to a tree of arrays, means over its images.
      batch: Tree of arrays [N, ...].
      num_parts: Parts; 1 runs the batch as it is.
      num_shards: Devices that N is split over; every part has as many consecutive
        images of each.
    """
    if num_parts == 1:
        return run(batch)
    parts = jax.tree.map(lambda x: _split(x, num_parts, num_shards), batch)

    def add(total: Any, part: Any) -> tuple[Any, None]:
        return jax.tree.map(jnp.add, total, run(part)), None

    def run_first(parts: Any) -> Any:
        return run(jax.tree.map(lambda x: x[0], parts))

    shapes = jax.eval_shape(run_first, parts)
    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
    total, _ = lax.scan(add, zeros, parts)
    return jax.tree.map(lambda x: x / num_parts, total)


def _split(x: jax.Array, num_parts: int, num_shards: int) -> jax.Array:
    """Maps [N, ...] to [num_parts, N / num_parts, ...], each device's images apart."""
    rest = x.shape[1:]
    apart = x.reshape(num_shards, num_parts, -1, *rest)
    return apart.swapaxes(0, 1).reshape(num_parts, -1, *rest)
