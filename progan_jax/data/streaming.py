"""Images of (D, G) pairs, read ahead while the devices work."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from progan_jax.data.index_stream import IndexStream
from progan_jax.data.pyramid import Level

_READ_AHEAD_BYTES = 2**28

_MOST_BLOCKS_AHEAD = 16

# Pairs are read in blocks up to either bound: for a few small images, the overhead of a
# call would take most of the time.
_BLOCK_BYTES = 2**23

_BLOCK_IMAGES = 512

_THREADS = 8


class PairStream:
    """Reads one process's images of pair after pair, in order, through grain.

    Attributes:
      pair_shape: Shape of one pair's images, (D, n, r, r, C).
    """

    def __init__(
        self,
        level: Level,
        stream: IndexStream,
        *,
        d_repeats: int,
        batch_size: int,
        rows: np.ndarray,
        workers: int,
    ) -> None:
        """Describes the stream; nothing is read yet.

        Args:
          level: The images.
          stream: Order of the images.
          d_repeats: Batches in a pair.
          batch_size: Images in a batch, over all processes.
          rows: Rows of a batch that this process reads, int [n].
          workers: Processes that read and decode; 0 uses threads.
        """
        self.pair_shape = (d_repeats, len(rows), *level.shape[1:])
        self._source = level, stream, d_repeats, batch_size, rows
        self._pair_images, self._workers = d_repeats * batch_size, workers
        self._iterator: Any = None
        self._left = np.empty((0, *self.pair_shape), np.uint8)
        self._next_nimg = -1

    def take(self, nimg: int, num_pairs: int) -> np.ndarray:
        """Returns the images of the pairs from image `nimg` of the stream on.

        Reading ahead continues from there. It starts again if `nimg` is not where the
        last call ended.

        Returns:
          uint8 [num_pairs, D, n, r, r, C].
        """
        if nimg != self._next_nimg:
            self.close()
            self._iterator = self._read_from(nimg)
        self._next_nimg = nimg + num_pairs * self._pair_images
        images = np.empty((num_pairs, *self.pair_shape), np.uint8)
        done = 0
        while done < num_pairs:
            if not len(self._left):
                self._left = next(self._iterator)
            length = min(num_pairs - done, len(self._left))
            images[done : done + length] = self._left[:length]
            self._left = self._left[length:]
            done += length
        return images

    def close(self) -> None:
        """Stops reading ahead, with its threads and processes."""
        if self._iterator is not None:
            self._iterator.close()
        # An empty view would keep memory that is shared with a process.
        self._left = np.empty((0, *self.pair_shape), np.uint8)
        self._iterator, self._next_nimg = None, -1

    def _read_from(self, nimg: int) -> Any:
        import grain

        pair_images = int(np.prod(self.pair_shape[:2]))
        pair_bytes = int(np.prod(self.pair_shape))
        fitting = min(_BLOCK_IMAGES // pair_images, _BLOCK_BYTES // pair_bytes)
        block = max(fitting, 1)
        ahead = _READ_AHEAD_BYTES // (block * pair_bytes)
        ahead = min(max(ahead, 2), _MOST_BLOCKS_AHEAD)
        blocks: Any = _Blocks(*self._source, block, nimg)
        options = grain.ReadOptions(
            num_threads=min(_THREADS, ahead), prefetch_buffer_size=ahead
        )
        dataset = grain.MapDataset.source(blocks).to_iter_dataset(options)
        if self._workers:
            dataset = dataset.mp_prefetch(
                grain.MultiprocessingOptions(
                    num_workers=self._workers,
                    per_worker_buffer_size=max(ahead // self._workers, 1),
                )
            )
        return iter(dataset)


@dataclass(frozen=True)
class _Blocks:
    """The stream's pairs after image `first`; element k is block k of `block` pairs."""

    level: Level
    stream: IndexStream
    d_repeats: int
    batch_size: int
    rows: np.ndarray
    block: int
    first: int

    def __len__(self) -> int:
        return 2**40  # The stream has no end, but grain needs a length.

    def __getitem__(self, element: int) -> np.ndarray:
        shape = self.block, self.d_repeats, self.batch_size
        count = math.prod(shape)
        indices, _ = self.stream.take(self.first + element * count, count)
        return self.level[indices.reshape(shape)[:, :, self.rows]]
