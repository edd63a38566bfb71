"""Pixels: conversion between bytes and the networks' range, grids, PNG and WebP."""

import io
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from progan_jax.files import write_whole

# Side of the smallest level of a pyramid whose patches are compared: the authors'
# distance has levels down to 16x16.
SMALLEST_LEVEL = 16

# Columns and rows of the authors' grids: pixels of the picture, then limits.
_LAYOUTS = {
    "1080p": ((1920, 3, 32), (1080, 2, 32)),
    "4k": ((3840, 7, 32), (2160, 4, 32)),
}


def to_float(images: jax.typing.ArrayLike) -> jax.Array:
    """Maps 0..255 to [-1, 1], float32."""
    return jnp.asarray(images).astype(jnp.float32) / 127.5 - 1


def to_uint8(images: jax.Array) -> jax.Array:
    """Maps [-1, 1] to uint8 0..255, rounded and clipped."""
    return jnp.clip(jnp.round(images * 127.5 + 127.5), 0, 255).astype(jnp.uint8)


def grid_shape(resolution: int, layout: str) -> tuple[int, int]:
    """Returns columns and rows of a grid that fills a "1080p" or a "4k" picture."""
    columns, rows = (
        min(max(pixels // resolution, least), most)
        for pixels, least, most in _LAYOUTS[layout]
    )
    return columns, rows


def tile(images: np.ndarray, columns: int) -> np.ndarray:
    """Lays uint8 images [n, h, w, C] out row by row as [H, W, C], blanks black."""
    n, h, w, c = images.shape
    rows = -(-n // columns)
    blank = np.zeros((rows * columns - n, h, w, c), images.dtype)
    grid = np.concatenate([images, blank]).reshape(rows, columns, h, w, c)
    return grid.transpose(0, 2, 1, 3, 4).reshape(rows * h, columns * w, c)


def upscale_nearest(images: np.ndarray, factor: int) -> np.ndarray:
    """Repeats the pixels of [n, h, w, C] by an integer factor."""
    return images.repeat(factor, axis=1).repeat(factor, axis=2)


def encode_png(image: np.ndarray, compress_level: int = 6) -> bytes:
    """Returns the PNG of a uint8 image [h, w, 1 or 3]."""
    pixels = image[:, :, 0] if image.shape[-1] == 1 else image
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="png", compress_level=compress_level)
    return buffer.getvalue()


def encode_webp(image: np.ndarray) -> bytes:
    """Returns the lossless WebP of a uint8 image [h, w, 3], encoded fast."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "webp", lossless=True, method=0, quality=0)
    return buffer.getvalue()


def write_png(path: Path, image: np.ndarray) -> None:
    """Writes uint8 [h, w, 1 or 3]; a kill leaves the old file or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, encode_png(image))
