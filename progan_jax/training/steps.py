"""The training steps: D step, moving average, G step, and the loop over (D, G) pairs.

Pure functions of the state, the batches and the controls; one program per resolution
runs any number of pairs up to the length of its arrays. Source: Karras et al. 2018,
appendix A.1.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
from jax import lax

from progan_jax.images import to_float, to_uint8
from progan_jax.models.common import (
    Examples,
    LossInputs,
    Networks,
    Params,
    Progress,
    Scalars,
    Stats,
)
from progan_jax.models.families import Family
from progan_jax.models.layers import downscale2d, lerp, upscale2d
from progan_jax.training.config import Controls, StepOptions
from progan_jax.training.gradients import (
    Gradients,
    differentiate,
    one_by_one,
    opposed,
)
from progan_jax.training.optimizer import (
    Optimizers,
    accumulate,
    add_scalars,
    all_finite,
    apply_update,
    count_skipped,
)
from progan_jax.training.state import TrainState, average


def prepare_reals(
    images: jax.Array,
    mirror: jax.Array,
    alpha: jax.Array,
    requantise: bool = False,
    noise: jax.Array | None = None,
) -> jax.Array:
    """Maps stored images to D's inputs: range, mirror, and the same fade as G's.

    Args:
      images: uint8 [N, r, r, C].
      mirror: bool [N], whether to flip an image left to right.
      alpha: Weight of the full detail; the rest is the image at half the resolution.
      requantise: Whether the blend is rounded to 8 bits again.
      noise: Added to the bytes of the blend, [N, r, r, C] in [-0.5, 0.5); or None. The
        paper's program adds it after the rounding, before the change of range.

    Returns:
      float32 [N, r, r, C] in [-1, 1], and half a byte beyond with noise.

    Source: Karras et al. 2018, figure 2, for the fade.
    """
    x = to_float(images)
    x = jnp.where(mirror.reshape(-1, 1, 1, 1), x[:, :, ::-1], x)
    x = lerp(upscale2d(downscale2d(x)), x, alpha)
    x = to_float(to_uint8(x)) if requantise else x
    return x if noise is None else x + noise / 127.5


# A step's key is split into keys for the family's draws, and these numbers are folded
# into it: from 3 on, since `fold_in` with 0, 1 or 2 gives the keys of the split again.
_NUM_DRAW_KEYS = 3
_DEQUANTISE_KEY, _NETWORKS_KEY, _PENALTY_KEY = 3, 4, 5


class Batches(Protocol):
    """Real images of up to K pairs; see `data.feed`."""

    def take(
        self, pair: jax.Array, repeat: jax.Array
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Returns images uint8 [N, r, r, C], labels int [N] and mirror bool [N]."""
        ...


class _Batch(NamedTuple):
    """Inputs of a step: real images, None if the loss needs none, and random arrays."""

    reals: Any
    draws: Any

    @property
    def labels(self) -> jax.Array | None:
        """Classes of a D step's fakes: drawn, or those of the real images."""
        return self.reals.labels if self.draws.labels is None else self.draws.labels


_Number = jax.typing.ArrayLike  # Of a part of the batch.


@dataclass(frozen=True)
class Steps:
    """The steps of one resolution.

    Attributes:
      generator: G at this resolution.
      discriminator: D at this resolution.
      family: Family of both; see `models.families`.
      tx: Optimizers of both networks.
      options: See `StepOptions`.
      batch_sharding: Sharding of latents and other arrays with a leading batch axis;
        None leaves it to the compiler.
      frozen: Arrays of the family's that are never trained; see `Family.load_frozen`.
      label_log_probs: Logarithms of the classes' frequencies in the data set, from
        which random labels are drawn; empty without classes.
    """

    generator: Any
    discriminator: Any
    family: Family
    tx: Optimizers
    options: StepOptions
    batch_sharding: jax.sharding.Sharding | None = None
    frozen: Any = None
    label_log_probs: tuple[float, ...] = ()

    def run(
        self, state: TrainState, batches: Batches, controls: Controls
    ) -> tuple[TrainState, jax.Array]:
        """Runs `controls.num_pairs` pairs; fewer if too many were skipped in a row.

        Returns:
          The new state and its `skipped_in_row`, which outlives a donated state.
        """

        def unfinished(carry: tuple[jax.Array, TrainState]) -> jax.Array:
            pair, state = carry
            tolerable = state.skipped_in_row < self.options.max_skipped
            return (pair < controls.num_pairs) & tolerable

        def body(carry: tuple[jax.Array, TrainState]) -> tuple[jax.Array, TrainState]:
            pair, state = carry
            return pair + 1, self.pair(state, batches, controls, pair)

        start = jnp.zeros([], jnp.int32)
        _, state = lax.while_loop(unfinished, body, (start, state))
        return state, state.skipped_in_row

    def pair(
        self, state: TrainState, batches: Batches, controls: Controls, pair: jax.Array
    ) -> TrainState:
        """Runs one (D, G) pair, or one simultaneous step."""
        key = jax.random.fold_in(state.key, state.pairs)
        alpha = controls.alpha[pair]
        g_rate = controls.g_learning_rate[pair]
        d_rate = controls.d_learning_rate[pair]
        nimg = controls.nimg[pair]
        skipped = count_skipped(state.sums)
        if self.options.simultaneous:
            reals = self._reals(batches, pair, jnp.int32(0), alpha, key)
            rates = g_rate, d_rate
            state = self.simultaneous_step(state, key, reals, alpha, *rates, nimg)
        else:
            key_d, key_g = jax.random.split(key)

            def d_repeat(repeat: jax.Array, state: TrainState) -> TrainState:
                step_key = jax.random.fold_in(key_d, repeat)
                reals = self._reals(batches, pair, repeat, alpha, step_key)
                return self.d_step(state, step_key, reals, alpha, d_rate, nimg)

            state = lax.fori_loop(0, self.options.d_repeats, d_repeat, state)
            first = jnp.int32(0)
            n = batches.take(pair, first)[1].shape[0]
            reals = None
            if self.family.g_takes_reals(self.options.loss):
                reals = self._reals(batches, pair, first, alpha, key_g)
            state = self.g_step(state, key_g, n, reals, alpha, g_rate, nimg)
            state = self._step_on_penalty(state, key_g, n, alpha, g_rate, nimg)
        in_row = jnp.where(
            count_skipped(state.sums) > skipped, state.skipped_in_row + 1, 0
        )
        return state.replace(pairs=state.pairs + 1, skipped_in_row=in_row)

    def d_step(
        self,
        state: TrainState,
        key: jax.Array,
        reals: Examples,
        alpha: jax.Array,
        rate: jax.Array,
        nimg: jax.typing.ArrayLike = 0.0,
    ) -> TrainState:
        """Updates D on real images and fresh fakes, then perhaps the EMA."""
        batch = self._draw_for_d(key, reals)
        progress = self._progress(key, alpha, nimg)

        def gradients(
            stats: Stats, part: _Batch, number: _Number
        ) -> tuple[Stats, Gradients]:
            inputs = self._inputs(state, stats, part, progress, number)
            draws, labels, at = part.draws, part.labels, inputs.progress
            images, g_stats = self.family.make_fakes(
                self.generator, inputs.variables.g, draws, labels, at
            )
            inputs = inputs.with_fakes(Examples(images, labels), g_stats)
            return differentiate(self.family.d_loss, state.d_params, inputs)

        stats, of_d = self._accumulate(gradients, state, batch)
        state = self._update(state, "d", of_d, stats, rate)
        return self._average_after("d_step", state, nimg)

    def g_step(
        self,
        state: TrainState,
        key: jax.Array,
        batch_size: int,
        reals: Examples | None,
        alpha: jax.Array,
        rate: jax.Array,
        nimg: jax.typing.ArrayLike = 0.0,
    ) -> TrainState:
        """Updates G on fresh latents, then perhaps the EMA."""
        draws = self._draw(self.family.draw_for_g, key, batch_size)
        progress = self._progress(key, alpha, nimg)

        def gradients(
            stats: Stats, part: _Batch, number: _Number
        ) -> tuple[Stats, Gradients]:
            inputs = self._inputs(state, stats, part, progress, number)
            return differentiate(self.family.g_loss, state.g_params, inputs)

        stats, of_g = self._accumulate(gradients, state, _Batch(reals, draws))
        state = self._update(state, "g", of_g, stats, rate)
        return self._average_after("g_step", state, nimg)

    def _step_on_penalty(
        self,
        state: TrainState,
        key: jax.Array,
        batch_size: int,
        alpha: jax.Array,
        rate: jax.Array,
        nimg: jax.Array,
    ) -> TrainState:
        """Runs `penalty_step` where it is due."""
        every, start = self._penalty_times
        if not every:
            return state
        due = (state.pairs % every == 0) & (nimg >= start)
        key = jax.random.fold_in(key, _PENALTY_KEY)

        def step(state: TrainState) -> TrainState:
            return self.penalty_step(state, key, batch_size, alpha, rate, nimg)

        return lax.cond(due, step, lambda state: state, state)

    def penalty_step(
        self,
        state: TrainState,
        key: jax.Array,
        batch_size: int,
        alpha: jax.Array,
        rate: jax.Array,
        nimg: jax.typing.ArrayLike = 0.0,
    ) -> TrainState:
        """Updates G on a penalty of its own, of half as many latents as its loss.

        Source: Karras et al. 2020, appendix B, for penalties that are taken rarely.
        """
        penalty = self.family.G_PENALTY
        assert penalty is not None, "or it is never due"
        draws = self._draw(self.family.draw_for_g, key, batch_size // 2)
        progress = self._progress(key, alpha, nimg)

        def gradients(
            stats: Stats, part: _Batch, number: _Number
        ) -> tuple[Stats, Gradients]:
            inputs = self._inputs(state, stats, part, progress, number)
            return differentiate(penalty.loss, state.g_params, inputs)

        stats, of_g = self._accumulate(gradients, state, _Batch(None, draws))
        return self._update(state, "penalty", of_g, stats, rate)

    def simultaneous_step(
        self,
        state: TrainState,
        key: jax.Array,
        reals: Examples,
        alpha: jax.Array,
        g_rate: jax.Array,
        d_rate: jax.Array,
        nimg: jax.typing.ArrayLike = 0.0,
    ) -> TrainState:
        """Updates D and G on one batch of fakes, each against the old other network."""
        batch = self._draw_for_d(key, reals)
        progress = self._progress(key, alpha, nimg)

        def gradients(stats: Stats, part: _Batch, number: _Number) -> tuple[Stats, Any]:
            inputs = self._inputs(state, stats, part, progress, number)
            labels, at = part.labels, inputs.progress

            def make(g_params: Params) -> tuple[jax.Array, dict[str, Any]]:
                g = inputs.variables.g_with(g_params)
                return self.family.make_fakes(self.generator, g, part.draws, labels, at)

            # The fakes are made once and passed to both losses.
            images, pull_back, g_stats = jax.vjp(make, state.g_params, has_aux=True)
            inputs = inputs.with_fakes(Examples(images, labels), g_stats)
            options = self.generator.options, self.options.loss
            both = opposed if self.family.is_zero_sum(*options) else one_by_one
            stats, of_d, (of_images, scalars) = both(self.family, state, inputs)
            return stats, (of_d, (*pull_back(of_images), scalars, of_d[2]))

        stats, (of_d, of_g) = self._accumulate(gradients, state, batch)
        state = self._update(state, "d", of_d, stats, d_rate)
        state = self._update(state, "g", of_g, stats, g_rate)
        return self._average(state, nimg)

    def zero_sums(self, state: TrainState, batch_size: int) -> dict[str, jax.Array]:
        """Returns a zero for each scalar of the losses and for each count of steps.

        Args:
          state: State of this resolution, with or without sums.
          batch_size: Number of images of a step. Nothing is computed, but D takes no
            number that cuts a group of the minibatch statistic.
        """
        side, channels = self.discriminator.resolution, self.discriminator.channels

        def scalars(state: TrainState) -> Scalars:
            classes = self.generator.num_classes
            labels = jnp.zeros([batch_size], jnp.int32) if classes else None
            images = Examples(jnp.zeros((batch_size, side, side, channels)), labels)
            key_d, key_g, key = jax.random.split(jax.random.key(0), 3)
            progress = self._progress(key, jnp.ones([]), jnp.zeros([]))
            of_d = self._draw_for_d(key_d, images)
            drawn = self._draw(self.family.draw_for_g, key_g, batch_size)
            of_g = _Batch(images, drawn)
            d, g = (
                self._inputs(state, state.trained.stats, part, progress)
                for part in (of_d, of_g)
            )
            d = d.with_fakes(images, state.g_stats)
            _, (d_scalars, *_) = self.family.d_loss(state.d_params, d)
            _, (g_scalars, *_) = self.family.g_loss(state.g_params, g)
            assert all(name.startswith("g_") for name in g_scalars), g_scalars
            return d_scalars | g_scalars | self._penalty_scalars(state, g, batch_size)

        kinds = ("d", "g", "penalty") if self._penalty_times[0] else ("d", "g")
        counts = [f"{kind}_{what}" for what in ("steps", "skipped") for kind in kinds]
        names = (*jax.eval_shape(scalars, state), *counts)
        return {name: jnp.zeros([]) for name in names}

    def _penalty_scalars(
        self, state: TrainState, inputs: LossInputs, batch_size: int
    ) -> Scalars:
        penalty = self.family.G_PENALTY
        if penalty is None or not self._penalty_times[0]:
            return {}
        key = jax.random.key(0)
        draws = self._draw(self.family.draw_for_g, key, batch_size // 2)
        inputs = inputs._replace(reals=None, draws=draws)
        _, (scalars, *_) = penalty.loss(state.g_params, inputs)
        assert all(name.startswith("penalty_") for name in scalars), scalars
        return scalars

    @property
    def _penalty_times(self) -> tuple[int, float]:
        penalty = self.family.G_PENALTY
        return penalty.times(self.options.loss) if penalty else (0, 0.0)

    @property
    def _num_devices(self) -> int:
        return self.batch_sharding.num_devices if self.batch_sharding else 1

    def _progress(
        self, key: jax.Array, alpha: jax.Array, nimg: jax.typing.ArrayLike
    ) -> Progress:
        key = jax.random.fold_in(key, _NETWORKS_KEY)
        parts = 0, self.options.microbatches
        return Progress(alpha, self.options.resolution_ratio, key, *parts, nimg)

    def _draw_for_d(self, key: jax.Array, reals: Examples) -> _Batch:
        draws = self._draw(self.family.draw_for_d, key, reals.images.shape[0])
        return _Batch(reals, draws)

    def _draw(self, draw: Callable[..., Any], key: jax.Array, n: int) -> Any:
        keys = jax.random.split(key, _NUM_DRAW_KEYS)
        options = self.generator.options, self.options.loss, self.label_log_probs
        return jax.tree.map(self._shard, draw(keys, n, *options))

    def _inputs(
        self,
        state: TrainState,
        stats: Stats,
        part: _Batch,
        progress: Progress,
        number: _Number = 0,
    ) -> LossInputs:
        return LossInputs(
            Networks(self.generator, self.discriminator),
            state.trained.with_stats(stats),
            part.reals,
            None,
            part.draws,
            progress._replace(part=number),
            state.loss_state,
            self.options.loss,
            self.frozen,
            self.options.augment,
        )

    def _accumulate(
        self,
        gradients: Callable[[Stats, _Batch, _Number], tuple[Stats, Any]],
        state: TrainState,
        batch: _Batch,
    ) -> tuple[Stats, Any]:
        stats, num_parts = state.trained.stats, self.options.microbatches
        return accumulate(gradients, stats, batch, num_parts, self._num_devices)

    def _update(
        self,
        state: TrainState,
        kind: str,
        gradients: Gradients,
        stats: Stats,
        rate: jax.Array,
    ) -> TrainState:
        """Updates D for "d", else G, the stats and the losses' state."""
        grads, scalars, loss_state = gradients
        ok = all_finite((grads, scalars[f"{kind}_loss"]))
        network = "d" if kind == "d" else "g"
        names = f"{network}_params", f"{network}_opt"
        params, opt = (getattr(state, name) for name in names)
        tx: Any = getattr(self.tx, network)
        updated = apply_update(tx, params, opt, grads, rate, ok)
        before = state.trained.stats, state.loss_state
        stats, loss_state = jax.tree.map(
            lambda new, old: jnp.where(ok, new, old), (stats, loss_state), before
        )
        sums = add_scalars(state.sums, scalars, kind, ok)
        return state.replace(
            **dict(zip(names, updated, strict=True)),
            g_stats=stats.g,
            d_stats=stats.d,
            loss_state=loss_state,
            sums=sums,
        )

    def _average_after(
        self, step: str, state: TrainState, nimg: jax.typing.ArrayLike
    ) -> TrainState:
        due = self.options.ema_after == step
        return self._average(state, nimg) if due else state

    def _average(self, state: TrainState, nimg: jax.typing.ArrayLike) -> TrainState:
        decay: Any = self.options.ema_decay
        if self.options.ema_ramp:
            # As in the program of Karras et al. 2020; 0 images at first.
            most = jnp.maximum(self.options.ema_ramp * nimg, 1e-8)
            decay = jnp.minimum(decay, 0.5 ** (1 / most))
        ema = average(state.g_ema, state.g_params, decay)
        return state.replace(g_ema=ema, g_ema_stats=state.g_stats)

    def _reals(
        self,
        batches: Batches,
        pair: jax.Array,
        repeat: jax.Array,
        alpha: jax.Array,
        step_key: jax.Array,
    ) -> Examples:
        images, labels, mirror = batches.take(pair, repeat)
        noise = None
        if self.options.dequantise:
            key = jax.random.fold_in(step_key, _DEQUANTISE_KEY)
            noise = self._shard(jax.random.uniform(key, images.shape) - 0.5)
        reals = prepare_reals(
            self._shard(images), mirror, alpha, self.options.requantise_fade, noise
        )
        return Examples(reals, labels if self.generator.num_classes else None)

    def _shard(self, x: jax.Array) -> jax.Array:
        if self.batch_sharding is None:
            return x
        return lax.with_sharding_constraint(x, self.batch_sharding)
