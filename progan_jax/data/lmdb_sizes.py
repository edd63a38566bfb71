"""LMDBs in which each image lies in several sizes, and one of them is chosen.

Programs for StyleGAN2 in PyTorch write them so: the key 256-00041 holds image 41 with
sides of 256 pixels, and the key `length` the number of images.
"""

import re
from collections.abc import Iterator, Sequence
from itertools import islice

from progan_jax.data.decoding import MAX_BYTES, BadImage, open_image
from progan_jax.data.lmdb_file import DamagedLmdb, LmdbFile

_KEY = re.compile(rb"([1-9]\d*)-(\d+)")
_LENGTH = b"length"
_TRIED = 3  # Images of a size that are looked at.

# By the number of an image and its size: the position of its key.
_Images = dict[int, dict[int, int]]


def choose_sizes(file: LmdbFile, resolution: int) -> tuple[Sequence[int], str]:
    """Chooses of each image the smallest size from a resolution on, or the largest.

    Args:
      file: The LMDB; its keys may be of any other form, too: then all are chosen.
      resolution: Wanted side in pixels.

    Returns:
      Positions of keys, and what the user should know of the choice, or "".
    """
    images = _find_images(file.keys)
    sizes = sorted({size for found in images.values() for size in found})
    # Numbers of another meaning look the same: the images decide.
    if not sizes or not all(_is_size(file, images, size) for size in sizes):
        return range(len(file.keys)), ""
    chosen = [
        min(
            (size for size in images[number] if size >= resolution),
            default=max(images[number]),
        )
        for number in sorted(images)
    ]
    positions = [
        images[number][size]
        for number, size in zip(sorted(images), chosen, strict=True)
    ]
    return positions, "; ".join(_remarks(file, sizes, chosen))


def _find_images(keys: Sequence[bytes]) -> _Images:
    """Returns the images; none if a key has another form, or two are of one image."""
    images: _Images = {}
    for position, key in enumerate(keys):
        if key == _LENGTH:
            continue
        match = _KEY.fullmatch(key)
        if match is None:
            return {}
        size, number = map(int, match.groups())
        if size in images.setdefault(number, {}):
            return {}
        images[number][size] = position
    return images


def _is_size(file: LmdbFile, images: _Images, size: int) -> bool:
    """Returns whether an image of what may be a size has a side of it."""
    positions = (found[size] for found in images.values() if size in found)
    for position in islice(positions, _TRIED):
        try:
            with open_image(file.read(position, MAX_BYTES)) as image:
                return size in image.size
        except (BadImage, DamagedLmdb):
            continue
    return False


def _remarks(file: LmdbFile, sizes: list[int], chosen: list[int]) -> Iterator[str]:
    if len(sizes) > 1:
        read = " or ".join(map(str, sorted(set(chosen), reverse=True)))
        yield (
            f"{len(chosen):,} images lie there in {len(sizes)} sizes "
            f"({', '.join(map(str, sizes))}); of each the one of {read} is read"
        )
    if _LENGTH in file.keys:
        length = file.read(file.keys.index(_LENGTH), MAX_BYTES)
        if length.isdigit() and int(length[:20]) != len(chosen):
            yield f"{len(chosen):,} of {int(length[:20]):,} images are there"
