"""The training of a classifier: one jitted step, with augmentation and a rate cycle."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax

from progan_jax.errors import UserError
from progan_jax.metrics.classifier import compute_logits

_BATCH_SIZE = 128

# The learning rate and weight decay are those of D. Page, "How to train your ResNet",
# 2018: there 0.4 for batches of 512, reached after 5 of 24 epochs.
_PEAK_RATE = 0.1

_RISE = 0.2  # Share of the training in which the learning rate rises.

_WEIGHT_DECAY = 5e-4  # Only of kernels.

# Share of the target that is spread over all classes: Szegedy et al. 2016, section 7.
_SMOOTHING = 0.1


class LabelledImages(NamedTuple):
    """Images uint8 [n, r, r, C] and their classes int [n]."""

    images: np.ndarray
    labels: np.ndarray


@dataclass(frozen=True)
class TrainOptions:
    """How a classifier is trained.

    Attributes:
      epochs: Passes over the images.
      minutes: Maximum wall-clock time. If it ends before the epochs do, the learning
        rate follows it, so that the cycle always ends; the result then depends on the
        machine's speed, and otherwise on the seed alone.
      seed: Seed for weights, order and augmentation.
      mirror: Images may be flipped left to right.
    """

    epochs: int
    minutes: float = math.inf
    seed: int = 0
    mirror: bool = False


class Epoch(NamedTuple):
    """The values of one epoch; times are from the start of the training."""

    epoch: int
    loss: float
    train_accuracy: float
    test_accuracy: float
    wall_sec: float
    cpu_sec: float


class _State(NamedTuple):
    variables: dict[str, Any]
    momentum: Any
    step: jax.Array
    loss: jax.Array  # Sums over the images of an epoch.
    correct: jax.Array
    seen: jax.Array


def train(
    network: Any,
    train_set: LabelledImages,
    test_set: LabelledImages,
    options: TrainOptions,
    on_step: Callable[[float], None] = lambda progress: None,
    on_epoch: Callable[[Epoch], None] = lambda epoch: None,
) -> tuple[dict[str, Any], list[Epoch]]:
    """Returns the variables, NumPy arrays, and the values of all epochs.

    Args:
      network: Linen module of `classifier.ARCHITECTURES`.
      train_set: Images to train on.
      test_set: Images that measure the accuracy after every epoch, and nothing else.
      options: See there.
      on_step: Called with the progress, from 0 to 1, after every step.
      on_epoch: Called with the values of every epoch.

    Raises:
      UserError: if the loss is not finite.
    """
    pace = _Pace(options, len(train_set.images))
    key_weights, key_steps = jax.random.split(jax.random.key(options.seed))
    state = _initial_state(key_weights, network, train_set.images[:1])
    curve: list[Epoch] = []
    progress = 0.0
    while progress < 1:
        # Three arrays, not one: the step takes the memory of each.
        loss, correct, seen = (jnp.zeros(()) for _ in range(3))
        state = state._replace(loss=loss, correct=correct, seen=seen)
        for rows in pace.batches(len(curve)):
            batch = LabelledImages(train_set.images[rows], train_set.labels[rows])
            rate = np.float32(_PEAK_RATE * _cycle(progress))
            state = _train_step(network, options.mirror, key_steps, state, batch, rate)
            progress = pace.advance(state)
            on_step(progress)
            if progress >= 1:
                break
        curve.append(_measure(network, state, test_set, pace, len(curve) + 1))
        on_epoch(curve[-1])
    return jax.device_get(state.variables), curve


class _Pace:
    """The order of the images, and the progress of the training."""

    def __init__(self, options: TrainOptions, num_images: int) -> None:
        self._options, self._num_images = options, num_images
        self._batch_size = min(_BATCH_SIZE, num_images)
        self._total = options.epochs * (num_images // self._batch_size)
        self._step = 0
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def batches(self, epoch: int) -> np.ndarray:
        """Returns the indices of an epoch, [steps, batch]; a remainder is left out."""
        order = np.random.default_rng([self._options.seed, epoch])
        steps = self._num_images // self._batch_size
        rows = order.permutation(self._num_images)[: steps * self._batch_size]
        return rows.reshape(steps, self._batch_size)

    def advance(self, state: _State) -> float:
        """Counts a step and returns the progress after it."""
        self._step += 1
        progress = self._step / self._total
        if math.isinf(self._options.minutes):
            return progress
        # Steps are only queued when the call returns: the clock must wait for them.
        state.step.block_until_ready()
        return max(progress, self.elapsed()[0] / (60 * self._options.minutes))

    def elapsed(self) -> tuple[float, float]:
        """Returns seconds of wall clock and of this process's CPU time."""
        return time.perf_counter() - self._wall, time.process_time() - self._cpu


def _initial_state(key: jax.Array, network: Any, images: np.ndarray) -> _State:
    variables = jax.jit(partial(network.init, train=False))(key, images)
    momentum = _transform().init(variables["params"])
    zero = jnp.zeros(())
    return _State(variables, momentum, jnp.zeros((), jnp.int32), zero, zero, zero)


def _measure(
    network: Any, state: _State, test_set: LabelledImages, pace: _Pace, epoch: int
) -> Epoch:
    loss = float(state.loss / state.seen)
    if not math.isfinite(loss):
        raise UserError(
            f"the classifier's loss is {loss} in epoch {epoch}; train it with another "
            "--seed"
        )
    logits = compute_logits(network, state.variables, test_set.images)
    return Epoch(
        epoch,
        loss,
        float(state.correct / state.seen),
        float(np.mean(logits.argmax(1) == test_set.labels)),
        *pace.elapsed(),
    )


@partial(jax.jit, static_argnums=(0, 1), donate_argnums=3)
def _train_step(
    network: Any,
    mirror: bool,
    key: jax.Array,
    state: _State,
    batch: LabelledImages,
    rate: jax.Array,
) -> _State:
    params, statistics = state.variables["params"], state.variables["batch_stats"]
    labels = jnp.asarray(batch.labels)
    key = jax.random.fold_in(key, state.step)
    images = _augment(key, jnp.asarray(batch.images), mirror)

    def objective(params: Any) -> tuple[jax.Array, tuple[jax.Array, Any]]:
        logits, changed = network.apply(
            {"params": params, "batch_stats": statistics},
            images,
            train=True,
            mutable=["batch_stats"],
        )
        return _loss(logits, labels), (logits, changed["batch_stats"])

    grad = jax.value_and_grad(objective, has_aux=True)
    (loss, (logits, statistics)), gradients = grad(params)
    updates, momentum = _transform().update(gradients, state.momentum, params)
    params = jax.tree.map(lambda p, u: p - rate * u, params, updates)
    return _State(
        {"params": params, "batch_stats": statistics},
        momentum,
        state.step + 1,
        state.loss + loss * len(logits),
        state.correct + jnp.sum(jnp.argmax(logits, 1) == labels),
        state.seen + len(logits),
    )


def _loss(logits: jax.Array, labels: jax.Array) -> jax.Array:
    targets = optax.smooth_labels(jax.nn.one_hot(labels, logits.shape[1]), _SMOOTHING)
    return jnp.mean(optax.softmax_cross_entropy(logits, targets))


def _transform() -> optax.GradientTransformation:
    """Nesterov's momentum, before the learning rate; kernels alone decay."""
    kernels = partial(jax.tree.map, lambda p: p.ndim > 1)
    return optax.chain(
        optax.add_decayed_weights(_WEIGHT_DECAY, mask=kernels),
        optax.trace(decay=0.9, nesterov=True),
    )


def _cycle(progress: float) -> float:
    """Rises from 0 to 1 over the first part of the training, then falls to 0."""
    return min(progress / _RISE, (1 - progress) / (1 - _RISE))


def _augment(key: jax.Array, images: jax.Array, mirror: bool) -> jax.Array:
    """Shifts uint8 [n, r, r, C] by up to r / 8 pixels, their borders reflected."""
    n, side, _, channels = images.shape
    reach = side // 8
    key_shift, key_mirror = jax.random.split(key)
    margins = ((0, 0), (reach, reach), (reach, reach), (0, 0))
    padded = jnp.pad(images, margins, mode="reflect")
    shifts = jax.random.randint(key_shift, (n, 2), 0, 2 * reach + 1)

    def cut(image: jax.Array, shift: jax.Array) -> jax.Array:
        return lax.dynamic_slice(image, (*shift, 0), (side, side, channels))

    shifted = jax.vmap(cut)(padded, shifts)
    if not mirror:
        return shifted
    flipped = jax.random.bernoulli(key_mirror, shape=(n, 1, 1, 1))
    return jnp.where(flipped, shifted[:, :, ::-1], shifted)
