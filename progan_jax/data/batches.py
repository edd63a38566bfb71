"""The forms in which reals reach the devices, and which of them a level takes."""

import math
from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import struct
from jax.sharding import NamedSharding

_DISPATCH_BYTES = 2**28  # Of pixels that one dispatch takes along, over all devices.


class ResidentBatches(struct.PyTreeNode):
    """Batches gathered on the devices from a level that lies there.

    Attributes:
      images: The level, uint8 [n, r, r, C], on every device.
      labels: int32 [n]; zeros without classes.
      indices: int32 [K, D, N] for K pairs of D repeats of N images.
      mirror: bool [K, D, N].
    """

    images: jax.Array
    labels: jax.Array
    indices: jax.Array
    mirror: jax.Array

    def take(
        self, pair: jax.Array, repeat: jax.Array
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Returns images uint8 [N, r, r, C], labels int32 [N] and mirror bool [N]."""
        rows = self.indices[pair, repeat]
        return self.images[rows], self.labels[rows], self.mirror[pair, repeat]


class StreamedBatches(struct.PyTreeNode):
    """Batches whose pixels were gathered on the host.

    Attributes:
      images: uint8 [K, D, N, r, r, C].
      labels: int32 [K, D, N]; zeros without classes.
      mirror: bool [K, D, N].
    """

    images: jax.Array
    labels: jax.Array
    mirror: jax.Array

    def take(
        self, pair: jax.Array, repeat: jax.Array
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Returns images uint8 [N, r, r, C], labels int32 [N] and mirror bool [N]."""
        return (
            self.images[pair, repeat],
            self.labels[pair, repeat],
            self.mirror[pair, repeat],
        )


@dataclass(frozen=True)
class FeedPlan:
    """In which form and shapes the batches of a level come.

    Attributes:
      mode: "resident" or "streamed".
      level_shape: (n, r, r, C).
      max_pairs: Pairs that one dispatch may ask for.
      shape: (K, D, N): room for K pairs of D repeats of N images.
    """

    mode: Literal["resident", "streamed"]
    level_shape: tuple[int, ...]
    max_pairs: int
    shape: tuple[int, int, int]

    def abstract(
        self, replicated: NamedSharding, batched: NamedSharding
    ) -> ResidentBatches | StreamedBatches:
        """Returns the shapes, dtypes and shardings of the batches.

        Args:
          replicated: Sharding of what every device holds.
          batched: Sharding of arrays [K, D, N, ...] that splits N.
        """

        def array(shape: tuple[int, ...], dtype: Any, sharding: NamedSharding) -> Any:
            return jax.ShapeDtypeStruct(shape, dtype, sharding=sharding)

        mirror = array(self.shape, jnp.bool_, batched)
        if self.mode == "streamed":
            images = array((*self.shape, *self.level_shape[1:]), jnp.uint8, batched)
            return StreamedBatches(
                images, array(self.shape, jnp.int32, batched), mirror
            )
        return ResidentBatches(
            array(self.level_shape, jnp.uint8, replicated),
            array(self.level_shape[:1], jnp.int32, replicated),
            array(self.shape, jnp.int32, batched),
            mirror,
        )


def plan_feed(
    level_shape: tuple[int, ...],
    *,
    batch_size: int,
    d_repeats: int,
    max_pairs: int,
    mode: Literal["auto", "resident", "streamed"] = "auto",
    resident_gib: float = 4.0,
) -> FeedPlan:
    """Chooses form and shapes of the batches of a level.

    Args:
      level_shape: (n, r, r, C).
      batch_size: Images of a D step over all devices.
      d_repeats: D steps in a pair.
      max_pairs: Most pairs that one dispatch asks for; fewer if their pixels,
        streamed, would take more than 256 MiB.
      mode: "resident", "streamed" or "auto".
      resident_gib: Largest level that "auto" makes resident, in GiB.

    Raises:
      ValueError: if there is no such mode.
    """
    if mode not in ("auto", "resident", "streamed"):
        raise ValueError(f"mode {mode!r} must be auto, resident or streamed")
    if mode == "auto":
        fits = math.prod(level_shape) <= resident_gib * 2**30
        mode = "resident" if fits else "streamed"
    if mode == "streamed":
        pair_bytes = d_repeats * batch_size * math.prod(level_shape[1:])
        max_pairs = min(max_pairs, max(_DISPATCH_BYTES // pair_bytes, 1))
    # With a single row XLA would leave the indexing out, and round otherwise than with
    # more: the pairs per dispatch must not show in the numbers.
    shape = (max(max_pairs, 2), d_repeats, batch_size)
    return FeedPlan(mode, tuple(level_shape), max_pairs, shape)
