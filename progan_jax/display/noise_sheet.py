"""Sheets that show what a style-based generator's noise changes."""

from typing import NamedTuple

import numpy as np

from progan_jax.display.sheet import Row, Section, draw_sheet
from progan_jax.display.style_sheets import MOST_SIDE, Sources
from progan_jax.images import upscale_nearest
from progan_jax.inference.generator import TrainedGenerator, to_uint8
from progan_jax.inference.styles import Style

_ZOOM = 4  # The part of an image that is shown enlarged has a fourth of its side.

_LEAST_TO_ZOOM = 64  # Smaller images are shown whole.

_AT_ONCE = 16  # Images drawn together: many large ones do not fit into memory.

Place = tuple[slice, slice]


def noise_sheet(
    generator: TrainedGenerator, sources: Sources, shown: int, draws: int, style: Style
) -> np.ndarray:
    """Returns a sheet of images of the same w under several random noises.

    From 64x64 on there are a whole image and, enlarged, the part that changes most,
    which a frame shows; smaller images are shown whole. The last column is the standard
    deviation of each pixel, white where it is largest.

    Args:
      generator: A style-based one.
      sources: The images.
      shown: Noises that are shown, at most 16.
      draws: Noises of which the deviation is taken, at least two and at least `shown`.
      style: Complete settings, but for the noise.

    Returns:
      uint8 [H, W, 3].

    Source: Karras et al. 2019, figure 4.
    """
    rows, truncated = [], sources.truncate(generator, *style[:2])
    for name, w in zip(sources.names, truncated, strict=True):
        varied = vary(generator, w[None], draws)
        label = f"{name}\nup to {varied.deviation.max():.2g}"
        rows.append(Row(label, _pictures(varied, shown)))
    columns = [*[f"noise {n + 1}" for n in range(shown)], "deviation"]
    if generator.resolution >= _LEAST_TO_ZOOM:
        columns = ["image", *columns]
    return draw_sheet(columns, [Section("", rows)])


class Varied(NamedTuple):
    """Images of one w under several noises.

    Attributes:
      images: The first ones, float32 [n, r, r, C].
      deviation: Standard deviation of each pixel over all of them, [r, r]; of the
        channels the root of the mean of their squares.
    """

    images: np.ndarray
    deviation: np.ndarray


def vary(generator: TrainedGenerator, w: np.ndarray, draws: int) -> Varied:
    """Draws images of w [1, num_layers, w_size] under random noises."""
    first, total, squares = None, 0.0, 0.0
    for seed, start in enumerate(range(0, draws, _AT_ONCE)):
        repeated = w.repeat(min(_AT_ONCE, draws - start), axis=0)
        images = generator.synthesis(repeated, noise="random", seed=seed)
        first = images if first is None else first
        # Less an image of them, so that the squares do not cancel.
        changes = images.astype(np.float64) - first[0]
        total = total + changes.sum(axis=0)
        squares = squares + np.square(changes).sum(axis=0)
    assert first is not None, "draws is positive"
    variance = np.maximum(squares / draws - np.square(total / draws), 0)
    return Varied(first, np.sqrt(variance.mean(axis=-1)))


def liveliest(deviation: np.ndarray, side: int) -> Place:
    """Returns the square of a side whose sum of squares is largest, on a grid of it."""
    count = len(deviation) // side
    sums = np.square(deviation).reshape(count, side, count, side).sum(axis=(1, 3))
    row, column = (int(n) * side for n in np.unravel_index(sums.argmax(), sums.shape))
    return slice(row, row + side), slice(column, column + side)


def frame(image: np.ndarray, place: Place) -> np.ndarray:
    """Returns an image with a white frame, in a black one, around a place."""
    framed = image.copy()
    for inset, shade in ((0, 0), (1, 255)):
        rows, columns = (slice(s.start + inset, s.stop - inset) for s in place)
        part = framed[rows, columns]
        part[[0, -1]] = part[:, [0, -1]] = shade
    return framed


def _pictures(varied: Varied, shown: int) -> list[np.ndarray]:
    """Returns the first image, parts of the first ones, and the map of deviations.

    Images too small to be enlarged are their own parts, without a first image.
    """
    images, deviation = varied
    side = len(deviation)
    cell = min(side, MOST_SIDE)
    whole, grey = (_pool(i, side // cell) for i in (images[0], deviation[:, :, None]))
    scaled = to_uint8(grey / max(deviation.max(), np.finfo(np.float32).tiny) * 2 - 1)
    if side < _LEAST_TO_ZOOM:
        return [*to_uint8(images[:shown]), scaled]
    place = liveliest(deviation, side // _ZOOM)
    reduced = [slice(s.start * cell // side, s.stop * cell // side) for s in place]
    whole = frame(to_uint8(whole), (reduced[0], reduced[1]))
    parts = upscale_nearest(to_uint8(images[:shown][:, *place]), _ZOOM * cell // side)
    return [whole, *parts, scaled]


def _pool(image: np.ndarray, factor: int) -> np.ndarray:
    """Returns the means over blocks of the pixels of [h, w, C]."""
    h, w, channels = image.shape
    blocks = image.reshape(h // factor, factor, w // factor, factor, channels)
    return blocks.mean(axis=(1, 3))
