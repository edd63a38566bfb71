"""Images from an averaged generator, in batches of one compiled size."""

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from progan_jax.errors import NotFiniteError, UserError, warn
from progan_jax.images import to_uint8
from progan_jax.models.common import Params, generate, parameter_shapes
from progan_jax.models.families import DEFAULT, FAMILIES
from progan_jax.models.options import faults, read_options

BATCH_SIZE = 64  # By default.

_ENORMOUS = 100.0  # All bytes of such an image are 0 or 255.


def generator_from_snapshot(info: Mapping[str, Any]) -> Any:
    """Returns the generator that a snapshot's description speaks of.

    Raises:
      UserError: if the description lacks a field, or has one that cannot be.
    """
    try:
        return _make_generator(info)
    except KeyError as error:
        problem = f"has no field {error}"
    except (TypeError, ValueError, AttributeError) as error:
        problem = f"speaks of no network ({error})"
    raise UserError(f"the snapshot's description {problem}; name a whole snapshot")


def _make_generator(info: Mapping[str, Any]) -> Any:
    name, side = info.get("family", DEFAULT), info["stage"]["resolution"]
    if name not in FAMILIES:
        raise UserError(
            f"the snapshot is of the family {name!r}, which this progan_jax does not "
            "know; install a newer one"
        )
    family = FAMILIES[name]
    if type(side) is not int or side < 4 or side & (side - 1):
        raise ValueError(f"resolution {side!r}")
    options = read_options(family.Options, info["options"])
    for name, fault in faults(family.Options, asdict(options)):
        raise ValueError(f"{name} = {getattr(options, name)!r} {fault.split(';')[0]}")
    return family.make_networks(options, side)[0]


def check_parameters(generator: Any, params: Params) -> None:
    """Raises UserError unless these are the generator's parameters, by their shapes."""
    found = traverse_util.flatten_dict(params)
    try:
        expected = parameter_shapes(generator)
    except Exception as error:  # Fields of a wrong type fail anywhere.
        raise UserError(
            "the snapshot's description speaks of no network "
            f"({type(error).__name__}); name a whole snapshot"
        ) from error
    for path in sorted(expected.keys() | found.keys()):
        shape = found[path].shape if path in found else None
        if shape != expected.get(path):
            raise UserError(
                f"the snapshot's {'/'.join(path)} has the shape {shape} where its "
                f"description asks for {expected.get(path)}; name a whole snapshot"
            )
        if not jnp.issubdtype(found[path].dtype, jnp.floating):
            raise UserError(
                f"the snapshot's {'/'.join(path)} has the type {found[path].dtype}, "
                "not one of fractions; name a whole snapshot"
            )


def draw_latents(key: jax.Array, num: int, latent_size: int) -> np.ndarray:
    """Returns `num` standard normal latents [num, latent_size], float32."""
    return np.asarray(jax.random.normal(key, (num, latent_size), jnp.float32))


def seed_key(seed: int) -> jax.Array:
    """Returns the key of a seed, whatever JAX's default generator is."""
    return jax.random.key(seed, impl="threefry2x32")


def seeded_latents(seed: int, num: int, latent_size: int) -> np.ndarray:
    """Returns latents [num, latent_size], float32; the first n of a seed are the same.

    Each has a key of its own, so that asking for more keeps the first ones. Neither
    JAX's default generator nor its default precision has a say.
    """
    keys = jax.vmap(jax.random.fold_in, (None, 0))(seed_key(seed), np.arange(num))
    draw = jax.vmap(lambda key: jax.random.normal(key, (latent_size,), jnp.float32))
    return np.asarray(draw(keys))


def draw_inputs(
    generator: Any, num: int, seed: int, label: int | None = None
) -> tuple[np.ndarray, np.ndarray | None]:
    """Returns latents [num, latent_size] and classes int [num] of a seed.

    There is one key for each image, so that asking for more keeps the first ones.

    Args:
      generator: That is to take them.
      num: Number of images.
      seed: Of the latents, and of the classes where `label` is None.
      label: Class of all images; None for random ones.

    Returns:
      The classes are None where there are none.
    """
    latents = seeded_latents(seed, num, generator.latent_size)
    if not generator.num_classes:
        return latents, None
    if label is not None:
        return latents, np.full(num, label, np.int32)
    rng = np.random.default_rng(seed)
    return latents, rng.integers(0, generator.num_classes, num, np.int32)


class Sampler:
    """Draws images from a generator of one resolution; compiled once.

    Attributes:
      generator: The network.
      batch_size: Images per call of the compiled function.
    """

    def __init__(
        self,
        generator: Any,
        batch_size: int = BATCH_SIZE,
        batched: jax.sharding.NamedSharding | None = None,
        compiler_options: Mapping[str, bool | str] | None = None,
        finish: Callable[[jax.Array], jax.Array] = to_uint8,
    ) -> None:
        """Describes how to draw.

        Args:
          generator: The network.
          batch_size: Images per call, rounded up to a multiple of the devices.
          batched: Sharding of the batch axis over several devices; None for one.
          compiler_options: What XLA is told besides.
          finish: What becomes of the images [N, r, r, C] before they leave the device.
        """
        devices = batched.num_devices if batched else 1
        self.generator = generator
        self.batch_size = -(-batch_size // devices) * devices
        self._batched, self._has_warned = batched, False
        self._call = jax.jit(
            partial(_generate, generator, finish),
            compiler_options=dict(compiler_options or {}),
        )

    def sample(
        self,
        params: Params,
        alpha: float,
        latents: np.ndarray,
        labels: np.ndarray | None = None,
        name: str = "",
    ) -> np.ndarray:
        """Returns images as `finish` gives them, uint8 [n, r, r, C] by default.

        Args:
          params: Of the averaged generator.
          alpha: Weight of its newest block.
          latents: [n, latent_size].
          labels: Classes int [n]; ignored by an unconditional generator.
          name: Of the snapshot, where the images are to be of use. Pixels far outside
            of [-1, 1] are warned of then.

        Raises:
          NotFiniteError: if there is a name, and pixels are not finite.
        """
        total = len(latents)
        classes = np.zeros(total, np.int32) if labels is None else labels
        parts, largest = [], np.float32(0)
        for start in range(0, total, self.batch_size):
            # A short last batch is filled up: one program serves all.
            rows = np.arange(start, start + self.batch_size) % total
            inputs = latents[rows], classes[rows].astype(np.int32)
            images, most = self._call(
                params, np.float32(alpha), *jax.device_put(inputs, self._batched)
            )
            parts.append(np.asarray(images)[: total - start])
            largest = np.maximum(largest, most)  # NaN, too, is kept.
        if name:
            self._check(name, float(largest))
        return np.concatenate(parts)

    def _check(self, name: str, largest: float) -> None:
        """Refuses or warns of images by the largest absolute value of a pixel."""
        if not math.isfinite(largest):
            raise NotFiniteError(
                f"snapshot {name}: its images are not finite; the run had diverged "
                "before it, so name an earlier one"
            )
        if largest > _ENORMOUS and not self._has_warned:
            self._has_warned = True
            warn(
                f"snapshot {name}: its images reach {largest:.3g}, and those of a "
                "trained generator about 1; its weights are damaged, or the run had "
                "diverged"
            )


def _generate(
    generator: Any,
    finish: Callable[[jax.Array], jax.Array],
    params: Params,
    alpha: jax.Array,
    latents: jax.Array,
    labels: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    images = generate(generator, {"params": params}, latents, labels, alpha)
    # XLA's maximum on CPUs may pass over NaN.
    largest = jnp.abs(images.astype(jnp.float32)).max()
    return finish(images), jnp.where(jnp.isfinite(images).all(), largest, jnp.nan)
