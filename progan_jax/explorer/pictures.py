"""What can be asked of a trained generator: samples, ways between them, and edits."""

from collections.abc import Sequence
from functools import cached_property

import numpy as np

from progan_jax.explorer.directions import Directions, find_directions, move
from progan_jax.sampling import BATCH_SIZE, draw_inputs
from progan_jax.trained import TrainedGenerator, to_uint8
from progan_jax.video.paths import slerp

_DIRECTIONS = 8
_AT_ONCE = 8  # Images of a compiled program; there is another one for one image.
_MOST_PIXELS = 2**22  # Of a grid.


class Explorer:
    """Images of a generator, uint8 [N, r, r, channels], by seeds and amounts.

    Where a generator has classes, each call needs one, or as said.

    Attributes:
      generator: From which they come.
    """

    def __init__(self, generator: TrainedGenerator) -> None:
        self.generator = generator
        # With batch norm, an image depends on the rest of its batch: the latents of a
        # seed come by the batch, and the image is that of the first.
        batch_norm = generator.network.norm == "batch"
        self._whole = BATCH_SIZE if batch_norm else 1

    @cached_property
    def directions(self) -> Directions:
        """The generator's principal directions, computed at first use."""
        return find_directions(self.generator, _DIRECTIONS)

    @property
    def most(self) -> int:
        """The most images of a grid."""
        return max(1, min(64, _MOST_PIXELS // self.generator.resolution**2))

    def warm_up(self) -> None:
        """Compiles all that is needed.

        Raises:
          UserError: if images are not finite.
        """
        label = 0 if self.generator.num_classes else None
        self.sample(0, min(self.most, _AT_ONCE), label)
        self.edited(0, np.zeros(len(self.directions.shares)), label)

    def sample(self, seed: int, count: int, label: int | None) -> np.ndarray:
        """Returns the images of a seed, those of `TrainedGenerator.sample`.

        Args:
          seed: In [0, 2**32).
          count: Number of images, from 1 to `most`.
          label: Class of all; None for random ones, or where there are none.
        """
        # Of any number the first ones are the same, and that of them is compiled for.
        most = -(-self.most // self._whole) * self._whole
        drawn = -(-count // self._whole) * self._whole
        latents, labels = draw_inputs(self.generator.network, most, seed, label)
        labels = None if labels is None else labels[:drawn]
        return self._draw(latents[:drawn], labels)[:count]

    def between(
        self, seeds: tuple[int, int], weights: Sequence[float], label: int | None
    ) -> np.ndarray:
        """Returns images on the arc from the first image of a seed to that of another.

        Args:
          seeds: Two of them, which may be the same.
          weights: Of the second, each in [0, 1].
          label: Class of all.
        """
        a, b = (self._latents(seed) for seed in seeds)
        path = [[slerp(*ends, t) for ends in zip(a, b, strict=True)] for t in weights]
        return self._first_images(np.asarray(path, np.float32), label)

    def edited(
        self, seed: int, amounts: Sequence[float] | np.ndarray, label: int | None
    ) -> np.ndarray:
        """Returns a seed's first image, moved along the principal directions.

        Args:
          seed: In [0, 2**32).
          amounts: One for each direction, in standard deviations.
          label: Its class.
        """
        latents = self._latents(seed)
        moved = move(latents[0], self.directions.vectors, np.asarray(amounts))
        return self._first_images(np.stack([[moved, *latents[1:]]]), label)

    def _latents(self, seed: int) -> np.ndarray:
        return draw_inputs(self.generator.network, self._whole, seed)[0]

    def _first_images(self, latents: np.ndarray, label: int | None) -> np.ndarray:
        """Returns the first image of each batch of latents [N, batch, latent_size]."""
        rows = latents.reshape(-1, latents.shape[-1])
        labels = None if label is None else np.full(len(rows), label, np.int32)
        return self._draw(rows, labels)[:: self._whole]

    def _draw(self, latents: np.ndarray, labels: np.ndarray | None) -> np.ndarray:
        """Draws by few compiled programs: a short last batch is filled up."""
        total = len(latents)
        size = max(self._whole, 1 if total == 1 else min(self.most, _AT_ONCE))
        images = []
        for start in range(0, total, size):
            rows = np.arange(start, start + size) % total
            label = None if labels is None else labels[rows]
            images.append(to_uint8(self.generator(latents[rows], label)))
        return np.concatenate(images)[:total]
