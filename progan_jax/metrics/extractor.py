"""A network with one tap, whose features metrics compare."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from progan_jax.metrics.inputs import run_in_batches
from progan_jax.weights.weight_files import Weights


@dataclass(frozen=True)
class Kind:
    """What is known of a network before its weights are read.

    Attributes:
      tap: The name of its tap.
      resize: How images are resized for it, in a word.
      load: Reads its weights, and returns them and its variables.
      run: Returns the features [n, d] of variables and of images uint8 [n, h, w, 3], of
        any size or as `prepare` returns them; at the highest precision.
      prepare: Applied to images on the host.
      dtype: In which features are kept.
      batch_size: Images at a time, over all devices.
    """

    tap: str
    resize: str
    load: Callable[[str], tuple[Weights, dict[str, Any]]]
    run: Callable[[dict[str, Any], jax.Array], jax.Array]
    prepare: Callable[[np.ndarray], np.ndarray] = np.asarray
    dtype: type = np.float32
    batch_size: int = 32


class Extractor:
    """Runs images of any size through a network.

    Attributes:
      weights: The network's.
    """

    def __init__(
        self, kind: Kind, file: str, sharding: NamedSharding | None = None
    ) -> None:
        """Reads the weights and copies them to the devices.

        Args:
          kind: Which network.
          file: Its weights, as the user names them.
          sharding: Sharding of the batch axis; None for one device.

        Raises:
          MissingWeightsError: if none are named.
          UserError: if they are missing, damaged or of another network.
        """
        self.weights, variables = kind.load(file)
        everywhere = NamedSharding(sharding.mesh, PartitionSpec()) if sharding else None
        self._kind, self._sharding = kind, sharding
        self._run = partial(jax.jit(kind.run), jax.device_put(variables, everywhere))

    def extract(
        self, images: np.ndarray, taps: tuple[str, ...]
    ) -> dict[str, np.ndarray]:
        """Returns [n, d] by tap, of uint8 images [n, r, r, 1 or 3].

        Args:
          images: Grey ones are taken as RGB.
          taps: That of its kind.

        Raises:
          ValueError: if the images have another shape or type.
        """
        kind = self._kind
        features = run_in_batches(
            self._run, images, kind.batch_size, self._sharding, kind.prepare
        )
        return {tap: features.astype(kind.dtype) for tap in taps}
