"""Batches on the devices, in the order of the index stream.

Two modes give identical batches: resident (the level is on the devices, and indices are
sent) and streamed (pixels are read ahead and sent).
"""

import math
from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax.sharding import NamedSharding

from progan_jax.data.index_stream import IndexStream
from progan_jax.data.pyramid import Pyramid
from progan_jax.data.streaming import PairStream
from progan_jax.runtime.mesh import lay_out

_DISPATCH_BYTES = 2**28  # Streamed pixels of one dispatch, over all devices.


class ResidentBatches(struct.PyTreeNode):
    """Batches gathered on the devices from a level stored there.

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
    """Mode and shapes of the batches of a level.

    Attributes:
      mode: "resident" or "streamed".
      level_shape: (n, r, r, C).
      max_pairs: Most pairs in one dispatch.
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
          replicated: Sharding that puts an array on every device.
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
    """Chooses mode and shapes of the batches of a level.

    Args:
      level_shape: (n, r, r, C).
      batch_size: Images of a D step over all devices.
      d_repeats: D steps in a pair.
      max_pairs: Most pairs in one dispatch; fewer if their streamed pixels would take
        more than 256 MiB.
      mode: "resident", "streamed" or "auto".
      resident_gib: Largest level that "auto" makes resident, in GiB.
    """
    if mode == "auto":
        fits = math.prod(level_shape) <= resident_gib * 2**30
        mode = "resident" if fits else "streamed"
    if mode == "streamed":
        pair_bytes = d_repeats * batch_size * math.prod(level_shape[1:])
        max_pairs = min(max_pairs, max(_DISPATCH_BYTES // pair_bytes, 1))
    # With a single row XLA drops the indexing and rounds differently: the number of
    # pairs per dispatch would change the results.
    shape = (max(max_pairs, 2), d_repeats, batch_size)
    return FeedPlan(mode, tuple(level_shape), max_pairs, shape)


class Feed:
    """Batches of one level for dispatches of several (D, G) pairs.

    When streamed, each process reads only the rows of its own devices.

    Attributes:
      mode: "resident" or "streamed", as chosen.
      max_pairs: Most pairs in one call of `batches`.
      capacity: K, the number of pairs that the arrays have room for.
    """

    def __init__(
        self,
        pyramid: Pyramid,
        stream: IndexStream,
        plan: FeedPlan,
        *,
        replicated: NamedSharding,
        batched: NamedSharding,
        stream_workers: int = 0,
    ) -> None:
        """Puts the level on the devices if the mode is "resident".

        Args:
          pyramid: The image set.
          stream: Order of the images.
          plan: Mode and shapes of the batches; see `plan_feed`.
          replicated: Sharding that puts an array on every device.
          batched: Sharding of arrays [K, D, N, ...] that splits N.
          stream_workers: Processes that read ahead when streamed; 0 uses threads.
        """
        level, labels = pyramid.levels[plan.level_shape[1]], pyramid.labels
        if labels is None:
            labels = np.zeros(len(level), np.int32)
        self.mode, self._shape = plan.mode, plan.shape
        self.max_pairs, self.capacity = plan.max_pairs, plan.shape[0]
        self._stream, self._batched = stream, batched
        self._labels = labels.astype(np.int32)
        self._image_shape = level.shape[1:]
        self._rows = _local_rows(batched, self._shape)
        self._pairs = PairStream(
            level,
            stream,
            d_repeats=plan.shape[1],
            batch_size=plan.shape[2],
            rows=self._rows,
            workers=stream_workers,
        )
        self._resident: tuple[jax.Array, jax.Array] | None = None
        if plan.mode == "resident":
            self._resident = (
                lay_out(level[:], replicated),
                lay_out(self._labels, replicated),
            )

    def batches(self, nimg: int, num_pairs: int) -> ResidentBatches | StreamedBatches:
        """Returns the batches of `num_pairs` pairs from image `nimg` of the stream on.

        The shape is the same in every call; rows past `num_pairs`, which is at most
        `max_pairs`, are zeros.
        """
        indices, mirror = np.zeros(self._shape, np.int32), np.zeros(self._shape, bool)
        count = num_pairs * indices[0].size
        indices.reshape(-1)[:count], mirror.reshape(-1)[:count] = self._stream.take(
            nimg, count
        )
        mirrors = lay_out(mirror, self._batched)
        if self._resident is not None:
            return ResidentBatches(
                *self._resident, lay_out(indices, self._batched), mirrors
            )
        labels = np.zeros(self._shape, np.int32)
        labels[:num_pairs] = self._labels[indices[:num_pairs]]
        images = self._read(nimg, num_pairs)
        return StreamedBatches(images, lay_out(labels, self._batched), mirrors)

    def _read(self, nimg: int, num_pairs: int) -> jax.Array:
        """Returns images uint8 [K, D, N, r, r, C]; a process reads its own rows."""
        local = np.zeros((self._shape[0], *self._pairs.pair_shape), np.uint8)
        local[:num_pairs] = self._pairs.take(nimg, num_pairs)

        def shard(index: Any) -> np.ndarray:
            first = np.searchsorted(self._rows, index[2].start or 0)
            end = self._shape[2] if index[2].stop is None else index[2].stop
            return local[:, :, first : np.searchsorted(self._rows, end)]

        shape = (*self._shape, *self._image_shape)
        return jax.make_array_from_callback(shape, self._batched, shard)

    def close(self) -> None:
        """Stops reading ahead."""
        self._pairs.close()


def _local_rows(batched: NamedSharding, shape: tuple[int, ...]) -> np.ndarray:
    """Returns the rows of [K, D, N] on this process's devices, sorted."""
    indices = batched.addressable_devices_indices_map(shape).values()
    rows = [np.arange(shape[2])[index[2]] for index in indices if index is not None]
    return np.unique(np.concatenate(rows))
