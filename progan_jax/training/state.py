"""The training state: its creation, growth, optimizer resets and the average of G.

At resolution r it holds exactly the layers of the networks of resolution r. Source:
Karras et al. 2018, section 2 and appendix A.1.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax import struct

from progan_jax.models.common import (
    LossState,
    Params,
    Variables,
    carry_over,
    init_variables,
    split_trained,
)

if TYPE_CHECKING:  # Sampling from a trained generator must not import optax.
    import optax


class TrainState(struct.PyTreeNode):
    """Everything that a step reads and writes.

    Attributes:
      pairs: Number of (D, G) pairs run so far, int32; with the key it determines a
        pair's random numbers.
      key: Typed random key of the run; it never changes.
      g_params: Generator: the parameters that the stage trains.
      d_params: Discriminator.
      g_ema: Exponential moving average of the generator, the one to sample.
      g_opt: Adam's state for G.
      d_opt: Adam's state for D.
      skipped_in_row: Number of consecutive pairs, up to the last one, with an update
        that was not finite.
      sums: Scalars summed over the steps since the last tick, and counts of steps.
      loss_state: What the family's losses carry from step to step.
      g_stats: G's variables that change in training without gradients.
      d_stats: D's, likewise.
      g_ema_stats: G's at the last update of its average, which does not average them.
      g_fixed: G's other parameters, which are those of an earlier stage.
    """

    pairs: jax.Array
    key: jax.Array
    g_params: Params
    d_params: Params
    g_ema: Params
    g_opt: "optax.OptState"
    d_opt: "optax.OptState"
    skipped_in_row: jax.Array
    sums: dict[str, jax.Array]
    loss_state: LossState = struct.field(default_factory=dict)
    g_stats: dict[str, Any] = struct.field(default_factory=dict)
    d_stats: dict[str, Any] = struct.field(default_factory=dict)
    g_ema_stats: dict[str, Any] = struct.field(default_factory=dict)
    g_fixed: Params = struct.field(default_factory=dict)

    @property
    def averaged(self) -> dict[str, Any]:
        """The variables of the averaged generator."""
        params = carry_over(self.g_fixed, self.g_ema)
        return {"params": params, "stats": self.g_ema_stats}

    @property
    def trained(self) -> Variables:
        """The variables of the networks in training."""
        return Variables(
            {"params": carry_over(self.g_fixed, self.g_params), "stats": self.g_stats},
            {"params": self.d_params, "stats": self.d_stats},
        )


def create_state(
    key: jax.Array,
    generator: nn.Module,
    discriminator: nn.Module,
    tx: "optax.GradientTransformation",
    loss_state: LossState,
    begin: Callable[[Variables], Variables] = lambda born: born,
    number: int = 0,
) -> TrainState:
    """Creates the state of a stage that begins with new networks.

    Args:
      key: Typed key of the run, `jax.random.key(seed)`.
      generator: G at the first stage's resolution.
      discriminator: D at the same resolution.
      tx: Optimizer of both networks.
      loss_state: What the losses carry from step to step, at the start.
      begin: See `Family.begin`.
      number: Of the stage, from 0; each has other random weights.

    Returns:
      The state, without sums.
    """
    key_params, key_steps = split_key(key)
    if number:
        key_params = jax.random.fold_in(key_params, number)
    born = begin(init_variables(key_params, generator, discriminator))
    g_params, g_fixed = split_trained(generator, born.g["params"])
    d_params = born.d["params"]
    return TrainState(
        pairs=jnp.zeros([], jnp.int32),
        key=key_steps,
        g_params=g_params,
        d_params=d_params,
        g_ema=jax.tree.map(jnp.copy, g_params),
        g_opt=tx.init(g_params),
        d_opt=tx.init(d_params),
        skipped_in_row=jnp.zeros([], jnp.int32),
        sums={},
        loss_state=loss_state,
        g_stats=born.stats.g,
        d_stats=born.stats.d,
        g_ema_stats=jax.tree.map(jnp.copy, born.stats.g),
        g_fixed=g_fixed,
    )


def split_key(key: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Splits a run's key into the keys of its weights and of its steps."""
    weights, steps = jax.random.split(key)
    return weights, steps


def grow(
    state: TrainState,
    key: jax.Array,
    generator: nn.Module,
    discriminator: nn.Module,
    tx: "optax.GradientTransformation",
    *,
    reset: bool,
) -> TrainState:
    """Returns the state of the next stage.

    Existing layers are carried over in G, D, the EMA and, unless `reset`, in Adam's
    moments. New layers are initialised as if the run had started here; the EMA's are
    copies of G's.

    Args:
      state: State of the stage that ended.
      key: The run's key, as given to `create_state`.
      generator: G at the new resolution.
      discriminator: D at the same resolution.
      tx: Optimizer of both networks.
      reset: Whether the optimizers start from scratch.
    """
    born = init_variables(split_key(key)[0], generator, discriminator)
    born_g, born_d = born.g["params"], born.d["params"]
    grown = state.replace(
        g_params=carry_over(born_g, state.g_params),
        d_params=carry_over(born_d, state.d_params),
        g_ema=carry_over(jax.tree.map(jnp.copy, born_g), state.g_ema),
        g_stats=carry_over(born.stats.g, state.g_stats),
        d_stats=carry_over(born.stats.d, state.d_stats),
        g_ema_stats=carry_over(jax.tree.map(jnp.copy, born.stats.g), state.g_ema_stats),
    )
    if reset:
        return reset_optimizers(grown, tx)
    return grown.replace(
        g_opt=_carry_moments(tx.init(born_g), state.g_opt),
        d_opt=_carry_moments(tx.init(born_d), state.d_opt),
    )


def reset_optimizers(
    state: TrainState, tx: "optax.GradientTransformation"
) -> TrainState:
    """Clears the moments and step counts of both optimizers."""
    return state.replace(g_opt=tx.init(state.g_params), d_opt=tx.init(state.d_params))


def reset_sums(state: TrainState) -> TrainState:
    """Starts the sums of a new tick."""
    return state.replace(sums=jax.tree.map(jnp.zeros_like, state.sums))


def forgive(state: TrainState, max_skipped: int) -> TrainState:
    """Clears the count of a run that stopped for too many skipped updates."""
    if int(state.skipped_in_row) < max_skipped:
        return state
    return state.replace(skipped_in_row=state.skipped_in_row * 0)


def average(ema: Params, params: Params, decay: float) -> Params:
    """Returns decay * ema + (1 - decay) * params.

    Source: Karras et al. 2018, appendix A.1.
    """
    return jax.tree.map(lambda e, p: decay * e + (1 - decay) * p, ema, params)


def _carry_moments(born: Any, carried: Any) -> Any:
    # The count is carried too: a new layer's moments begin at zero without the larger
    # first steps' correction, as in the authors' program, which has all layers from the
    # start.
    return carried._replace(
        mu=carry_over(born.mu, carried.mu), nu=carry_over(born.nu, carried.nu)
    )
