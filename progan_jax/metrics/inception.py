"""Features of the Inception network, for FID, KID, precision, recall and the score."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding

from progan_jax.metrics.features import Features, replicate, run_in_batches
from progan_jax.metrics.inception_graph import InceptionV3
from progan_jax.metrics.inception_layers import SIDE, TAPS
from progan_jax.metrics.inception_weights import require_tap
from progan_jax.metrics.resize import resize_clean, resize_tf1
from progan_jax.metrics.weights import Weights

RESIZE_MODES = ("tf1", "clean")
PRECISIONS = ("highest", "default")


class InceptionExtractor:
    """Runs images of any size through the network, as far as the taps need.

    `at(tap)` gives one tap as `Features`; `extract` gives several in one pass.
    """

    def __init__(
        self,
        weights: Weights,
        *,
        resize: str = "tf1",
        precision: str = "highest",
        batch_size: int = 64,
        sharding: NamedSharding | None = None,
    ):
        """Lays the weights on the devices.

        Args:
          weights: From `inception_weights`.
          resize: "tf1" or "clean"; see `resize`. Figures must tell which.
          precision: "highest" for float32 throughout; "default" lets accelerators
            round the factors of convolutions, which is quicker and not comparable.
          batch_size: Images at a time, over all devices.
          sharding: Of the batch axis over several devices; None for one device.

        Raises:
          ValueError: if a mode or precision is unknown.
        """
        for value, known in ((resize, RESIZE_MODES), (precision, PRECISIONS)):
            if value not in known:
                raise ValueError(f"{value!r} must be one of {', '.join(known)}")
        self._weights, self._resize = weights, resize
        self._batch_size, self._sharding = batch_size, sharding
        self._variables = replicate(weights.variables(weights.arrays), sharding)
        run = partial(_run, precision=precision, resize=resize)
        self._run = jax.jit(run, static_argnames="taps")

    def at(self, tap: str) -> Features:
        """Returns one tap's features.

        Raises:
          UserError: if there is no such tap, or the weights do not reach it.
        """
        require_tap(self._weights, tap)
        return Features(
            f"{self._weights.name}/{tap}",
            self._weights.fingerprint,
            self._resize,
            TAPS[tap][1],
            lambda images: self.extract(images, (tap,))[tap],
        )

    def extract(
        self, images: np.ndarray, taps: tuple[str, ...]
    ) -> dict[str, np.ndarray]:
        """Returns float32 [n, d] by tap, of uint8 images [n, h, w, 1 or 3].

        Raises:
          UserError: if there is no such tap, or the weights do not reach it.
          ValueError: if the images have another shape or type.
        """
        for tap in taps:
            require_tap(self._weights, tap)
        clean = self._resize == "clean"
        return run_in_batches(
            partial(self._run, self._variables, taps=tuple(taps)),
            images,
            self._batch_size,
            self._sharding,
            partial(resize_clean, side=SIDE) if clean else np.asarray,
        )


def _run(variables, images, *, taps, precision, resize) -> Any:
    if resize == "tf1":
        images = resize_tf1(images, SIDE)
    colour = jnp.broadcast_to(images, (*images.shape[:-1], 3))
    return InceptionV3(precision).apply(variables, colour, taps)
