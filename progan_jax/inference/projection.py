"""Projection: the w, and the noise, whose image is nearest to a given one.

It needs of a network what families with a mapping have: `mapping` and `synthesis` as
methods, `num_layers`, and noise, if there is any, as arrays called "noise" in the
stats, used in the mode "fixed".

Source: Karras et al. 2020, "Analyzing and Improving the Image Quality of StyleGAN",
appendix D, whose constants are the defaults. Rates here are relative to the deviation
of w, so that they fit networks of any scale.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from progan_jax.errors import NotFiniteError
from progan_jax.inference.fixed import (
    Distance,
    as_argument,
    draw,
    fix_noise,
    round_bytes,
    shrink,
    stored_noise,
    with_noise,
)
from progan_jax.inference.generator import TrainedGenerator
from progan_jax.inference.sampling import seed_key, seeded_latents
from progan_jax.models.common import one_hot

_MAPPED_AT_ONCE = 1000

_SMALLEST_NOISE = 8  # Side of the smallest maps whose pixels may be correlated.


@dataclass(frozen=True)
class ProjectionOptions:
    """How w is searched for.

    Attributes:
      steps: Number of updates.
      learning_rate: Largest one, in deviations of w.
      rise: Share of the steps in which it rises.
      fall: Share of the steps in which it falls, as a cosine.
      w_noise: Of the noise that is added to w at first, in deviations of the whole w.
      w_noise_until: Share of the steps in which that noise decays.
      per_layer: Whether each layer has a w of its own.
      noise: Whether the noise of the network is searched for, too.
      noise_weight: Of the penalty on neighbouring pixels of noise that are alike.
      latents: Number of latents that are mapped for average and deviation.
      seed: Seed of all that is random.
    """

    steps: int = 1000
    learning_rate: float = 0.1
    rise: float = 0.05
    fall: float = 0.25
    w_noise: float = 0.05
    w_noise_until: float = 0.75
    per_layer: bool = False
    noise: bool = False
    noise_weight: float = 1e5
    latents: int = 10_000
    seed: int = 0

    def rate(self, step: int) -> float:
        """Returns the learning rate of a step."""
        done = step / self.steps
        fall = min(1, (1 - done) / self.fall)
        return (
            self.learning_rate
            * (0.5 - 0.5 * math.cos(math.pi * fall))
            * min(1, done / self.rise)
        )

    def strength(self, step: int) -> float:
        """Returns the noise on w of a step."""
        left = max(0, 1 - step / self.steps / self.w_noise_until)
        return self.w_noise * left**2


class Projected(NamedTuple):
    """A state of the search.

    Attributes:
      step: Number of updates so far.
      w: float32 [num_layers, w_size].
      noise: Maps [H, W] by their paths in the stats; {} if not searched for.
      distance: Of the image to the target.
      image: uint8 [r, r, C].
    """

    step: int
    w: np.ndarray
    noise: dict[str, np.ndarray]
    distance: float
    image: np.ndarray


def project(
    generator: TrainedGenerator,
    target: np.ndarray,
    distance: Distance,
    options: ProjectionOptions,
    label: int | None = None,
    every: int = 10,
) -> Iterator[Projected]:
    """Yields the states of a search, from the average w on.

    Args:
      generator: A style-based one.
      target: uint8 [r, r, C] of the generator's resolution.
      distance: What is to become small: a function of two batches of images, float
        [n, h, w, C] in 0..255, to [n], or a pytree that is called as one.
      options: How to search.
      label: Class of the image, for a generator with classes.
      every: Number of updates from one yielded state to the next; the last one is
        yielded in any case.

    Raises:
      UserError: if the generator is not style-based.
      NotFiniteError: if the images become infinite.
    """
    generator.check_style_based("projection")
    search = _Search(generator, distance, options)
    mean, deviation = search.estimate(label)
    goal = shrink(jnp.asarray(target, jnp.float32)[None])
    params = search.start(mean)
    moments = _ADAM.init(params)
    yield search.look(params, mean, deviation, goal, 0)
    for step in range(options.steps):
        rates = np.array([options.rate(step), options.strength(step)], np.float32)
        key = jax.random.fold_in(seed_key(options.seed), step)
        params, moments = search.update(
            params, moments, mean, deviation, goal, rates, key
        )
        if (step + 1) % every == 0 or step + 1 == options.steps:
            yield search.look(params, mean, deviation, goal, step + 1)


_ADAM = optax.scale_by_adam(b1=0.9, b2=0.999)


class _Programs:
    """Functions that are compiled once for all searches of equal networks."""

    def __init__(
        self, network: Any, alpha: float, per_layer: bool, noise_weight: float
    ) -> None:
        self.network, self.alpha = network, np.float32(alpha)
        self.per_layer, self.noise_weight = per_layer, noise_weight
        self.map, self.compare = jax.jit(self._map), jax.jit(self._compare)
        self.take_step = jax.jit(self._take_step)

    def _map(
        self, variables: dict[str, Any], z: jax.Array, labels: jax.Array | None
    ) -> jax.Array:
        w: Any = self.network.apply(variables, z, labels, method="mapping")
        return w

    def _compare(
        self,
        variables: dict[str, Any],
        distance: Distance,
        params: dict[str, Any],
        mean: jax.Array,
        deviation: jax.Array,
        goal: jax.Array,
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Returns w, its image, and the distance."""
        w = mean + deviation * params["w"]
        variables = with_noise(variables, params["noise"])
        rows = w[None] if self.per_layer else w
        image = draw(self.network, variables, rows, self.alpha)
        return w, image[0], distance(shrink(image), goal)[0]

    def _take_step(
        self,
        variables: dict[str, Any],
        distance: Distance,
        params: dict[str, Any],
        moments: Any,
        mean: jax.Array,
        deviation: jax.Array,
        goal: jax.Array,
        rates: jax.Array,
        key: jax.Array,
    ) -> tuple[Any, Any]:
        """Returns parameters and moments after a step."""
        rate, strength = rates
        size = math.sqrt(mean.shape[1])  # From the whole w to one of its dimensions.
        added = size * strength * jax.random.normal(key, params["w"].shape)

        def loss(params: dict[str, Any]) -> jax.Array:
            moved = params | {"w": params["w"] + added}
            _, _, found = self.compare(
                variables, distance, moved, mean, deviation, goal
            )
            alike = sum(map(_likeness, params["noise"].values()), jnp.float32(0))
            return found + self.noise_weight * alike

        steps, moments = _ADAM.update(jax.grad(loss)(params), moments)
        params = jax.tree.map(lambda x, step: x - rate * step, params, steps)
        noise = {path: _normalise(x) for path, x in params["noise"].items()}
        return params | {"noise": noise}, moments


# Some of them, as each keeps its network, and the distances it was called with.
_programs = lru_cache(maxsize=8)(_Programs)


class _Search:
    """A search, and what its programs take."""

    def __init__(
        self,
        generator: TrainedGenerator,
        distance: Distance,
        options: ProjectionOptions,
    ) -> None:
        self._network = network = fix_noise(generator.network)
        self._given = generator.variables, as_argument(distance)
        self._name, self._options = generator.name, options
        self._programs = _programs(
            network, generator.alpha, options.per_layer, options.noise_weight
        )

    def estimate(self, label: int | None) -> tuple[jax.Array, jax.Array]:
        """Returns the mean of w [1, w_size], and its deviation in one dimension."""
        network, count = self._network, self._options.latents
        latents = seeded_latents(self._options.seed, count, network.latent_size)
        mapped = []
        for start in range(0, count, _MAPPED_AT_ONCE):
            z = latents[start : start + _MAPPED_AT_ONCE]
            classes = None if label is None else jnp.full(len(z), label)
            labels = one_hot(network, classes)
            mapped.append(np.asarray(self._programs.map(self._given[0], z, labels)))
        w = np.concatenate(mapped).astype(np.float64)
        mean, deviation = w.mean(axis=0, keepdims=True), w.std(axis=0)
        size = math.sqrt(np.mean(deviation**2))
        return jnp.asarray(mean, jnp.float32), jnp.float32(size)

    def start(self, mean: jax.Array) -> dict[str, Any]:
        """Returns what is searched for: w in deviations from the mean, and noise."""
        layers = self._network.num_layers if self._options.per_layer else 1
        noise = {}
        if self._options.noise:
            key = jax.random.fold_in(seed_key(self._options.seed), self._options.steps)
            stored = sorted(stored_noise(self._given[0]).items())
            for index, (path, value) in enumerate(stored):
                own = jax.random.fold_in(key, index)
                noise[path] = jax.random.normal(own, value.shape)
        return {"w": jnp.zeros((layers, mean.shape[1])), "noise": noise}

    def update(self, *inputs: Any) -> tuple[Any, Any]:
        """Returns parameters and moments after a step."""
        return self._programs.take_step(*self._given, *inputs)

    def look(
        self,
        params: dict[str, Any],
        mean: jax.Array,
        deviation: jax.Array,
        goal: jax.Array,
        step: int,
    ) -> Projected:
        """Returns a state, without noise on w."""
        inputs = params, mean, deviation, goal
        w, image, found = self._programs.compare(*self._given, *inputs)
        if not np.isfinite(found):
            raise NotFiniteError(
                f"{self._name}: its images are not finite after {step} steps; lower "
                "the learning rate, or choose another snapshot"
            )
        layers = self._network.num_layers, w.shape[1]
        noise = {path: np.asarray(value) for path, value in params["noise"].items()}
        whole = np.broadcast_to(np.asarray(w), layers).copy()
        return Projected(step, whole, noise, float(found), round_bytes(image))


def _likeness(noise: jax.Array) -> jax.Array:
    """Returns how much neighbours in a map [H, W] resemble each other, at all scales.

    Noise that is no noise would draw the image that w does not reach.
    """
    total = jnp.float32(0)
    while min(noise.shape) >= _SMALLEST_NOISE:
        for axis in (0, 1):
            total += jnp.mean(noise * jnp.roll(noise, 1, axis)) ** 2
        h, w = noise.shape
        # Twice the mean of four pixels has their deviation.
        noise = 2 * jnp.mean(noise.reshape(h // 2, 2, w // 2, 2), axis=(1, 3))
    return total


def _normalise(noise: jax.Array) -> jax.Array:
    centred = noise - jnp.mean(noise)
    return centred / jnp.sqrt(jnp.mean(jnp.square(centred)) + 1e-8)
