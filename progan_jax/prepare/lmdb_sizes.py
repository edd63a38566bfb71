"""Choice of a size in LMDBs that have each image in several.

Programs for StyleGAN2 in PyTorch write them: key 256-00041 is image 41 with sides of
256 pixels, and key `length` the number of images. Others put the number first, or use
another separator.
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

_TRIED = 3  # Images of a size that are opened.

# Keys by number and size.
_Images = dict[int, dict[int, bytes]]

_Read = Callable[[bytes], bytes]


def choose_sizes(
    keys: Sequence[bytes], read: _Read, resolution: int
) -> tuple[Sequence[bytes], str]:
    """Chooses for each image the smallest sufficient size, or else the largest.

    Args:
      keys: Keys of the LMDB; if they have another form, all are chosen.
      read: Returns the value of a key, or raises BadImage.
      resolution: Wanted side in pixels.

    Returns:
      The keys of the images, and a warning for the user or "".

    Raises:
      BadImage: if the number of images is there and cannot be read.
    """
    for form in _KEYS:
        images = _find_images(keys, form)
        sizes = sorted({size for found in images.values() for size in found})
        # Other numbers look the same: the images decide.
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
    """Returns the images; none if a key has another form, or two are the same."""
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
    """Returns whether an image of a possible size has a side of that length."""
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
            f"it has {len(chosen):,} images in {len(sizes)} sizes "
            f"({', '.join(map(str, sizes))}); of each that of {read} is read"
        )
    if length.isdigit() and int(length[:20]) != len(chosen):
        yield f"{len(chosen):,} of {int(length[:20]):,} images are there"
