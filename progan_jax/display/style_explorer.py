"""Images of a style-based generator, by seeds, amounts and layers."""

from collections.abc import Sequence
from functools import cached_property

import numpy as np

from progan_jax.display.answers import DIRECTIONS, PLAIN, Explorer
from progan_jax.display.directions import Directions, find_style_directions
from progan_jax.inference.generator import TrainedGenerator, to_uint8
from progan_jax.inference.sampling import seeded_latents
from progan_jax.inference.styles import Style


def make_explorer(generator: TrainedGenerator) -> Explorer:
    """Returns what draws the images of a generator's page."""
    return StyleExplorer(generator) if generator.num_layers else Explorer(generator)


class StyleExplorer(Explorer):
    """As `Explorer`, but ways and directions are those of w.

    Random noise is that of a seed's first sample, on ways that of the first seed.
    """

    share_of = "the variance of w"

    @cached_property
    def directions(self) -> Directions:
        """The principal directions of w, computed at first use."""
        return find_style_directions(self.generator, DIRECTIONS)

    def between(
        self,
        seeds: tuple[int, int],
        weights: Sequence[float],
        label: int | None,
        style: Style = PLAIN,
    ) -> np.ndarray:
        """Returns images on the line from one seed's w to another's; see `Explorer`."""
        a, b = (self._w(seed, label) for seed in seeds)
        between = [(1 - t) * a + t * b for t in weights]
        return self._draw(between, seeds[0], label, style)

    def edited(
        self,
        seed: int,
        amounts: Sequence[float] | np.ndarray,
        label: int | None,
        style: Style = PLAIN,
    ) -> np.ndarray:
        """Returns a seed's first image, its w moved; see `Explorer`."""
        moved = self._w(seed, label) + np.asarray(amounts) @ self.directions.vectors
        return self._draw([moved], seed, label, style)

    def mixed(
        self,
        seeds: tuple[int, int],
        layers: Sequence[int],
        label: int | None,
        style: Style = PLAIN,
    ) -> np.ndarray:
        """Returns three images; see `Explorer`."""
        a, b = (
            self.generator.truncate(self._w(seed, label)[None], *style[:2], label)[0]
            for seed in seeds
        )
        mixed = a.copy()
        mixed[list(layers)] = b[list(layers)]
        ends = self._synthesise([a, mixed], seeds[0], style)
        return np.concatenate([ends, self._synthesise([b], seeds[1], style)])

    def _w(self, seed: int, label: int | None) -> np.ndarray:
        latents = seeded_latents(seed, 1, self.generator.latent_dim)
        return self.generator.mapping(latents, label)[0]

    def _draw(
        self, w: Sequence[np.ndarray], seed: int, label: int | None, style: Style
    ) -> np.ndarray:
        truncated = self.generator.truncate(np.stack(w), *style[:2], label)
        return self._synthesise(list(truncated), seed, style)

    def _synthesise(
        self, w: Sequence[np.ndarray], seed: int, style: Style
    ) -> np.ndarray:
        # One by one: noise is that of an image's number.
        images = [
            self.generator.synthesis(one[None], noise=style.noise, seed=seed)
            for one in w
        ]
        return to_uint8(np.concatenate(images))
