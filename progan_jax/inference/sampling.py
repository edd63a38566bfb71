"""Sampling from a generator, in batches of one compiled size."""

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import lru_cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from progan_jax.errors import NotFiniteError, UserError, warn
from progan_jax.images import to_uint8
from progan_jax.models.common import Weights, generate, weight_shapes
from progan_jax.models.families import DEFAULT, FAMILIES
from progan_jax.models.options import faults, read_options

BATCH_SIZE = 64  # By default.

_ENORMOUS = 100.0  # Of a pixel; in bytes such images are almost only 0 and 255.


def generator_from_snapshot(info: Mapping[str, Any]) -> Any:
    """Returns the generator described by a snapshot.

    Raises:
      UserError: if the description lacks a field or has an invalid one.
    """
    name = info.get("family", DEFAULT)
    if name not in FAMILIES:
        raise UserError(
            f"the snapshot is of the family {name!r}, which this progan_jax does not "
            "have; install a newer one"
        )
    family = FAMILIES[name]
    try:
        side, options = info["stage"]["resolution"], info["options"]
        if type(side) is not int or side < 4 or side & (side - 1):
            raise ValueError(f"resolution {side!r}")
        options = read_options(family.Options, options)
        for field, fault in faults(family.Options, asdict(options)):
            value = getattr(options, field)
            raise ValueError(f"{field} = {value!r} {fault.split(';')[0]}")
        return family.make_networks(options, side)[0]
    except KeyError as error:
        problem = f"has no field {error}"
    except (TypeError, ValueError, AttributeError) as error:
        problem = f"is invalid ({error})"
    raise UserError(f"the snapshot's description {problem}; choose another snapshot")


def check_weights(generator: Any, weights: Weights) -> None:
    """Raises UserError unless the weights have the generator's names and shapes."""
    found, expected = traverse_util.flatten_dict(weights), weight_shapes(generator)
    for path in sorted(expected.keys() | found.keys()):
        shape = found[path].shape if path in found else None
        if shape != expected.get(path):
            raise UserError(
                f"the snapshot's {'/'.join(path)} has the shape {shape} and its "
                f"description requires {expected.get(path)}; choose another snapshot"
            )


def read_alpha(info: Mapping[str, Any]) -> float:
    """Returns the weight of the newest block that a snapshot's description has.

    Raises:
      UserError: if it is not in [0, 1].
    """
    alpha = info["stage"].get("alpha")
    if not isinstance(alpha, int | float) or not 0 <= alpha <= 1:
        raise UserError(
            f"the snapshot's description has alpha = {alpha!r}, which must lie in "
            "[0, 1]; choose another"
        )
    return float(alpha)


def draw_latents(key: jax.Array, num: int, latent_size: int) -> np.ndarray:
    """Returns `num` standard normal latents [num, latent_size], float32."""
    return np.asarray(jax.random.normal(key, (num, latent_size), jnp.float32))


def seed_key(seed: int | jax.Array) -> jax.Array:
    """Returns the key of a seed, whatever JAX's default generator is."""
    return jax.random.key(seed, impl="threefry2x32")


def seeded_latents(seed: int, num: int, latent_size: int) -> np.ndarray:
    """Returns latents [num, latent_size], float32, the first n of which never change.

    Each latent has its own key, so that a larger `num` keeps the first ones. The result
    is independent of JAX's default generator and precision.
    """
    keys = jax.vmap(jax.random.fold_in, (None, 0))(seed_key(seed), np.arange(num))
    draw = jax.vmap(lambda key: jax.random.normal(key, (latent_size,), jnp.float32))
    return np.asarray(draw(keys))


def draw_inputs(
    generator: Any, num: int, seed: int, label: int | None = None
) -> tuple[np.ndarray, np.ndarray | None]:
    """Returns latents [num, latent_size] and classes int [num] of a seed.

    A larger `num` keeps the first ones.

    Args:
      generator: The network that they are for.
      num: Number of images.
      seed: Seed of the latents, and of the classes if `label` is None.
      label: Class of all images; None for random ones.

    Returns:
      Latents and classes; the latter are None for an unconditional generator.
    """
    latents = seeded_latents(seed, num, generator.latent_size)
    if not generator.num_classes:
        return latents, None
    if label is not None:
        return latents, np.full(num, label, np.int32)
    rng = np.random.default_rng(seed)
    return latents, rng.integers(0, generator.num_classes, num, np.int32)


class Sampler:
    """Draws images from a generator of one resolution with one compiled program.

    Attributes:
      generator: The network.
      batch_size: Number of images per call of the compiled function.
    """

    def __init__(
        self,
        generator: Any,
        batch_size: int = BATCH_SIZE,
        batched: jax.sharding.NamedSharding | None = None,
        compiler_options: Mapping[str, bool | str] | None = None,
        finish: Callable[[jax.Array], jax.Array] = to_uint8,
        draw: Callable[..., jax.Array] = generate,
    ) -> None:
        """Prepares the compilation.

        Args:
          generator: The network.
          batch_size: Number of images per call, rounded up to a multiple of the number
            of devices.
          batched: Sharding of the batch axis over several devices; None for one.
          compiler_options: Additional options of XLA.
          finish: Applied to the images [N, r, r, C] on the device.
          draw: `models.common.generate`, or another function of its arguments. Samplers
            of equal networks, `finish` and `draw` share their compiled programs.
        """
        devices = batched.num_devices if batched else 1
        self.generator = generator
        self.batch_size = -(-batch_size // devices) * devices
        self._batched, self._has_warned = batched, False
        options = tuple((compiler_options or {}).items())
        self._call = _compiled(draw, generator, finish, options)

    def sample(
        self,
        variables: Mapping[str, Any],
        alpha: float,
        latents: np.ndarray,
        labels: np.ndarray | None = None,
        name: str = "",
        *,
        seed: int = 0,
        first: int = 0,
    ) -> np.ndarray:
        """Returns images as returned by `finish`, by default uint8 [n, r, r, C].

        Args:
          variables: Those of the generator.
          alpha: Weight of its newest block.
          latents: [n, latent_size].
          labels: Classes int [n]; ignored by an unconditional generator.
          name: Name of the snapshot. If given, pixels are checked: those far outside of
            [-1, 1] cause a warning.
          seed: Seed of the generator's noise, if it has any.
          first: Number of the first image; noise is that of seed and number.

        Raises:
          NotFiniteError: if a name is given and pixels are not finite.
        """
        total = len(latents)
        classes = np.zeros(total, np.int32) if labels is None else labels
        parts, largest, key = [], np.float32(0), seed_key(seed)
        for start in range(0, total, self.batch_size):
            # The last batch is padded, so that one program serves all.
            rows = np.arange(start, start + self.batch_size) % total
            numbers = (first + rows).astype(np.int32)
            inputs = latents[rows], classes[rows].astype(np.int32), numbers
            placed = jax.device_put(inputs, self._batched)
            images, most = self._call(variables, np.float32(alpha), *placed, key)
            parts.append(np.asarray(images)[: total - start])
            largest = np.maximum(largest, most)  # Keeps NaN.
        if name:
            self._check(name, float(largest))
        return np.concatenate(parts)

    def _check(self, name: str, largest: float) -> None:
        """Warns or raises, depending on the largest absolute value of a pixel."""
        if not math.isfinite(largest):
            raise NotFiniteError(
                f"snapshot {name}: its images are not finite; the run had diverged "
                "before, so choose an earlier one"
            )
        if largest > _ENORMOUS and not self._has_warned:
            self._has_warned = True
            warn(
                f"snapshot {name}: its images reach {largest:.3g}, and those of a "
                "trained generator about 1; its weights are damaged, or the run had "
                "diverged"
            )


@lru_cache(maxsize=32)
def _compiled(
    draw: Callable[..., jax.Array],
    generator: Any,
    finish: Callable[[jax.Array], jax.Array],
    options: tuple[tuple[str, bool | str], ...],
) -> Any:
    """Returns one program for all snapshots of a network."""
    run = partial(_draw, draw, generator, finish)
    return jax.jit(run, compiler_options=dict(options))


def _draw(
    draw: Callable[..., jax.Array],
    generator: Any,
    finish: Callable[[jax.Array], jax.Array],
    variables: dict[str, Any],
    alpha: jax.Array,
    latents: jax.Array,
    labels: jax.Array,
    numbers: jax.Array,
    key: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    images = draw(generator, variables, latents, labels, alpha, numbers, key)
    # XLA's maximum on CPUs may ignore NaN.
    largest = jnp.abs(images.astype(jnp.float32)).max()
    return finish(images), jnp.where(jnp.isfinite(images).all(), largest, jnp.nan)
