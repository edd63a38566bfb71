"""One update of a network: gradients in parts, Adam, and skipped updates.

Adam has the form of the authors' programs. TensorFlow and Lasagne add epsilon to the
square root of the *uncorrected* second moment; optax adds it to that of the corrected
one, and has no option for this form:
    step = lr * sqrt(1 - beta2**t) / (1 - beta1**t) * m / (sqrt(v) + epsilon).
Source: Kingma & Ba 2015, just before section 2.1.

An update that is not finite is skipped: parameters and moments stay as they are, and
the skip is counted. The scalars of a run are summed in its state until the tick's end.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import lax

from progan_jax.models.common import Scalars


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
        # Kingma & Ba 2015, just before section 2.1.
        correction = jnp.sqrt(1 - beta2**t) / (1 - beta1**t)
        step = jax.tree.map(
            lambda m, v: correction * m / (jnp.sqrt(v) + epsilon), mu, nu
        )
        return step, optax.ScaleByAdamState(count, mu, nu)

    return optax.GradientTransformation(init, update)


class Optimizers(NamedTuple):
    """Those of G and of D, of unit learning rate; their states have the same form."""

    g: optax.GradientTransformation
    d: optax.GradientTransformation


def all_finite(tree: Any) -> jax.Array:
    """Returns whether all values of a tree are finite, a scalar bool."""
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
    """Takes one step against the gradients if `ok`, or else none.

    Args:
      tx: Optimizer of unit learning rate.
      params: Parameters of one network.
      opt: The optimizer's state for it.
      grads: Gradients of its loss.
      rate: Learning rate, a scalar.
      ok: Scalar bool.

    Returns:
      New parameters and new state of the optimizer.
    """
    direction, new_opt = tx.update(grads, opt)
    new_params = jax.tree.map(lambda p, d: p - rate * d, params, direction)
    return jax.tree.map(
        lambda new, old: jnp.where(ok, new, old), (new_params, new_opt), (params, opt)
    )


def add_scalars(
    sums: dict[str, jax.Array], metrics: Scalars, network: str, ok: jax.Array
) -> dict[str, jax.Array]:
    """Adds the scalars of an update to the sums; of a skipped one, only the count.

    Args:
      sums: Sums of the tick so far.
      metrics: Scalars of this update's loss.
      network: "d", "g", or "penalty" for a step of G on its penalty.
      ok: Whether the update was applied.
    """
    added = {name: jnp.where(ok, value, 0) for name, value in metrics.items()}
    added |= {f"{network}_steps": ok, f"{network}_skipped": ~ok}
    return sums | {
        name: sums[name] + value.astype(sums[name].dtype)
        for name, value in added.items()
    }


def count_skipped(sums: dict[str, jax.Array]) -> jax.Array:
    """Returns the number of skipped updates in the sums."""
    counts = [sums[name] for name in sorted(sums) if name.endswith("_skipped")]
    return sum(counts[1:], counts[0])


def accumulate(
    run: Callable[[Any, Any, Any], tuple[Any, Any]],
    carried: Any,
    batch: Any,
    num_parts: int,
    num_shards: int,
) -> tuple[Any, Any]:
    """Runs the parts of a batch one after the other, to save memory.

    The means are those of the undivided batch, up to rounding, if nothing is carried
    and images depend on each other only within groups that no part splits.

    Args:
      run: Maps (carried, part, number of the part from 0) to (carried, means over the
        part's images).
      carried: Tree of arrays that each part hands to the next, such as statistics.
      batch: Tree of arrays [N, ...].
      num_parts: Number of equal parts; 1 runs the batch as it is.
      num_shards: Number of devices that N is split over; every part has equally many
        consecutive images of each device.

    Returns:
      What the last part carries, and the mean over the parts.
    """
    if num_parts == 1:
        return run(carried, batch, 0)
    parts = jax.tree.map(lambda x: _split(x, num_parts, num_shards), batch)

    def add(carry: tuple[Any, Any], part: Any) -> tuple[tuple[Any, Any], None]:
        carried, total = carry
        carried, means = run(carried, *part)
        return (carried, jax.tree.map(jnp.add, total, means)), None

    def run_first(parts: Any) -> Any:
        return run(carried, jax.tree.map(lambda x: x[0], parts), 0)[1]

    shapes = jax.eval_shape(run_first, parts)
    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
    (carried, total), _ = lax.scan(
        add, (carried, zeros), (parts, jnp.arange(num_parts))
    )
    return carried, jax.tree.map(lambda x: x / num_parts, total)


def _split(x: jax.Array, num_parts: int, num_shards: int) -> jax.Array:
    """Maps [N, ...] to [num_parts, N / num_parts, ...], part by part on each device."""
    rest = x.shape[1:]
    apart = x.reshape(num_shards, num_parts, -1, *rest)
    return apart.swapaxes(0, 1).reshape(num_parts, -1, *rest)
