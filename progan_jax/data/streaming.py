"""Images of coming (D, G) pairs, read ahead while the devices work."""

from typing import Any

import numpy as np

from progan_jax.data.index_stream import IndexStream
from progan_jax.data.pyramid import Level

_READ_AHEAD_BYTES = 2**28
_MOST_PAIRS_AHEAD = 64
_THREADS = 8


class PairStream:
    """Reads the images of one pair after the other, in order, through grain."""

    def __init__(
        self, level: Level, stream: IndexStream, pair_images: int, workers: int
    ) -> None:
        """Describes the stream; nothing is read yet.

        Args:
          level: The images.
          stream: Which image comes when.
          pair_images: Images of a pair, over all its D steps.
          workers: Processes that read and decode; 0 does so in threads.
        """
        self._level, self._stream = level, stream
        self._pair_images, self._workers = pair_images, workers
        self._iterator: Any = None
        self._next_nimg = -1

    def take(self, nimg: int, num_pairs: int) -> np.ndarray:
        """Returns the images of the pairs from image `nimg` of the stream on.

        Reading ahead goes on from there; another `nimg` than the last call ended with
        starts it anew.

        Returns:
          uint8 [num_pairs, pair_images, r, r, C].
        """
        if nimg != self._next_nimg:
            self.close()
            self._iterator = self._read_from(nimg)
        self._next_nimg = nimg + num_pairs * self._pair_images
        return np.stack([next(self._iterator) for _ in range(num_pairs)])

    def close(self) -> None:
        """Ends the reading ahead, with its threads and processes."""
        if self._iterator is not None:
            self._iterator.close()
        self._iterator, self._next_nimg = None, -1

    def _read_from(self, nimg: int) -> Any:
        import grain

        pairs: Any = _Pairs(self._level, self._stream, self._pair_images, nimg)
        pair_bytes = self._pair_images * self._level.nbytes // len(self._level)
        ahead = min(max(_READ_AHEAD_BYTES // pair_bytes, 2), _MOST_PAIRS_AHEAD)
        options = grain.ReadOptions(num_threads=_THREADS, prefetch_buffer_size=ahead)
        dataset = grain.MapDataset.source(pairs).to_iter_dataset(options)
        if self._workers:
            dataset = dataset.mp_prefetch(
                grain.MultiprocessingOptions(
                    num_workers=self._workers,
                    per_worker_buffer_size=max(ahead // self._workers, 1),
                )
            )
        return iter(dataset)


class _Pairs:
    """Element k holds the images of pair k after image `first` of the stream."""

    def __init__(
        self, level: Level, stream: IndexStream, pair_images: int, first: int
    ) -> None:
        self._level, self._stream = level, stream
        self._pair_images, self._first = pair_images, first

    def __len__(self) -> int:
        return 2**40  # A stream has no end; its reader has.

    def __getitem__(self, pair: int) -> np.ndarray:
        first = self._first + pair * self._pair_images
        indices, _ = self._stream.take(first, self._pair_images)
        return self._level[indices]
