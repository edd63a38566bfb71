"""LMDBs in which each image lies in several sizes, and one of them is chosen.

Programs for StyleGAN2 in PyTorch write them so: the key 256-00041 holds image 41 with
sides of 256 pixels, and the key `length` the number of images. Others put the number
first, or another sign between.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from itertools import islice

from progan_jax.data.decoding import BadImage, open_image

_KEYS = (
    re.compile(rb"(?P<size>[1-9]\d*)\D(?P<number>\d+)"),
    re.compile(rb"(?P<number>\d+)\D(?P<size>[1-9]\d*)"),
)

_LENGTH = b"length"

_TRIED = 3  # Images of a size that are looked at.

# By the number of an image and its size: its key.
_Images = dict[int, dict[int, bytes]]

_Read = Callable[[bytes], bytes]


def choose_sizes(
    keys: Sequence[bytes], read: _Read, resolution: int
) -> tuple[Sequence[bytes], str]:
    """Chooses of each image the smallest size from a resolution on, or the largest.

    Args:
      keys: Of the LMDB; they may be of any other form, too: then all are chosen.
      read: Returns the value of a key; BadImage if it cannot be read.
      resolution: Wanted side in pixels.

    Returns:
      The keys of the images, and what the user should know of the choice, or "".

    Raises:
      BadImage: if the number of images is there and cannot be read.
    """
    for form in _KEYS:
        images = _find_images(keys, form)
        sizes = sorted({size for found in images.values() for size in found})
        # Numbers of another meaning look the same: the images decide.
        if sizes and all(_is_size(images, read, size) for size in sizes):
            break
    else:
        return keys, ""
    chosen = [
        min(
            (size for size in images[number] if size >= resolution),
            default=max(images[number]),
        )
        for number in sorted(images)
    ]
    length = read(_LENGTH) if _LENGTH in keys else b""
    return (
        [images[n][size] for n, size in zip(sorted(images), chosen, strict=True)],
        "; ".join(_remarks(length, sizes, chosen)),
    )


def _find_images(keys: Sequence[bytes], form: re.Pattern[bytes]) -> _Images:
    """Returns the images; none if a key has another form, or two are of one image."""
    images: _Images = {}
    for key in keys:
        if key == _LENGTH:
            continue
        match = form.fullmatch(key)
        if match is None:
            return {}
        size, number = int(match["size"]), int(match["number"])
        if size in images.setdefault(number, {}):
            return {}
        images[number][size] = key
    return images


def _is_size(images: _Images, read: _Read, size: int) -> bool:
    """Returns whether an image of what may be a size has a side of it."""
    keys = (found[size] for found in images.values() if size in found)
    for key in islice(keys, _TRIED):
        try:
            with open_image(read(key)) as image:
                return size in image.size
        except BadImage:
            continue
    return False


def _remarks(length: bytes, sizes: list[int], chosen: list[int]) -> Iterator[str]:
    if len(sizes) > 1:
        read = " or ".join(map(str, sorted(set(chosen), reverse=True)))
        yield (
            f"{len(chosen):,} images lie there in {len(sizes)} sizes "
            f"({', '.join(map(str, sizes))}); of each the one of {read} is read"
        )
    if length.isdigit() and int(length[:20]) != len(chosen):
        yield f"{len(chosen):,} of {int(length[:20]):,} images are there"
