"""The order of the images: a pure function of the seed and the number shown."""

from functools import lru_cache

import numpy as np


class IndexStream:
    """Shuffled epochs without replacement, each image mirrored or not.

    Epoch e takes one 64-bit word for each image from Philox keyed with seed + 2**64 e.
    The images' order is that of their words without the lowest bit; the lowest bit
    says whether the image is mirrored. See docs/data.md.

    Attributes:
      num_images: Length of an epoch.
      mirror: Whether images are mirrored; their order does not depend on it.
    """

    def __init__(self, seed: int, num_images: int, mirror: bool) -> None:
        """Describes the stream.

        Args:
          seed: In [0, 2**64): the lower half of Philox's key, the epoch is the upper.
          num_images: At least 1.
          mirror: Whether half of the images are mirrored.
        """
        self.num_images = num_images
        self.mirror = mirror
        self._seed = seed
        self._epoch = lru_cache(maxsize=2)(self._draw_epoch)

    def __reduce__(self) -> tuple[type, tuple[int, int, bool]]:
        # Pickled without the cached epochs.
        return IndexStream, (self._seed, self.num_images, self.mirror)

    def take(self, nimg: int, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns the images at nimg .. nimg + count - 1, across epochs.

        Args:
          nimg: Number of images shown before.
          count: Number of images.

        Returns:
          Indices int32 [count] into the set, and mirror bool [count].

        Examples:
          >>> stream = IndexStream(seed=0, num_images=3, mirror=False)
          >>> indices, _ = stream.take(0, 6)  # Two epochs.
          >>> sorted(indices[:3].tolist()), sorted(indices[3:].tolist())
          ([0, 1, 2], [0, 1, 2])
        """
        indices = np.empty(count, np.int32)
        mirror = np.empty(count, bool)
        done = 0
        while done < count:
            epoch, position = divmod(nimg + done, self.num_images)
            order, mirrored = self._epoch(epoch)
            length = min(count - done, self.num_images - position)
            indices[done : done + length] = order[position : position + length]
            mirror[done : done + length] = mirrored[position : position + length]
            done += length
        return indices, mirror

    def _draw_epoch(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        # NumPy keeps the output of a bit generator the same in every version (NEP 19),
        # but not that of Generator.permutation: hence the sorting.
        words = np.random.Philox(key=self._seed + (epoch << 64)).random_raw(
            self.num_images
        )
        order = np.argsort(words >> np.uint64(1), kind="stable").astype(np.int32)
        mirrored = (words[order] & np.uint64(1)).astype(bool)
        return order, mirrored & self.mirror
