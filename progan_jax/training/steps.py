"""The training steps: D step, moving average, G step, and a loop over (D, G) pairs.

Pure functions of the state, the batches and the controls; one program per resolution
runs any number of pairs up to the length of its arrays. Source: Karras et al. 2018,
appendix A.1.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import optax
from jax import lax

from progan_jax.images import to_float, to_uint8
from progan_jax.models.common import DiscriminatorFn, Metrics, Params
from progan_jax.models.layers import downscale2d, lerp, upscale2d
from progan_jax.models.progan.ablation import (
    Noise,
    fold_noise,
    follow_scores,
    noise_strength,
)
from progan_jax.models.progan.losses import discriminator_loss, generator_loss
from progan_jax.models.progan.networks import Discriminator, Generator
from progan_jax.training.config import Controls, StepOptions
from progan_jax.training.optimizer import (
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
    """Maps stored images to what D sees: range, mirror, and the fade that G has too.

    Args:
      images: uint8 [N, r, r, C].
      mirror: bool [N], whether to flip an image left to right.
      alpha: Weight of the full detail; the rest is the image at half the resolution.
      requantise: Whether the blend is rounded to 8 bits again.
      noise: Added to the bytes of the blend, [N, r, r, C] in [-0.5, 0.5); or None. The
        paper's program adds it last of all, between the rounding and the range.

    Returns:
      float32 [N, r, r, C] in [-1, 1], and half a byte beyond with noise.
    """
    x = to_float(images)
    x = jnp.where(mirror.reshape(-1, 1, 1, 1), x[:, :, ::-1], x)
    x = lerp(upscale2d(downscale2d(x)), x, alpha)
    x = to_float(to_uint8(x)) if requantise else x
    return x if noise is None else x + noise / 127.5


# Purposes of a step's key besides the three that it is split into: `fold_in` with 0, 1
# and 2 gives these again.
_DEQUANTISE_KEY, _NOISE_KEY = 3, 4


class Batches(Protocol):
    """Reals of up to K pairs; see `data.pipeline`."""

    def take(
        self, pair: jax.Array, repeat: jax.Array
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Returns images uint8 [N, r, r, C], labels int [N] and mirror bool [N]."""
        ...


class _Batch(NamedTuple):
    """What a D step takes: all arrays [N, ...]; None without classes or noise."""

    reals: jax.Array
    labels: jax.Array | None
    z: jax.Array
    fake_labels: jax.Array | None
    mix: jax.Array
    noise_keys: jax.Array | None


@dataclass(frozen=True)
class Steps:
    """The steps of one resolution.

    Attributes:
      generator: At the resolution.
      discriminator: At the resolution.
      tx: Optimizer of both networks, of unit learning rate.
      options: See `StepOptions`.
      batch_sharding: Where to lay latents and other arrays with a leading batch axis;
        None leaves it to the compiler.
      label_log_probs: Logarithms of the classes' frequencies in the data set, from
        which random labels are drawn; empty without classes.
    """

    generator: Generator
    discriminator: Discriminator
    tx: optax.GradientTransformation
    options: StepOptions
    batch_sharding: jax.sharding.Sharding | None = None
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
        skipped = count_skipped(state.sums)
        if self.options.simultaneous:
            reals, labels = self._reals(batches, pair, jnp.int32(0), alpha, key)
            state = self.simultaneous_step(
                state, key, reals, labels, alpha, g_rate, d_rate
            )
        else:
            key_d, key_g = jax.random.split(key)

            def d_repeat(repeat: jax.Array, state: TrainState) -> TrainState:
                step_key = jax.random.fold_in(key_d, repeat)
                reals, labels = self._reals(batches, pair, repeat, alpha, step_key)
                return self.d_step(state, step_key, reals, labels, alpha, d_rate)

            state = lax.fori_loop(0, self.options.d_repeats, d_repeat, state)
            batch = batches.take(pair, jnp.int32(0))[1].shape[0]
            state = self.g_step(state, key_g, batch, alpha, g_rate)
        in_row = jnp.where(
            count_skipped(state.sums) > skipped, state.skipped_in_row + 1, 0
        )
        return state.replace(pairs=state.pairs + 1, skipped_in_row=in_row)

    def d_step(
        self,
        state: TrainState,
        key: jax.Array,
        reals: jax.Array,
        labels: jax.Array | None,
        alpha: jax.Array,
        rate: jax.Array,
    ) -> TrainState:
        """Updates D on reals [N, r, r, C] and fresh fakes, then perhaps the EMA."""
        batch = self._draw(key, reals, labels)

        def gradients(part: _Batch) -> tuple[Params, Metrics]:
            fakes = self._generate(state.g_params, part.z, part.fake_labels, alpha)
            return self._d_gradients(state, part, fakes, alpha)

        grads, metrics = self._accumulate(gradients, batch)
        state = self._update(state, "d", grads, metrics, rate)
        return self._average(state) if self.options.ema_after == "d_step" else state

    def g_step(
        self,
        state: TrainState,
        key: jax.Array,
        batch_size: int,
        alpha: jax.Array,
        rate: jax.Array,
    ) -> TrainState:
        """Updates G on fresh latents, then perhaps the EMA."""
        key_latents, key_labels = jax.random.split(key)
        z = self._latents(key_latents, batch_size)
        labels = self._draw_labels(key_labels, batch_size)
        noise_keys = self._noise_keys(key, batch_size)

        def gradients(part: Any) -> Any:
            z, labels, noise_keys = part

            def loss_of(params: Params) -> tuple[jax.Array, Metrics]:
                fakes = self._generate(params, z, labels, alpha)
                return self._g_loss(state, fakes, labels, alpha, noise_keys)

            return jax.grad(loss_of, has_aux=True)(state.g_params)

        grads, metrics = self._accumulate(gradients, (z, labels, noise_keys))
        state = self._update(state, "g", grads, metrics, rate)
        return self._average(state) if self.options.ema_after == "g_step" else state

    def simultaneous_step(
        self,
        state: TrainState,
        key: jax.Array,
        reals: jax.Array,
        labels: jax.Array | None,
        alpha: jax.Array,
        g_rate: jax.Array,
        d_rate: jax.Array,
    ) -> TrainState:
        """Updates D and G on one batch of fakes, each against the other's old self."""
        batch = self._draw(key, reals, labels)

        def gradients(part: _Batch) -> Any:
            fakes, pull_back = jax.vjp(
                lambda params: self._generate(params, part.z, part.fake_labels, alpha),
                state.g_params,
            )
            fakes_grad, g_metrics = jax.grad(
                lambda x: self._g_loss(
                    state, x, part.fake_labels, alpha, part.noise_keys
                ),
                has_aux=True,
            )(fakes)
            d_gradients = self._d_gradients(state, part, fakes, alpha)
            return d_gradients, (*pull_back(fakes_grad), g_metrics)

        (d_grads, d_metrics), (g_grads, g_metrics) = self._accumulate(gradients, batch)
        state = self._update(state, "d", d_grads, d_metrics, d_rate)
        state = self._update(state, "g", g_grads, g_metrics, g_rate)
        return self._average(state)

    def _draw(
        self, key: jax.Array, reals: jax.Array, labels: jax.Array | None
    ) -> _Batch:
        """Draws all that a D step takes besides its reals."""
        key_latents, key_labels, key_mix = jax.random.split(key, 3)
        n, fake_labels = reals.shape[0], labels
        if self.options.loss.fake_labels == "random":
            fake_labels = self._draw_labels(key_labels, n)
        mix = self._shard(jax.random.uniform(key_mix, (n, 1, 1, 1)))
        z, noise_keys = self._latents(key_latents, n), self._noise_keys(key, n)
        return _Batch(reals, labels, z, fake_labels, mix, noise_keys)

    def _accumulate(self, gradients: Callable[[Any], Any], batch: Any) -> Any:
        sharding = self.batch_sharding
        shards = sharding.num_devices if sharding is not None else 1
        return accumulate(gradients, batch, self.options.microbatches, shards)

    def _d_gradients(
        self, state: TrainState, batch: _Batch, fakes: jax.Array, alpha: jax.Array
    ) -> tuple[Params, Metrics]:
        noise = self._noise(state, batch.noise_keys)

        def loss_of(params: Params) -> tuple[jax.Array, Metrics]:
            return discriminator_loss(
                self._discriminate(params, alpha, noise),
                batch.reals,
                fakes,
                batch.mix,
                batch.labels,
                batch.fake_labels,
                self.options.loss,
                self.options.resolution_ratio,
            )

        grads, metrics = jax.grad(loss_of, has_aux=True)(state.d_params)
        if noise is not None:
            metrics["noise_strength"] = noise.strength
        return grads, metrics

    def _update(
        self,
        state: TrainState,
        network: str,
        grads: Params,
        metrics: Metrics,
        rate: jax.Array,
    ) -> TrainState:
        """Updates the network "d" or "g"."""
        names = f"{network}_params", f"{network}_opt"
        ok = all_finite((grads, metrics[f"{network}_loss"]))
        params, opt = (getattr(state, name) for name in names)
        updated = apply_update(self.tx, params, opt, grads, rate, ok)
        sums = add_scalars(state.sums, metrics, network, ok)
        state = state.replace(**dict(zip(names, updated, strict=True)), sums=sums)
        if network == "d" and state.fake_scores is not None:
            followed = follow_scores(state.fake_scores, metrics["fake_scores"])
            followed = jnp.where(ok, followed, state.fake_scores)
            state = state.replace(fake_scores=followed)
        return state

    def _average(self, state: TrainState) -> TrainState:
        decay = self.options.ema_decay
        return state.replace(g_ema=average(state.g_ema, state.g_params, decay))

    def _g_loss(
        self,
        state: TrainState,
        fakes: jax.Array,
        labels: jax.Array | None,
        alpha: jax.Array,
        noise_keys: jax.Array | None,
    ) -> tuple[jax.Array, Metrics]:
        noise = self._noise(state, noise_keys)
        discriminate = self._discriminate(state.d_params, alpha, noise)
        return generator_loss(discriminate, fakes, labels, self.options.loss)

    def _discriminate(
        self, params: Params, alpha: jax.Array, noise: Noise | None
    ) -> DiscriminatorFn:
        def discriminate(images: jax.Array, evaluation: int) -> Any:
            drawn = fold_noise(noise, evaluation)
            return self.discriminator.apply({"params": params}, images, alpha, drawn)

        return discriminate

    def _noise_keys(self, key: jax.Array, n: int) -> jax.Array | None:
        """Returns a step's keys of D's noise, one for each image."""
        if not self.options.loss.noise_coefficient:
            return None
        key = jax.random.fold_in(key, _NOISE_KEY)
        return self._shard(jax.random.split(key, n))

    def _noise(self, state: TrainState, keys: jax.Array | None) -> Noise | None:
        if keys is None:
            return None
        assert state.fake_scores is not None, "create the state with noisy=True"
        coefficient = self.options.loss.noise_coefficient
        return Noise(noise_strength(state.fake_scores, coefficient), keys)

    def _latents(self, key: jax.Array, n: int) -> jax.Array:
        return self._shard(jax.random.normal(key, (n, self.generator.latent_size)))

    def _generate(
        self,
        params: Params,
        z: jax.Array,
        labels: jax.Array | None,
        alpha: jax.Array,
    ) -> jax.Array:
        one_hot = None
        if labels is not None:
            one_hot = jax.nn.one_hot(labels, self.generator.num_classes)
        images: Any = self.generator.apply({"params": params}, z, alpha, one_hot)
        return images

    def _reals(
        self,
        batches: Batches,
        pair: jax.Array,
        repeat: jax.Array,
        alpha: jax.Array,
        step_key: jax.Array,
    ) -> tuple[jax.Array, jax.Array | None]:
        images, labels, mirror = batches.take(pair, repeat)
        noise = None
        if self.options.dequantise:
            key = jax.random.fold_in(step_key, _DEQUANTISE_KEY)
            noise = self._shard(jax.random.uniform(key, images.shape) - 0.5)
        reals = prepare_reals(
            self._shard(images), mirror, alpha, self.options.requantise_fade, noise
        )
        return reals, labels if self.generator.num_classes else None

    def _draw_labels(self, key: jax.Array, n: int) -> jax.Array | None:
        if not self.generator.num_classes:
            return None
        logits = jnp.asarray(self.label_log_probs, jnp.float32)
        return self._shard(jax.random.categorical(key, logits, shape=(n,)))

    def _shard(self, x: jax.Array) -> jax.Array:
        if self.batch_sharding is None:
            return x
        return lax.with_sharding_constraint(x, self.batch_sharding)
