"""A user's own images, as `tools.train` takes them, and the set prepared of them."""

import os
import re
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from progan_jax.data.decoding import BadImage, open_image
from progan_jax.data.names import counted
from progan_jax.data.prepared import RECORD, is_pyramid, read_description
from progan_jax.data.pyramid import Pyramid
from progan_jax.errors import UserError
from progan_jax.prepare.file_reader import FileReader
from progan_jax.prepare.preparing import Limits, prepare
from progan_jax.prepare.processes import KilledError
from progan_jax.prepare.readers import Reader, fingerprint, spread
from progan_jax.prepare.writing import Settings

# Fewest images of a class, on average; folders with fewer are taken for albums.
_FEWEST_OF_CLASS = 25

# Images whose size is read.
_SEEN = 64


@dataclass(frozen=True)
class Images:
    """What is known of a set before it is prepared, or after.

    Attributes:
      number: Number of images.
      side: Median of their shorter sides, in pixels.
      classes: Number of classes, 0 if there are none.
    """

    number: int
    side: int
    classes: int

    @property
    def has_albums(self) -> bool:
        """Whether its folders have too few images to be classes."""
        return self.classes > 1 and self.number < _FEWEST_OF_CLASS * self.classes


class Photos:
    """A folder or a zip file of images, or a set that is prepared already."""

    def __init__(self, path: Path) -> None:
        """Lists the images.

        Args:
          path: What PHOTOS names; absolute.

        Raises:
          UserError: if there are no images, or a prepared set among them.
        """
        self._path = path
        self._reader = None if is_pyramid(path) else _open_files(path)

    def look(self) -> Images:
        """Returns what is known of the images; reads the sizes of some.

        Raises:
          UserError: if none of them can be read.
        """
        reader = self._reader
        return look_at_set(self._path) if reader is None else _look_at(reader)

    def prepare(self, parent: Path, side: int, tell: Callable[[str], None]) -> Path:
        """Returns the folder of the prepared images, which are prepared if necessary.

        Args:
          parent: Folder of the set, of which the set's folder has the images' name.
          side: Resolution of a set that is written now.
          tell: Called with what is being done.

        Raises:
          UserError: if other images were prepared there, or they cannot be.
        """
        if self._reader is None:
            return self._path
        folder = parent / self._reader.name
        if is_pyramid(folder):
            _check_same(self._path, self._reader, folder)
        else:
            doing = f"preparing {counted(len(self._reader), 'image')} at {side}x{side}"
            tell(doing)
            print(doing, flush=True)
            self._write(self._reader, folder, side)
        return folder

    def _write(self, reader: Reader, folder: Path, side: int) -> None:
        settings = Settings(side, 3, "centre", "none", 128, strict=False)
        workers = Limits(os.cpu_count() or 1)
        try:
            print(prepare(str(self._path), reader, folder, settings, workers))
        except KilledError as error:
            kind = "folder" if self._path.is_dir() else "zip"
            source = shlex.quote(f"{kind}:{self._path}")
            name = re.sub(r"^-|[^\w-]", "_", reader.name)
            raise UserError(
                f"PHOTOS={self._path}: the system killed a process that prepared its "
                "images, perhaps for lack of memory; prepare them in one process by: "
                f"progan_jax prepare_data {source} --resolution={side} --workers=1 "
                f"--out=DIR --name={name}, and train DIR/{name}"
            ) from error
        except UserError as error:  # Its flag is another one here.
            raise UserError(str(error).replace("--out:", "--workdir:")) from error


def _open_files(path: Path) -> FileReader:
    for record in path.glob(f"*/{RECORD}"):  # In no folder that cannot be read.
        raise UserError(
            f"PHOTOS={path}: it holds a prepared set, whose files are not photographs; "
            f"name {record.parent}"
        )
    return FileReader(path)


def look_at_set(folder: Path) -> Images:
    """Returns what is known of a prepared set."""
    record, _ = read_description(folder)
    return Images(record["num_images"], record["resolution"], record["num_classes"])


def _look_at(reader: Reader) -> Images:
    """Reads the sizes of some images.

    Raises:
      UserError: if none of them can be read.
    """
    sides, why = [], ""
    for index in spread(reader, min(_SEEN, len(reader))):
        try:
            with open_image(bytes(reader[index].data)) as image:
                sides.append(min(image.size))
        except BadImage as error:  # Listed when the set is prepared.
            why = str(error)
    if not sides:
        raise UserError(
            f"PHOTOS: none of {counted(min(_SEEN, len(reader)), 'image')} of "
            f"{reader.name} can be read ({why}); name a folder of images"
        )
    return Images(len(reader), int(np.median(sides)), reader.num_classes)


def _check_same(photos: Path, reader: Reader, folder: Path) -> None:
    """Raises UserError if a prepared set is not of these images."""
    record, _ = read_description(folder)
    if record["identity"].get("images") != fingerprint(reader):
        raise UserError(
            f"PHOTOS={photos}: its images are not those that {folder} was prepared "
            "from; choose another --workdir, or remove that folder and the run"
        )


def check_colours(photos: Path, pyramid: Pyramid) -> None:
    """Raises UserError if all images are of one colour."""
    level = pyramid.levels[max(pyramid.levels)]
    some = level[np.arange(min(_SEEN, len(level)))]
    if (some == some[0, 0, 0]).all():
        raise UserError(
            f"PHOTOS={photos}: its images show one colour and nothing else; name other "
            "images"
        )
