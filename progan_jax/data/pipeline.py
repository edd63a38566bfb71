"""How images reach the devices, in the order of the index stream.

Two ways of feeding give identical batches: resident (the level lies on the devices and
indices travel) and streamed (pixels are read ahead and travel).
"""

from typing import Literal

import jax
import numpy as np
from flax import struct
from jax.sharding import NamedSharding

from progan_jax.data.index_stream import IndexStream
from progan_jax.data.pyramid import Pyramid
from progan_jax.data.streaming import PairStream


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


class Feed:
    """Batches of one level for dispatches of up to `max_pairs` (D, G) pairs.

    Attributes:
      mode: "resident" or "streamed", as chosen.
    """

    def __init__(
        self,
        pyramid: Pyramid,
        stream: IndexStream,
        *,
        resolution: int,
        batch_size: int,
        d_repeats: int,
        max_pairs: int,
        replicated: NamedSharding,
        batched: NamedSharding,
        mode: Literal["auto", "resident", "streamed"] = "auto",
        resident_max_mib: float = 4096,
        stream_workers: int = 0,
    ) -> None:
        """Lays the level on the devices if the feed is to be resident.

        Args:
          pyramid: The image set.
          stream: Which image comes when.
          resolution: Level to feed.
          batch_size: Images of a D step over all devices.
          d_repeats: D steps in a pair.
          max_pairs: Pairs that one call of `batches` may ask for.
          replicated: Sharding of what every device holds.
          batched: Sharding of arrays [K, D, N, ...] that splits N.
          mode: "resident", "streamed" or "auto".
          resident_max_mib: Largest level that "auto" makes resident, in MiB.
          stream_workers: Processes that read ahead for "streamed"; 0 is threads.

        Raises:
          ValueError: if there is no such mode.
        """
        if mode not in ("auto", "resident", "streamed"):
            raise ValueError(f"mode {mode!r} must be auto, resident or streamed")
        level = pyramid.levels[resolution]
        labels = pyramid.labels
        if labels is None:
            labels = np.zeros(len(level), np.int32)
        if mode == "auto":
            fits = level.nbytes <= resident_max_mib * 2**20
            mode = "resident" if fits else "streamed"
        self.mode = mode
        self._stream, self._batched = stream, batched
        self._shape = (max_pairs, d_repeats, batch_size)
        self._labels = labels.astype(np.int32)
        self._image_shape = level.shape[1:]
        self._pairs = PairStream(level, stream, d_repeats * batch_size, stream_workers)
        self._resident: tuple[jax.Array, jax.Array] | None = None
        if mode == "resident":
            self._resident = jax.device_put((level[:], self._labels), replicated)

    def batches(self, nimg: int, num_pairs: int) -> ResidentBatches | StreamedBatches:
        """Returns the batches of `num_pairs` pairs from image `nimg` of the stream on.

        One shape serves every call: rows past `num_pairs` are zeros, not to be taken.

        Raises:
          ValueError: if num_pairs exceeds max_pairs.
        """
        max_pairs, d_repeats, batch_size = self._shape
        if num_pairs > max_pairs:
            raise ValueError(f"num_pairs {num_pairs} must not exceed {max_pairs}")
        count = num_pairs * d_repeats * batch_size
        indices = np.zeros(self._shape, np.int32)
        mirror = np.zeros(self._shape, bool)
        indices.reshape(-1)[:count], mirror.reshape(-1)[:count] = self._stream.take(
            nimg, count
        )
        if self._resident is not None:
            placed = jax.device_put((indices, mirror), self._batched)
            return ResidentBatches(*self._resident, *placed)
        images = np.zeros((*self._shape, *self._image_shape), np.uint8)
        labels = np.zeros(self._shape, np.int32)
        read = self._pairs.take(nimg, num_pairs)
        images[:num_pairs] = read.reshape(num_pairs, *images.shape[1:])
        labels[:num_pairs] = self._labels[indices[:num_pairs]]
        return StreamedBatches(*jax.device_put((images, labels, mirror), self._batched))

    def close(self) -> None:
        """Ends the reading ahead."""
        self._pairs.close()
