"""One image that the images of a network are compared with."""

from pathlib import Path

import numpy as np

from progan_jax.data.decoding import BadImage, check_bytes, decode, square
from progan_jax.errors import UserError, reason


def read_target(path: Path, side: int, channels: int) -> tuple[np.ndarray, str]:
    """Reads the image to search for, as `prepare_data` reads images.

    Args:
      path: A PNG, JPEG, WebP or BMP file.
      side: Side of the network's images.
      channels: 1 (grey) or 3 (RGB).

    Returns:
      uint8 [side, side, channels], and a line on how it was resized, empty if it was
      not.

    Raises:
      UserError: if it cannot be read.
    """
    try:
        check_bytes(path.stat().st_size)
        pixels = decode(path.read_bytes(), channels)
    except (OSError, BadImage) as error:
        raise UserError(
            f"IMAGE={path}: it cannot be read as an image ({reason(error)}); name a "
            "PNG, JPEG, WebP or BMP"
        ) from error
    height, width = pixels.shape[:2]
    line = ""
    if (width, height) != (side, side):
        part = "it" if width == height else "its middle square"
        line = f"{path} is {width}x{height}: {part} is resized to {side}x{side}"
    return square(pixels, side, "centre", "none"), line
