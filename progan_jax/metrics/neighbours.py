"""The real images nearest to given fakes: does the generator copy its data?

Source: Karras et al. 2018, appendix F.
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from progan_jax.images import tile, upscale_nearest
from progan_jax.metrics.inputs import Features, check_features

_GAP = 2  # White pixels between the images of the picture.

_APART = 8  # Between the fakes and the real images.

_LEAST_SIDE = 64  # Smaller images are enlarged by a whole number.


class Neighbours(NamedTuple):
    """The k real images nearest to each of m fakes, the nearest first."""

    indices: np.ndarray  # int64 [m, k], places among the real images.
    distances: np.ndarray  # float64 [m, k], Euclidean.


def nearest_neighbours(
    fakes: np.ndarray,
    chunks: Iterable[np.ndarray],
    features: Features,
    *,
    k: int = 1,
    centre_crop: bool = False,
) -> Neighbours:
    """Returns the k real images nearest to each fake by the distance of their features.

    Of equally near ones the first is the nearer.

    Args:
      fakes: uint8 [m, r, r, C].
      chunks: The real images in chunks, uint8 [n, r, r, C].
      features: Called with a chunk of images, cropped where that is asked for.
      k: Number of neighbours of each fake.
      centre_crop: Whether only the centre of half the height and width is compared,
        which in aligned portraits is the face without its background.

    Raises:
      ValueError: if features are not finite.
    """

    def extract(images: np.ndarray) -> np.ndarray:
        values = features(centre(images) if centre_crop else images)
        return check_features(values).astype(np.float64)

    wanted = extract(fakes)
    distances = np.concatenate([_distances(wanted, extract(c)) for c in chunks], axis=1)
    order = np.argsort(distances, axis=1, kind="stable")[:, :k]
    return Neighbours(order, np.take_along_axis(distances, order, axis=1))


def pixels(images: np.ndarray) -> np.ndarray:
    """Returns the pixels themselves as features, float32 [n, h * w * C]."""
    return images.reshape(len(images), -1).astype(np.float32)


def draw(fakes: np.ndarray, neighbours: np.ndarray) -> np.ndarray:
    """Returns a picture of fakes in the top row, below each its neighbours.

    Args:
      fakes: uint8 [m, r, r, C].
      neighbours: uint8 [m, k, r, r, C].

    Returns:
      uint8 [H, W, C], k + 1 rows of m images, those below 64 pixels enlarged by a whole
      number, with white lines of 2 pixels between, and of 8 below the fakes.
    """
    rows = (_draw_row(row) for row in np.swapaxes(neighbours, 0, 1))
    below = ((0, _APART - _GAP), (0, 0), (0, 0))
    top = np.pad(_draw_row(fakes), below, constant_values=255)
    return np.concatenate([top, *rows])[:-_GAP, :-_GAP]


def _draw_row(images: np.ndarray) -> np.ndarray:
    enlarged = upscale_nearest(images, max(1, _LEAST_SIDE // images.shape[1]))
    margins = ((0, 0), (0, _GAP), (0, _GAP), (0, 0))
    spaced = np.pad(enlarged, margins, constant_values=255)
    return tile(spaced, columns=len(images))


def centre(images: np.ndarray) -> np.ndarray:
    """Returns the centre of [n, r, r, C], of half the height and width."""
    quarter = images.shape[1] // 4
    inside = slice(quarter, images.shape[1] - quarter)
    return images[:, inside, inside]


def _distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    # From the differences: products of the features would blur small distances.
    return np.stack([np.linalg.norm(b - row, axis=1) for row in a])
