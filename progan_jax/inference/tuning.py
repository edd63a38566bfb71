"""Pivotal tuning: G itself is changed until the image of a w is the target.

The w that a search found, the pivot, stays as it is; all parameters of a copy of G
move. Elsewhere G is held: its images of a w near the pivot may not change.

Source: Roich et al. 2021, "Pivotal Tuning for Latent-based Editing of Real Images";
the constants are those of StyleGAN-XL's program (Sauer et al. 2022).
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
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
    with_noise,
)
from progan_jax.inference.generator import TrainedGenerator
from progan_jax.inference.projection import Projected
from progan_jax.inference.sampling import seed_key
from progan_jax.models.common import Params, one_hot


@dataclass(frozen=True)
class TuningOptions:
    """How a copy of G is tuned.

    Attributes:
      steps: Number of updates.
      learning_rate: Adam's.
      pixel_weight: Of the mean square of the differences of pixels in [-1, 1].
      space_weight: Of the distance from the images of G before, at a random w.
      space_radius: How far from the pivot that w is, over all layers.
      space_psi: Truncation of the w that gives the direction.
      seed: Seed of these w.
    """

    steps: int = 350
    learning_rate: float = 3e-4
    pixel_weight: float = 1.0
    space_weight: float = 10.0
    space_radius: float = 30.0
    space_psi: float = 0.5
    seed: int = 0


class Tuned(NamedTuple):
    """A state of the tuning.

    Attributes:
      step: Number of updates so far.
      variables: Those of the tuned G, on the device, with the noise of the search.
      distance: Of the pivot's image to the target.
      image: uint8 [r, r, C], of the pivot.
    """

    step: int
    variables: dict[str, Any]
    distance: float
    image: np.ndarray


def tune(
    generator: TrainedGenerator,
    pivot: Projected,
    target: np.ndarray,
    distance: Distance,
    options: TuningOptions,
    label: int | None = None,
    every: int = 10,
) -> Iterator[Tuned]:
    """Yields the states of a tuning, from the generator as it is on.

    Args:
      generator: A style-based one; it is not changed.
      pivot: What `projection.project` found.
      target: uint8 [r, r, C] of the generator's resolution.
      distance: What is to become small; see `projection.project`.
      options: How to tune.
      label: Class of the image, for a generator with classes.
      every: Number of updates from one yielded state to the next; the last one is
        yielded in any case.

    Raises:
      UserError: if the generator is not style-based.
      NotFiniteError: if the images become infinite.
    """
    generator.check_style_based("tuning")
    tuning = _Tuning(generator, pivot, target, distance, options, label)
    params = tuning.variables["params"]
    moments = tuning.adam.init(params)
    yield tuning.look(params, 0)
    for step in range(options.steps):
        params, moments = tuning.update(params, moments, step)
        if (step + 1) % every == 0 or step + 1 == options.steps:
            yield tuning.look(params, step + 1)


class _Programs:
    """Functions that are compiled once for all tunings of equal networks."""

    def __init__(
        self, network: Any, alpha: float, options: TuningOptions, label: int | None
    ) -> None:
        self.network, self.alpha = network, np.float32(alpha)
        self.options, self.label = options, label
        self.adam = optax.adam(options.learning_rate)
        self.compare = jax.jit(self._compare)
        self.take_step = jax.jit(self._take_step)

    def _compare(
        self,
        before: dict[str, Any],
        distance: Distance,
        pivot: jax.Array,
        goal: jax.Array,
        params: Params,
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Returns the pivot's image, its distance, and its squared difference."""
        image = self._draw(before | {"params": params}, pivot)
        seen = shrink(image)
        square = jnp.mean(jnp.square(seen - goal)) / 127.5**2
        return image[0], distance(seen, goal)[0], square

    def _take_step(
        self,
        before: dict[str, Any],
        distance: Distance,
        pivot: jax.Array,
        goal: jax.Array,
        params: Params,
        moments: Any,
        key: jax.Array,
    ) -> tuple[Params, Any]:
        """Returns parameters and moments after a step."""
        near = self._draw_near(before, pivot, key)
        held = shrink(self._draw(before, near))

        def loss(params: Params) -> jax.Array:
            _, found, square = self.compare(before, distance, pivot, goal, params)
            moved = shrink(self._draw(before | {"params": params}, near))
            change = distance(moved, held)[0]
            # Roich et al. 2021, sections 3.2 and 3.3.
            pixels = self.options.pixel_weight * square
            return found + pixels + self.options.space_weight * change

        steps, moments = self.adam.update(jax.grad(loss)(params), moments, params)
        moved: Any = optax.apply_updates(params, steps)
        return moved, moments

    def _draw(self, variables: dict[str, Any], w: jax.Array) -> jax.Array:
        return draw(self.network, variables, w, self.alpha)

    def _draw_near(
        self, before: dict[str, Any], pivot: jax.Array, key: jax.Array
    ) -> jax.Array:
        """Returns a w [1, num_layers, w_size] at the radius, towards a random one."""
        network = self.network.clone(
            truncation_psi=self.options.space_psi,
            truncation_cutoff=self.network.num_layers,
        )
        z = jax.random.normal(key, (1, network.latent_size))
        classes = None if self.label is None else jnp.full(1, self.label)
        labels = one_hot(network, classes)
        w = network.apply(before, z, labels, method="mapping")
        way = network.apply(before, w, labels, method="truncate") - pivot
        # Roich et al. 2021, section 3.3: the length is over all layers.
        length = jnp.sqrt(jnp.sum(jnp.square(way)) + 1e-12)
        return pivot + self.options.space_radius * way / length


# Some of them, as each keeps its network, and the distances it was called with.
_programs = lru_cache(maxsize=8)(_Programs)


class _Tuning:
    """A tuning, and what its programs take.

    Attributes:
      variables: Those of G before, with the noise of the search.
      adam: The optimizer.
    """

    def __init__(
        self,
        generator: TrainedGenerator,
        pivot: Projected,
        target: np.ndarray,
        distance: Distance,
        options: TuningOptions,
        label: int | None,
    ) -> None:
        # Neither of them is compiled.
        fixed = replace(options, steps=0, seed=0)
        network = fix_noise(generator.network)
        self._programs = _programs(network, generator.alpha, fixed, label)
        self._name, self._seed = generator.name, options.seed
        self.variables = with_noise(generator.variables, pivot.noise)
        self.adam = self._programs.adam
        goal = shrink(jnp.asarray(target, jnp.float32)[None])
        pinned = jnp.asarray(pivot.w)[None]
        self._given = self.variables, as_argument(distance), pinned, goal

    def update(self, params: Params, moments: Any, step: int) -> tuple[Params, Any]:
        """Returns parameters and moments after a step."""
        key = jax.random.fold_in(seed_key(self._seed), step)
        return self._programs.take_step(*self._given, params, moments, key)

    def look(self, params: Params, step: int) -> Tuned:
        """Returns a state."""
        image, found, _ = self._programs.compare(*self._given, params)
        if not np.isfinite(found):
            raise NotFiniteError(
                f"{self._name}: its images are not finite after {step} steps of "
                "tuning; lower the learning rate"
            )
        variables = self.variables | {"params": params}
        return Tuned(step, variables, float(found), round_bytes(image))
