"""CelebA's photographs as a source of aligned faces; see `celeba_hq`."""

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import numpy as np

from progan_jax.data.celeba_hq import align_face, alignment_steps, draw_steps
from progan_jax.data.celeba_hq_geometry import read_landmarks
from progan_jax.data.decoding import BadImage, decode
from progan_jax.data.file_reader import FileReader
from progan_jax.data.names import normal
from progan_jax.data.readers import Item, Source
from progan_jax.errors import UserError


class AlignedReader(Source):
    """Faces cut from photographs, upright and of one size, in the order of names."""

    def __init__(self, path: Path, landmarks: Path, resolution: int) -> None:
        """Lists the photographs.

        Args:
          path: Folder or zip file of CelebA's photographs ("in the wild").
          landmarks: CelebA's list_landmarks_celeba.txt.
          resolution: Side of the faces.

        Raises:
          UserError: if either cannot be read.
        """
        self.name = "celeba_hq"
        self._files = FileReader(path)
        self.unread, self.remarks = self._files.unread, self._files.remarks
        self._landmarks = read_landmarks(landmarks)
        self._resolution = resolution

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, index: int) -> Item:
        """Returns a face.

        Raises:
          BadImage: if the photograph is bad, has no landmarks, or they span no square.
        """
        name, photograph, landmarks = self._open(index)
        try:
            face = align_face(photograph, landmarks, resolution=self._resolution)
        except ValueError as error:
            raise BadImage(str(error)) from error
        return Item(name, face, 0)

    def name_of(self, index: int) -> str:
        """Returns an image's name without reading it."""
        return self._files.name_of(index)

    def listing(self) -> Iterator[str]:
        """Yields what is known of the photographs, and their landmarks."""
        yield from self._files.listing()
        for name, points in self._landmarks.items():
            yield f"{name} {points.tolist()}"

    def times(self) -> Iterator[str]:
        """Yields when each photograph of a folder was changed, in ns."""
        return self._files.times()

    def draw(self, name: str) -> np.ndarray:
        """Returns the steps of one photograph side by side, uint8 [h, w, 3].

        Raises:
          UserError: if there is no such photograph, or it cannot be aligned.
        """
        for index in range(len(self)):
            if (
                PurePosixPath(self._files.name_of(index)).stem
                == PurePosixPath(name).stem
            ):
                break
        else:
            raise UserError(f"--explain_image={name}: there is no such photograph")
        try:
            _, photograph, landmarks = self._open(index)
            steps = alignment_steps(photograph, landmarks, resolution=self._resolution)
        except (BadImage, ValueError) as error:
            raise UserError(f"--explain_image={name}: {error}") from error
        return draw_steps(steps, landmarks)

    def _open(self, index: int) -> tuple[str, np.ndarray, np.ndarray]:
        item = self._files[index]
        landmarks = self._landmarks.get(normal(PurePosixPath(item.name).name))
        if landmarks is None:
            raise BadImage("it has no landmarks")
        if not isinstance(item.data, bytes):
            raise TypeError("a file reader gives bytes")
        return item.name, decode(item.data, channels=3), landmarks
