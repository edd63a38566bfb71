"""MNIST and sets in its format: four IDX files, gzipped or not.

Source: the format is described on MNIST's own page, and in docs/data.md.
"""

import gzip
import math
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedIOBase
from pathlib import Path

import numpy as np

from progan_jax.data.checks import check_memory, check_size, check_split
from progan_jax.data.pyramid import Pyramid, build_pyramid
from progan_jax.errors import UserError

_MOST_BYTES = 2**31  # Of a file: 2.7 million images of 28x28.

_STEMS = {"train": "train", "test": "t10k"}


def is_idx(folder: Path) -> bool:
    """Returns whether a folder has the images of a split."""
    return any(_find(_name(folder, split, "images")) for split in _STEMS)


def load_idx(
    folder: Path, split: str, resolution: int, max_memory_mib: float
) -> Pyramid:
    """Loads a split, padded with black to the next power of two.

    Args:
      folder: With train-images-idx3-ubyte, train-labels-idx1-ubyte and the same with
        t10k, each with or without .gz.
      split: "train" or "test".
      resolution: Side after padding: 32 for MNIST's 28.
      max_memory_mib: Largest pyramid that is made.

    Raises:
      UserError: if files are missing or damaged, or the images have another size.
    """
    there = {s: int(_find(_name(folder, s, "images")) is not None) for s in _STEMS}
    check_split(folder.name, split, there)
    images, labels = read_split(folder, split)
    check_size(folder.name, images.shape[1:], resolution)
    check_memory(folder.name, (*images.shape, 1), max_memory_mib)
    classes = int(labels.max()) + 1
    # The files have no names: of Fashion-MNIST's classes the numbers mean nothing.
    names = tuple(map(str, range(classes))) if folder.name == "mnist" else ()
    return build_pyramid(
        folder.name, images[..., None], labels.astype(np.int32), classes, names
    )


def read_split(folder: Path, split: str) -> tuple[np.ndarray, np.ndarray]:
    """Returns padded images uint8 [n, side, side] and labels uint8 [n].

    Raises:
      UserError: if files are missing or damaged, or differ in their counts.
    """
    images = read_idx(_name(folder, split, "images"), num_dims=3)
    labels = read_idx(_name(folder, split, "labels"), num_dims=1)
    if len(labels) != len(images) or not len(images):
        raise UserError(
            f"{folder}: split {split!r} has {len(images)} images and {len(labels)} "
            "labels; download both files again"
        )
    return _pad(images), labels


def read_idx(path: Path, num_dims: int) -> np.ndarray:
    """Reads an IDX file of bytes, uint8 of `num_dims` dimensions.

    Args:
      path: Without the suffix .gz, which the file may have.
      num_dims: Expected number of dimensions.

    Raises:
      UserError: if it is missing, damaged, or of another type.
    """
    # Two zero bytes, 8 for unsigned bytes, the dimensions; then their sizes.
    header = 4 + 4 * num_dims
    with _open(path) as file:
        start = file.read(header)
        if start[:4] != bytes((0, 0, 8, num_dims)) or len(start) < header:
            raise UserError(
                f"{path}: it is not an IDX file of bytes with {num_dims} dimensions; "
                "download it again"
            )
        shape = tuple(np.frombuffer(start, ">u4", num_dims, offset=4).tolist())
        size = math.prod(shape)
        if size > _MOST_BYTES:
            raise UserError(
                f"{path}: it announces {size:,} bytes, more than {_MOST_BYTES:,}; "
                "download it again, or prepare image files by prepare_data"
            )
        # One byte more shows that there are more: a small file can unpack to any size.
        data = file.read(size + 1)
    if len(data) != size:
        held = f"{len(data):,}" if len(data) < size else "more"
        raise UserError(
            f"{path}: it has {held} bytes and announces {size:,}; download it again"
        )
    return np.frombuffer(data, np.uint8).reshape(shape)


def _name(folder: Path, split: str, kind: str) -> Path:
    dims = {"images": 3, "labels": 1}[kind]
    return folder / f"{_STEMS[split]}-{kind}-idx{dims}-ubyte"


def _find(path: Path) -> Path | None:
    zipped = path.with_name(path.name + ".gz")
    return next((p for p in (path, zipped) if p.is_file()), None)


@contextmanager
def _open(path: Path) -> Iterator[BufferedIOBase]:
    """Opens a file, gzipped or not; raises UserError if it cannot be read."""
    found = _find(path)
    if found is None:
        raise UserError(
            f"{path}: there is no such file, nor {path.name}.gz; download it"
        )
    try:
        with gzip.open(found) if found.suffix == ".gz" else found.open("rb") as file:
            yield file
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(
            f"{found}: it cannot be read ({error}); download it again"
        ) from error


def _pad(images: np.ndarray) -> np.ndarray:
    """Pads square [n, h, w] with black on all sides to the next power of two."""
    h, w = images.shape[1:]
    if h != w or not h:
        return images  # Refused by `check_size`.
    margin = (1 << (h - 1).bit_length()) - h
    sides = (margin // 2, margin - margin // 2)
    return np.pad(images, ((0, 0), sides, sides))
