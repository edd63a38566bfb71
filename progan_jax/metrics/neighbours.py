"""The reals that lie nearest to given fakes: does the generator copy its data?

Source: Karras et al. 2018, appendix on the nearest neighbours in CelebA-HQ.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from progan_jax.images import tile, upscale_nearest
from progan_jax.metrics.inputs import Images, check_features, check_images, in_chunks

# Maps images uint8 [n, h, w, C] to features [n, d].
Features = Callable[[np.ndarray], np.ndarray]

_CHUNK_PIXELS = 2**23  # Pixels of the reals whose features are taken at a time.

_GAP = 2  # White pixels between the images of the figure.

_APART = 8  # Between the fakes and the reals.

_LEAST_SIDE = 64  # Smaller images are enlarged by a whole number.


class Neighbours(NamedTuple):
    """The reals nearest to each of m fakes, the nearest first."""

    indices: np.ndarray  # int64 [m, k], places among the reals.
    distances: np.ndarray  # float64 [m, k], Euclidean.
    images: np.ndarray  # uint8 [m, k, r, r, C], whole also where crops are compared.


def nearest_neighbours(
    fakes: np.ndarray,
    reals: Images,
    features: Features,
    *,
    k: int = 1,
    centre_crop: bool = False,
) -> Neighbours:
    """Returns the k reals nearest to each fake by the distance of their features.

    The reals pass by once, in chunks. Of equally near ones the first is the nearer.

    Args:
      fakes: uint8 [m, r, r, C]; a few, for a figure.
      reals: uint8 [n, r, r, C] or chunks of them.
      features: Called with a chunk of images, cropped where that is asked for.
      k: Neighbours of each fake.
      centre_crop: Whether only the centre of half the height and width is compared,
        which in aligned portraits is the face without its background.

    Raises:
      ValueError: if images or features have another form, features are not finite, or
        there are fewer than k reals.
    """
    check_images(fakes)
    wanted = _features_of(fakes, features, centre_crop)
    best, seen = None, 0
    for chunk in in_chunks(reals, _CHUNK_PIXELS):
        _check_shapes(fakes, chunk)
        distances = _distances(wanted, _features_of(chunk, features, centre_crop))
        found = _of_chunk(distances, chunk, seen, k)
        best = found if best is None else _merge(best, found, k)
        seen += len(chunk)
    if best is None or seen < k:
        raise ValueError(f"{seen} reals are fewer than the k = {k} neighbours wanted")
    return best


def pixels(images: np.ndarray) -> np.ndarray:
    """Returns the pixels themselves as features, float32 [n, h * w * C]."""
    return images.reshape(len(images), -1).astype(np.float32)


def draw(fakes: np.ndarray, neighbours: Neighbours) -> np.ndarray:
    """Returns the figure: fakes in the top row, below each its neighbours.

    Args:
      fakes: uint8 [m, r, r, C], those of the neighbours.
      neighbours: k of each.

    Returns:
      uint8 [H, W, C], k + 1 rows of m images, those below 64 pixels enlarged by a whole
      number, with white lines of 2 pixels between, and of 8 below the fakes.
    """
    rows = (_draw_row(row) for row in np.swapaxes(neighbours.images, 0, 1))
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


def _features_of(images: np.ndarray, features: Features, crop: bool) -> np.ndarray:
    values = features(centre(images) if crop else images)
    if len(values) != len(images):
        raise ValueError(f"{len(values)} rows of features for {len(images)} images")
    return check_features(values).astype(np.float64)


def _check_shapes(fakes: np.ndarray, reals: np.ndarray) -> None:
    if reals.shape[1:] != fakes.shape[1:]:
        raise ValueError(
            f"reals {list(reals.shape[1:])} and fakes {list(fakes.shape[1:])} "
            "differ in shape"
        )


def _distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    # From the differences: products of the features would blur small distances.
    return np.stack([np.linalg.norm(b - row, axis=1) for row in a])


def _of_chunk(
    distances: np.ndarray, chunk: np.ndarray, start: int, k: int
) -> Neighbours:
    """Returns the best of a chunk whose first image has the place `start`."""
    order = np.argsort(distances, axis=1, kind="stable")[:, :k]
    nearest = np.take_along_axis(distances, order, axis=1)
    return Neighbours(start + order, nearest, chunk[order])


def _merge(a: Neighbours, b: Neighbours, k: int) -> Neighbours:
    """Returns the k best of both; those of `a` go first where distances are equal."""
    joined = Neighbours(*(np.concatenate(x, axis=1) for x in zip(a, b, strict=True)))
    order = np.argsort(joined.distances, axis=1, kind="stable")[:, :k]
    rows = np.arange(len(order))[:, None]
    return Neighbours(*(x[rows, order] for x in joined))
