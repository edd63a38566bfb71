"""The compiled programs of a trained generator, one for each use and batch size."""

from collections.abc import Callable, Mapping
from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from progan_jax.errors import UserError
from progan_jax.inference.sampling import BATCH_SIZE, Sampler
from progan_jax.models.common import (
    generate,
    map_latents,
    stage_resolutions,
    synthesise,
)
from progan_jax.models.layers import downscale2d

_BATCH_PIXELS = 2**22  # At most in a batch: 64 images of 256x256, 4 of 1024x1024.


class Programs:
    """Programs of a generator, made at their first use.

    Attributes:
      network: The Flax module.
      alpha: Weight of its newest block.
      name: Name of the snapshot, for messages.
    """

    def __init__(self, network: Any, alpha: float, name: str) -> None:
        self.network, self.alpha, self.name = network, alpha, name
        self._samplers: dict[tuple[int, int, bool, str | None], Sampler] = {}

    def draw(
        self,
        variables: Mapping[str, Any],
        inputs: np.ndarray,
        labels: np.ndarray | None,
        seed: int,
        resolution: int | None = None,
        stale_rgb: bool = False,
        noise: str | None = None,
    ) -> np.ndarray:
        """Returns images, float32 [N, r, r, channels].

        Args:
          variables: Those of the generator.
          inputs: Latents [N, latent_size]; or w [N, num_layers, w_size] if `noise` is
            given.
          labels: Classes int [N]; ignored where there are none.
          seed: Seed of the noise.
          resolution: See `TrainedGenerator.__call__`.
          stale_rgb: See `TrainedGenerator.__call__`.
          noise: Kind of noise, one of `inference.styles.NOISES`.

        Raises:
          UserError: if the resolution is invalid, or images are not finite.
        """
        side = self.network.resolution if resolution is None else resolution
        sides = stage_resolutions(self.network.resolution)
        if side not in sides:
            choice = ", ".join(map(str, sides))
            raise UserError(f"resolution={side} must be one of {choice}; change it")
        stale = stale_rgb and side < self.network.resolution
        sampler = self._sampler(len(inputs), side, stale, noise)
        if noise is not None:  # A smaller network has fewer layers.
            inputs = inputs[:, : sampler.generator.num_layers]
        alpha = 1.0 if stale else self.alpha
        return sampler.sample(variables, alpha, inputs, labels, self.name, seed=seed)

    def map(
        self,
        variables: Mapping[str, Any],
        latents: np.ndarray,
        labels: np.ndarray | None,
    ) -> np.ndarray:
        """Returns w [N, w_size] of latents, of a style-based generator."""
        batch = min(_fill(len(latents)), BATCH_SIZE)
        key = (batch, 0, False, None)
        if key not in self._samplers:
            self._samplers[key] = Sampler(
                self.network, batch_size=batch, finish=_keep, draw=map_latents
            )
        return self._samplers[key].sample(variables, self.alpha, latents, labels)

    def _sampler(self, count: int, side: int, stale: bool, noise: str | None) -> Any:
        made = side if stale else self.network.resolution
        most = max(min(BATCH_SIZE, _BATCH_PIXELS // made**2), 1)
        # With batch norm padding would change the images.
        sees_batch = self.network.sees_batch
        batch = min(count, BATCH_SIZE) if sees_batch else min(_fill(count), most)
        key = (batch, side, stale, noise)
        if key not in self._samplers:
            network, draw = self.network.clone(resolution=made), generate
            if noise is not None:
                network, draw = network.clone(noise_mode=noise), synthesise
            finish = _pooling(made // side)
            self._samplers[key] = Sampler(
                network, batch_size=batch, finish=finish, draw=draw
            )
        return self._samplers[key]


def _fill(count: int) -> int:
    """Returns the power of two up to which batches are padded: few are compiled."""
    return 1 << (count - 1).bit_length()


def _keep(w: jax.Array) -> jax.Array:
    return w


@cache  # Equal functions would be compiled anew.
def _pooling(factor: int) -> Callable[[jax.Array], jax.Array]:
    return partial(_pool, factor)


def _pool(factor: int, images: jax.Array) -> jax.Array:
    pooled = downscale2d(images, factor) if factor > 1 else images
    return pooled.astype(jnp.float32)
