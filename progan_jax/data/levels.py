"""One resolution of a prepared pyramid, read from disk by index.

It is used like the array of an in-memory pyramid, but holds nothing: what is asked for
is read. TensorFlow is not needed.
"""

from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

from progan_jax.data.decoding import BadImage
from progan_jax.data.layout import VERSION, level_name
from progan_jax.data.records import (
    Decoder,
    Records,
    find_feature,
    make_decoder,
    open_folder,
    open_records,
)
from progan_jax.errors import UserError

_Opened = tuple[Records, Decoder]
_OPENING = Lock()


class RecordLevel:
    """Images on disk; `level[indices]` reads them as uint8 [n, r, r, C].

    Attributes:
      shape: (n, r, r, C).
      nbytes: Bytes of all images as pixels.
    """

    dtype = np.dtype(np.uint8)

    def __init__(
        self, folder: Path, resolution: int, num_images: int, channels: int
    ) -> None:
        """Describes the level.

        Args:
          folder: DIR/NAME of the pyramid.
          resolution: Of the level.
          num_images: Of the set.
          channels: 1 or 3.
        """
        self.shape = (num_images, resolution, resolution, channels)
        self.nbytes = int(np.prod(self.shape, dtype=np.int64))
        self._folder = folder / level_name(resolution) / VERSION
        self._opened: _Opened | None = None

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, indices: np.ndarray | slice) -> np.ndarray:
        """Reads the images of an index array of any shape, or of a slice."""
        if isinstance(indices, slice):
            indices = np.arange(len(self))[indices]
        records, decode = self._open()
        flat = indices.reshape(-1)
        images = np.empty((len(flat), *self.shape[1:]), np.uint8)
        for row, record in enumerate(records.__getitems__(flat.tolist())):
            try:
                images[row], _ = decode(record)
            except (BadImage, ValueError) as error:  # ValueError: of another shape.
                raise UserError(
                    f"{self._folder}: image {flat[row]} is damaged ({error}); prepare "
                    "the set again"
                ) from error
        return images.reshape(*indices.shape, *self.shape[1:])

    def check(self) -> None:
        """Checks what the level's files of TFDS say of it; no image is read.

        Raises:
          UserError: if they cannot be read, or are of other images.
        """
        builder = open_folder(self._folder)
        image = find_feature(builder.info.features, "image")
        shape = getattr(image, "shape", None) or ()
        kind = getattr(image, "np_dtype", None)
        sides = zip(shape, self.shape[1:], strict=False)
        fits = len(shape) == 3 and all(side in (None, own) for side, own in sides)
        if kind != self.dtype or not fits:
            raise _unfit(
                self._folder / "features.json", "its images are of another kind"
            )
        splits = builder.info.splits
        if "train" not in splits or splits["train"].num_examples != len(self):
            raise _unfit(self._folder / "dataset_info.json", "it counts other images")

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_opened": None}

    def _open(self) -> _Opened:
        """Opens the files, once in each process."""
        # Threads that import TFDS at once can wait for each other for ever.
        with _OPENING:
            if self._opened is None:
                self._opened = _open(self._folder, self.shape[-1])
            return self._opened


def _unfit(path: Path, fault: str) -> UserError:
    return UserError(
        f"{path} is damaged: {fault}; copy the set again, or prepare it again"
    )


def _open(folder: Path, channels: int) -> _Opened:
    builder = open_folder(folder)
    decode = make_decoder(builder.info.features, channels)
    return open_records(builder, "train"), decode
