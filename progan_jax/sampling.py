"""Images from an averaged generator, in batches of one compiled size."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from progan_jax.errors import UserError
from progan_jax.images import to_uint8
from progan_jax.networks.layers import LEAKY_SLOPE
from progan_jax.networks.progan import Generator
from progan_jax.networks.topologies import TOPOLOGIES
from progan_jax.state import Params

_MODEL_FIELDS = (
    "channels",
    "latent_size",
    "num_classes",
    "fmap_base",
    "fmap_decay",
    "fmap_max",
    "equalized",
    "normalize_latents",
    "normalize_labels",
    "pixel_norm",
    "activation",
    "tanh",
)
_BATCH_SIZE = 64


def generator_from_snapshot(info: Mapping[str, Any]) -> Generator:
    """Returns the generator that a snapshot's description speaks of."""
    model = info["model"]
    fields = {name: model[name] for name in _MODEL_FIELDS}
    generator, _ = TOPOLOGIES[model.get("topology", "progan")]
    return generator(
        resolution=info["resolution"],
        dtype=jnp.dtype(model["dtype"]),
        # The first snapshots lack these, and the topology.
        norm=model.get("g_norm", "none"),
        slope=model.get("g_slope", LEAKY_SLOPE),
        **fields,
    )


def draw_latents(key: jax.Array, num: int, latent_size: int) -> np.ndarray:
    """Returns `num` standard normal latents [num, latent_size], float32."""
    return np.asarray(jax.random.normal(key, (num, latent_size)))


def seeded_latents(seed: int, num: int, latent_size: int) -> np.ndarray:
    """Returns latents [num, latent_size], float32; the first n of a seed are the same.

    Each has a key of its own, so that asking for more keeps the first ones.
    """
    keys = jax.vmap(jax.random.fold_in, (None, 0))(jax.random.key(seed), np.arange(num))
    draw = jax.vmap(lambda key: jax.random.normal(key, (latent_size,)))
    return np.asarray(draw(keys))


def draw_samples(
    params: Params,
    info: Mapping[str, Any],
    num: int,
    seed: int,
    label: int | None = None,
) -> np.ndarray:
    """Returns uint8 images [num, r, r, C]; the first n of a seed are always the same.

    Args:
      params: Of the snapshot's generator.
      info: The snapshot's description.
      num: Number of images.
      seed: Of the latents, and of the classes where `label` is None.
      label: Class of all images; None for random ones, or where there are none.

    Raises:
      UserError: if the images are not finite.
    """
    generator, drawn = generator_from_snapshot(info), num
    if generator.norm == "batch":
        # An image depends on the rest of its batch, which has to be the same, too.
        drawn = -(-num // _BATCH_SIZE) * _BATCH_SIZE
    labels = None if label is None else np.full(drawn, label, np.int32)
    if label is None and generator.num_classes:
        rng = np.random.default_rng(seed)
        labels = rng.integers(0, generator.num_classes, drawn, np.int32)
    sampler = Sampler(generator, batch_size=min(drawn, _BATCH_SIZE))
    latents = seeded_latents(seed, drawn, generator.latent_size)
    images, finite = sampler.sample_checked(params, info["alpha"], latents, labels)
    if not finite:
        raise UserError(
            "--snapshot: its images are not finite; the run had diverged before it, so "
            "name an earlier one"
        )
    return images[:num]


class Sampler:
    """Draws images from a generator of one resolution; compiled once.

    Attributes:
      generator: The network.
      batch_size: Images per call of the compiled function.
    """

    def __init__(
        self,
        generator: Generator,
        batch_size: int = _BATCH_SIZE,
        batched: jax.sharding.NamedSharding | None = None,
        compiler_options: Mapping[str, bool | str] | None = None,
    ) -> None:
        """Describes how to draw.

        Args:
          generator: The network.
          batch_size: Images per call, rounded up to a multiple of the devices.
          batched: Sharding of the batch axis over several devices; None for one.
          compiler_options: What XLA is told besides.
        """
        devices = batched.num_devices if batched else 1
        self.generator = generator
        self.batch_size = -(-batch_size // devices) * devices
        self._batched = batched
        self._call = jax.jit(
            partial(_generate, generator),
            compiler_options=dict(compiler_options or {}),
        )

    def sample(
        self,
        params: Params,
        alpha: float,
        latents: np.ndarray,
        labels: np.ndarray | None = None,
    ) -> np.ndarray:
        """Returns uint8 images [n, r, r, C].

        Args:
          params: Of the averaged generator.
          alpha: Weight of its newest block.
          latents: [n, latent_size].
          labels: Classes int [n]; ignored by an unconditional generator.
        """
        return self.sample_checked(params, alpha, latents, labels)[0]

    def sample_checked(
        self,
        params: Params,
        alpha: float,
        latents: np.ndarray,
        labels: np.ndarray | None = None,
    ) -> tuple[np.ndarray, bool]:
        """Returns as `sample`, and whether all pixels were finite before rounding."""
        total = len(latents)
        classes = np.zeros(total, np.int32) if labels is None else labels
        parts, finite = [], True
        for start in range(0, total, self.batch_size):
            # A short last batch is filled up: one program serves all.
            rows = np.arange(start, start + self.batch_size) % total
            inputs = latents[rows], classes[rows].astype(np.int32)
            images, are_finite = self._call(
                params, np.float32(alpha), *jax.device_put(inputs, self._batched)
            )
            parts.append(np.asarray(images)[: total - start])
            finite &= bool(are_finite)
        return np.concatenate(parts), finite


def _generate(
    generator: Generator,
    params: Params,
    alpha: jax.Array,
    latents: jax.Array,
    labels: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    one_hot = None
    if generator.num_classes:
        one_hot = jax.nn.one_hot(labels, generator.num_classes)
    images: Any = generator.apply({"params": params}, latents, alpha, one_hot)
    return to_uint8(images), jnp.isfinite(images).all()
