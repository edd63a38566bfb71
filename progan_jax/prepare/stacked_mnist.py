"""Stacked MNIST: three digits as the channels of one image, 1,000 modes.

Source: Karras et al. 2018, appendix E, after Metz et al. 2016. A million images drawn
with seed 123 are those of create_mnistrgb in the authors' dataset_tool.py.
"""

import hashlib
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path

import numpy as np

from progan_jax.data.idx import read_split
from progan_jax.prepare.readers import Item, Reader

NUM_IMAGES = 1_000_000

_SEED = 123


class StackedMnistReader(Reader):
    """A million draws of three digits of MNIST's training split, padded to 32x32.

    The class of an image is the three-digit number that its channels show, red first.
    """

    name, num_classes = "stacked_mnist", 1000
    class_names = tuple(f"{number:03d}" for number in range(1000))

    def __init__(self, folder: Path) -> None:
        """Reads the digits of a folder of MNIST's files.

        Raises:
          UserError: if they are missing or damaged.
        """
        self._digits, self._digit_labels = read_split(folder, "train")
        modes = self._digit_labels[self._picks].astype(np.int32) @ (100, 10, 1)
        self.labels = self._modes = modes

    def __len__(self) -> int:
        return NUM_IMAGES

    def __getitem__(self, index: int) -> Item:
        picked = self._picks[index]
        pixels = np.ascontiguousarray(np.moveaxis(self._digits[picked], 0, -1))
        return Item(self.name_of(index), pixels, int(self._modes[index]))

    def listing(self) -> Iterable[str]:
        """Yields a checksum of the digits."""
        data = self._digits.tobytes() + self._digit_labels.tobytes()
        yield hashlib.sha256(data).hexdigest()

    @cached_property
    def _picks(self) -> np.ndarray:
        """The digits of each image, [NUM_IMAGES, 3]."""
        draw = np.random.RandomState(_SEED).randint
        return draw(len(self._digits), size=(NUM_IMAGES, 3))
