"""What every extractor of features offers, and how images pass through one."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec


@dataclass(frozen=True)
class Features:
    """One vector for each image; the parts of its name belong to every figure.

    Attributes:
      name: Network and tap, such as "inception-2015-12-05/2048".
      fingerprint: Of the weights.
      resize: "tf1", "clean", or "none" where images are taken as they are.
      dim: Length of a vector.
      extract: The function itself.
    """

    name: str
    fingerprint: str
    resize: str
    dim: int
    extract: Callable[[np.ndarray], np.ndarray]

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Maps uint8 [n, h, w, 1 or 3] to float32 [n, dim]; grey is taken as RGB."""
        return self.extract(images)


def run_in_batches(
    run: Callable[[jax.Array], Any],
    images: np.ndarray,
    batch_size: int,
    sharding: NamedSharding | None = None,
    prepare: Callable[[np.ndarray], np.ndarray] = np.asarray,
) -> Any:
    """Runs a compiled function over images that lie on the host.

    Args:
      run: From a batch on the device(s) to arrays, in any tree, batch axis first.
      images: uint8 [n, h, w, 1 or 3], n from 1.
      batch_size: Images in a batch; the last is filled up, so that one program serves.
      sharding: Of the batch axis over several devices; None for one device.
      prepare: What is done to a batch on the host.

    Returns:
      The tree with NumPy arrays of n rows.

    Raises:
      ValueError: if the images have another shape or type.
    """
    check_images(images)
    devices = sharding.num_devices if sharding else 1
    size = -(-min(batch_size, len(images)) // devices) * devices
    parts = list(_batches(run, images, size, sharding, prepare))
    return jax.tree.map(lambda *rows: np.concatenate(rows)[: len(images)], *parts)


def check_images(images: np.ndarray) -> None:
    """Raises ValueError unless the images are uint8 [n, h, w, 1 or 3], n from 1."""
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[-1] not in (1, 3):
        raise ValueError(
            f"images of {images.dtype} {images.shape} must be uint8 [n, h, w, 1 or 3]"
        )
    if not len(images):
        raise ValueError("there are no images")


def replicate(tree: Any, sharding: NamedSharding | None) -> Any:
    """Lays arrays whole on every device that a batch is split over."""
    if sharding is None:
        return jax.device_put(tree)
    return jax.device_put(tree, NamedSharding(sharding.mesh, PartitionSpec()))


def _batches(run, images, size, sharding, prepare) -> Iterator[Any]:
    pending = None
    for start in range(0, len(images), size):
        batch = prepare(images[start : start + size])
        fill = np.repeat(batch[-1:], size - len(batch), axis=0)
        result = run(jax.device_put(np.concatenate([batch, fill]), sharding))
        # One batch behind: the device works while the next one is prepared, and no
        # more than two lie there.
        if pending is not None:
            yield jax.device_get(pending)
        pending = result
    yield jax.device_get(pending)
