"""Decoding of image files, and crops and resizing to squares.

A file that cannot be used raises BadImage with the reason, whatever it contains.
"""

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import numpy as np
from PIL import Image, ImageOps

from progan_jax.errors import reason

Crop = Literal["centre", "celeba", "lsun_wide", "none"]

Pad = Literal["none", "black", "mirror"]

FORMATS = ("PNG", "JPEG", "WEBP", "BMP")

# A small file can claim any size. Decoding takes about 8 bytes of memory per pixel.
MAX_BYTES = 2**28

MAX_PIXELS = 2**27

# Photographs of poor quality have 80 pixels per byte. A larger image with far more was
# made to fill the memory.
_UNSUSPICIOUS = 2**24

_MAX_PIXELS_PER_BYTE = 256

_STRIP = 2**20  # Pixels converted at a time.

# Sizes [h, w] of CelebA's aligned images, as published and at half the size: rows and
# columns of the square that the authors' dataset tool takes (create_celeba: 128x128
# around the centre cx=89, cy=121).
_CELEBA = {
    (218, 178): (slice(57, 185), slice(25, 153)),
    (109, 89): (slice(28, 92), slice(12, 76)),
}


class BadImage(Exception):
    """An image that is left out; the message is the reason."""


def check_bytes(num_bytes: int, most: int = MAX_BYTES) -> None:
    """Raises BadImage if a file has more than `most` bytes."""
    if num_bytes > most:
        raise BadImage(f"it has more than {most / 2**20:,.0f} MiB")


def decode(data: bytes, channels: int) -> np.ndarray:
    """Returns the pixels of a PNG, JPEG, WebP or BMP file, uint8 [h, w, channels].

    The camera's orientation is applied. Transparent pixels are blended with white,
    16-bit grey is rounded to 8 bits, palettes and CMYK become RGB. Of an animation the
    first frame is returned.

    Args:
      data: The file.
      channels: 1 (grey) or 3 (RGB).

    Raises:
      BadImage: if it has another format, is damaged or too large.
    """
    with open_image(data) as image:
        if image.format == "PNG":
            _open(data).verify()  # Decoding does not check the checksums.
        image.load()
        ImageOps.exif_transpose(image, in_place=True)
        return _to_pixels(image, channels)


@contextmanager
def open_image(data: bytes) -> Iterator[Image.Image]:
    """Opens a PNG, JPEG, WebP or BMP file without decoding it.

    Raises:
      BadImage: if it has another format or is too large, and in place of any other
        exception raised while it is open.
    """
    if not data:
        raise BadImage("the file is empty")
    try:
        with _open(data) as image:
            check_pixels(image, len(data))
            yield image
    except BadImage:
        raise
    except Exception as error:  # Pillow raises many kinds for a damaged file.
        raise bad_image(error) from error


def bad_image(error: Exception) -> BadImage:
    """Returns a library's exception for a damaged file as a BadImage of one line."""
    # Without the buffer's address, which differs each time.
    return BadImage(reason(error).split(" <_io.")[0])


def _open(data: bytes) -> Image.Image:
    with warnings.catch_warnings():
        # Pillow warns of images that are larger than usual, and refuses huge ones.
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        return Image.open(io.BytesIO(data), formats=FORMATS)


def check_pixels(image: Image.Image, num_bytes: int) -> None:
    """Raises BadImage if an image, not yet decoded, has too many pixels.

    Args:
      image: The opened image.
      num_bytes: Size of its file, which bounds the pixels too.
    """
    pixels = image.width * image.height
    if pixels > MAX_PIXELS:
        raise BadImage(f"{image.width}x{image.height} pixels are too many")
    if pixels > max(_UNSUSPICIOUS, _MAX_PIXELS_PER_BYTE * num_bytes):
        raise BadImage(
            f"{image.width}x{image.height} pixels in {num_bytes:,} bytes are no "
            "photograph"
        )


def _to_pixels(image: Image.Image, channels: int) -> np.ndarray:
    """Converts an image strip by strip, since each conversion makes a copy."""
    pixels = np.empty((image.height, image.width, channels), np.uint8)
    rows = max(_STRIP // image.width, 1)
    for top in range(0, image.height, rows):
        bottom = min(top + rows, image.height)
        strip = image.crop((0, top, image.width, bottom))
        converted = np.asarray(_convert(strip, "L" if channels == 1 else "RGB"))
        pixels[top:bottom] = converted.reshape(-1, image.width, channels)
    return pixels


def _convert(image: Image.Image, mode: str) -> Image.Image:
    if image.mode.startswith("I") or image.mode == "F":
        image = Image.fromarray(_to_8_bits(np.asarray(image)))
    if image.mode in ("LA", "PA", "RGBA") or "transparency" in image.info:
        opaque = image.convert("RGBA")
        white = Image.new("RGBA", opaque.size, "white")
        image = Image.alpha_composite(white, opaque)
    return image if image.mode == mode else image.convert(mode)


def to_channels(pixels: np.ndarray, channels: int) -> np.ndarray:
    """Returns uint8 [h, w, 1 or 3] as grey or RGB, uint8 [h, w, channels]."""
    if pixels.shape[2] == channels:
        return pixels
    image = Image.fromarray(pixels[:, :, 0] if channels == 3 else pixels)
    converted = np.asarray(image.convert("L" if channels == 1 else "RGB"))
    return converted.reshape(*pixels.shape[:2], channels)


def _to_8_bits(values: np.ndarray) -> np.ndarray:
    """Maps 0..65535 to 0..255, rounded."""
    scaled = np.rint(values.astype(np.float64) / 257)
    return np.clip(scaled, 0, 255).astype(np.uint8)


def square(image: np.ndarray, resolution: int, crop: Crop, pad: Pad) -> np.ndarray:
    """Crops an image, usually to a square, and resizes it.

    Pillow's Lanczos filter is used, whose support grows as the image shrinks, so that
    nothing aliases.

    Args:
      image: uint8 [h, w, C].
      resolution: Wanted side.
      crop: "centre" (the largest square), "celeba" (the authors' square of the aligned
        faces), "lsun_wide" (see `_widen`) or "none" (the image must be square).
      pad: What happens to an image smaller than `resolution`: "none" enlarges it,
        "black" and "mirror" pad it on all sides.

    Returns:
      uint8 [resolution, resolution, C].

    Raises:
      BadImage: if the crop does not fit the image.
    """
    if crop == "lsun_wide":
        return _widen(image, resolution)
    image = _crop(image, crop)
    side = image.shape[0]
    if side == resolution:
        return image
    if side < resolution and pad != "none":
        return _pad(image, resolution, pad)
    return _resize(image, resolution, resolution)


def _resize(image: np.ndarray, height: int, width: int) -> np.ndarray:
    pixels = image[:, :, 0] if image.shape[2] == 1 else image
    resized = Image.fromarray(pixels).resize((width, height), Image.Resampling.LANCZOS)
    return np.asarray(resized).reshape(height, width, image.shape[2])


def _widen(image: np.ndarray, resolution: int) -> np.ndarray:
    """Fills the middle three quarters of the rows of a black square.

    Of an image [h, w] the middle round(resolution * h / w) rows are taken, as many as
    it would have at the square's width. They are rows of the image itself, however, so
    that a wide one is squeezed. Source: `create_lsun_wide` of the dataset tool of
    Karras et al. 2019, for 512x384 cars.

    Raises:
      BadImage: if the image is narrower than the square, or too flat.
    """
    h, w, channels = image.shape
    height = resolution * 3 // 4
    rows = round(resolution * h / w)
    if w < resolution or rows < height:
        raise BadImage(
            f"{h}x{w} does not fill {height}x{resolution}: it is "
            + ("too narrow" if w < resolution else "too flat")
        )
    top = (h - rows) // 2
    above = (resolution - height) // 2
    canvas = np.zeros((resolution, resolution, channels), np.uint8)
    middle = _resize(image[top : top + rows], height, resolution)
    canvas[above : above + height] = middle
    return canvas


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
