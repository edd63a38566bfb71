"""From a file's bytes to pixels, and from pixels to a square of the wanted side.

A file that cannot be used raises BadImage with the reason; nothing else is raised for
what lies in a file.
"""

import io
import warnings
from typing import Literal

import numpy as np
from PIL import Image, ImageOps

Crop = Literal["centre", "celeba", "none"]
Pad = Literal["none", "black", "mirror"]

FORMATS = ("PNG", "JPEG", "WEBP", "BMP")
# A small file can claim to be of any size: larger ones are taken for a trap.
MAX_PIXELS = 2**27

# CelebA's aligned images, [h, w]: rows and columns of the square that the paper takes,
# 128 of the published size, 64 of half of it.
_CELEBA = {
    (218, 178): (slice(57, 185), slice(25, 153)),
    (109, 89): (slice(28, 92), slice(12, 76)),
}


class BadImage(Exception):
    """An image that is left out; the message is the reason."""


def decode(data: bytes, channels: int) -> np.ndarray:
    """Returns the pixels of a PNG, JPEG, WebP or BMP file, uint8 [h, w, channels].

    The orientation that a camera notes is applied. Transparent pixels show white,
    16-bit grey is rounded to 8 bits, palettes and CMYK become RGB.

    Args:
      data: The file.
      channels: 1 (grey) or 3 (RGB).

    Raises:
      BadImage: if it is none of these files, damaged or too large.
    """
    if not data:
        raise BadImage("the file is empty")
    try:
        with _open(data) as image:
            if image.width * image.height > MAX_PIXELS:
                raise BadImage(f"{image.width}x{image.height} pixels are too many")
            image.load()
            return _to_pixels(ImageOps.exif_transpose(image), channels)
    except BadImage:
        raise
    except Exception as error:  # Pillow raises many kinds for a damaged file.
        reason = " ".join(str(error).split()).rstrip(".") or type(error).__name__
        # It would name the buffer's address, another one each time.
        raise BadImage(reason.split(" <_io.")[0]) from error


def _open(data: bytes) -> Image.Image:
    with warnings.catch_warnings():
        # Pillow warns of images that are larger than usual, and refuses huge ones.
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        return Image.open(io.BytesIO(data), formats=FORMATS)


def _to_pixels(image: Image.Image, channels: int) -> np.ndarray:
    if image.mode.startswith("I") or image.mode == "F":
        image = Image.fromarray(_to_8_bits(np.asarray(image)))
    if image.mode in ("LA", "PA", "RGBA") or "transparency" in image.info:
        opaque = image.convert("RGBA")
        white = Image.new("RGBA", opaque.size, "white")
        image = Image.alpha_composite(white, opaque)
    pixels = np.asarray(image.convert("L" if channels == 1 else "RGB"))
    return pixels.reshape(*pixels.shape[:2], channels)


def _to_8_bits(values: np.ndarray) -> np.ndarray:
    """Maps 0..65535 to 0..255, rounded."""
    scaled = np.rint(values.astype(np.float64) / 257)
    return np.clip(scaled, 0, 255).astype(np.uint8)


def square(image: np.ndarray, resolution: int, crop: Crop, pad: Pad) -> np.ndarray:
    """Crops an image to a square and brings it to a side.

    Sides are changed by Pillow's Lanczos filter, whose support grows as the image
    shrinks, so that nothing aliases.

    Args:
      image: uint8 [h, w, C].
      resolution: Wanted side.
      crop: "centre" (the largest square), "celeba" (the paper's square of the aligned
        faces) or "none" (it must be square).
      pad: How an image smaller than `resolution` is brought to it: "none" enlarges it,
        "black" and "mirror" put it in the middle.

    Returns:
      uint8 [resolution, resolution, C].

    Raises:
      BadImage: if the crop does not fit the image.
    """
    image = _crop(image, crop)
    side = image.shape[0]
    if side == resolution:
        return image
    if side < resolution and pad != "none":
        return _pad(image, resolution, pad)
    pixels = image[:, :, 0] if image.shape[2] == 1 else image
    size = (resolution, resolution)
    resized = Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS)
    return np.asarray(resized).reshape(*size, image.shape[2])


def _crop(image: np.ndarray, crop: Crop) -> np.ndarray:
    h, w = image.shape[:2]
    if crop == "celeba":
        if (h, w) not in _CELEBA:
            raise BadImage(f"{h}x{w} is not the size of CelebA's aligned images")
        return image[_CELEBA[h, w]]
    if crop == "none":
        if h != w:
            raise BadImage(f"{h}x{w} is not square")
        return image
    side = min(h, w)
    top, left = (h - side) // 2, (w - side) // 2
    return image[top : top + side, left : left + side]


def _pad(image: np.ndarray, resolution: int, pad: Pad) -> np.ndarray:
    missing = resolution - image.shape[0]
    before = missing // 2
    widths = ((before, missing - before),) * 2 + ((0, 0),)
    if pad == "black":
        return np.pad(image, widths)
    return np.pad(image, widths, mode="symmetric")
