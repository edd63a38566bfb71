"""Images in chunks, functions that run over them, and checks of both."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import jax
import numpy as np
from jax.sharding import NamedSharding

# Maps images uint8 [n, h, w, 1 or 3] to float32 [n, d]; grey is taken as RGB.
Features = Callable[[np.ndarray], np.ndarray]


def run_in_batches(
    run: Callable[[jax.Array], Any],
    images: np.ndarray,
    batch_size: int,
    sharding: NamedSharding | None = None,
    prepare: Callable[[np.ndarray], np.ndarray] = np.asarray,
) -> Any:
    """Runs a compiled function over images on the host.

    Args:
      run: From a batch on the device(s) to arrays, in any tree, batch axis first.
      images: uint8 [n, r, r, 1 or 3], n from 1.
      batch_size: Images in a batch; the last is filled up, so that it takes the same
        program.
      sharding: Sharding of the batch axis; None for one device.
      prepare: Applied to a batch on the host.

    Returns:
      The tree with NumPy arrays of n rows.

    Raises:
      ValueError: if the images have another shape or type.
    """
    check_images(images)
    if not len(images):
        raise ValueError("there are no images")
    devices = sharding.num_devices if sharding else 1
    size = -(-min(batch_size, len(images)) // devices) * devices
    parts = list(_batches(run, images, size, sharding, prepare))
    return jax.tree.map(lambda *rows: np.concatenate(rows)[: len(images)], *parts)


def _batches(run, images, size, sharding, prepare) -> Iterator[Any]:
    pending = None
    for start in range(0, len(images), size):
        batch = prepare(images[start : start + size])
        fill = np.repeat(batch[-1:], size - len(batch), axis=0)
        result = run(jax.device_put(np.concatenate([batch, fill]), sharding))
        # One batch behind: the device works while the next one is prepared, and has no
        # more than two in memory.
        if pending is not None:
            yield jax.device_get(pending)
        pending = result
    yield jax.device_get(pending)


# Images [n, r, r, C] in one array, or in chunks of any sizes that follow each other.
Images = np.ndarray | Iterable[np.ndarray]


def in_chunks(images: Images, pixels: int, multiple: int = 1) -> Iterator[np.ndarray]:
    """Yields the images in their order, a bounded number at a time.

    Args:
      images: uint8 [n, r, r, 1 or 3], or an iterable of such chunks.
      pixels: Maximum of a yielded chunk, unless `multiple` images have more.
      multiple: Divides the number of images in every chunk but the last.

    Raises:
      ValueError: if images are not uint8, not square, or of several shapes.
    """
    chunks = [images] if isinstance(images, np.ndarray) else images
    kept: np.ndarray | None = None
    for chunk in chunks:
        check_images(chunk)
        kept = chunk if kept is None else _join(kept, chunk)
        size = max(pixels // kept.shape[1] ** 2 // multiple, 1) * multiple
        whole = len(kept) - len(kept) % size
        yield from (kept[i : i + size] for i in range(0, whole, size))
        kept = kept[whole:]
    if kept is not None and len(kept):
        yield kept


def check_images(images: np.ndarray) -> None:
    """Raises ValueError unless the images are uint8 [n, r, r, 1 or 3]."""
    if images.dtype != np.uint8:
        raise ValueError(f"images of {images.dtype} must be uint8, 0 to 255")
    square = images.ndim == 4 and images.shape[1] == images.shape[2]
    if not square or images.shape[3] not in (1, 3):
        raise ValueError(f"images {list(images.shape)} must be uint8 [n, r, r, 1 or 3]")


def check_features(features: np.ndarray) -> np.ndarray:
    """Returns the features as a NumPy array.

    Args:
      features: Floating-point [n, d], a row for each image.

    Raises:
      ValueError: if they have another form, or a number in them is not finite.
    """
    features = np.asarray(features)
    if features.ndim != 2 or not np.issubdtype(features.dtype, np.floating):
        raise ValueError(
            f"features {list(features.shape)} of {features.dtype} must be "
            "floating-point [n, d]"
        )
    bad = np.count_nonzero(~np.isfinite(features).all(axis=1))
    if bad:
        raise ValueError(
            f"the features of {bad} of {len(features)} images are not "
            "finite; the images or the extractor's weights are damaged"
        )
    return features


def check_pair(reals: np.ndarray, fakes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns both as NumPy arrays.

    Raises:
      ValueError: unless both are finite features of the same dimension.
    """
    reals, fakes = check_features(reals), check_features(fakes)
    if reals.shape[1] != fakes.shape[1]:
        raise ValueError(
            f"features of {reals.shape[1]} and of {fakes.shape[1]} dimensions come "
            "from different extractors"
        )
    return reals, fakes


def _join(kept: np.ndarray, chunk: np.ndarray) -> np.ndarray:
    if kept.shape[1:] != chunk.shape[1:]:
        raise ValueError(
            f"images of {list(kept.shape[1:])} and of {list(chunk.shape[1:])} are mixed"
        )
    return np.concatenate([kept, chunk]) if len(kept) else chunk
