"""Pictures of the explorer's page as HTML: samples, interpolations and edits.

A picture is its PNG at native resolution, which the browser enlarges: the download is
the picture itself.
"""

import base64
import math
import re
from collections.abc import Sequence
from functools import cached_property
from html import escape

import numpy as np

from progan_jax.display.directions import Directions, find_directions
from progan_jax.display.frames import slerp
from progan_jax.errors import UserError
from progan_jax.images import encode_png, tile
from progan_jax.inference.classes import name_class
from progan_jax.inference.editing import move
from progan_jax.inference.generator import TrainedGenerator, to_uint8
from progan_jax.inference.inputs import check_seed
from progan_jax.inference.sampling import BATCH_SIZE, draw_inputs
from progan_jax.inference.styles import Style, not_style_based, show_layers

_SHOWN = 512  # Pixels to which small pictures are enlarged, by a whole number.


def picture(images: np.ndarray, columns: int, caption: str, name: str) -> str:
    """Returns images as one picture with its caption and a link that downloads it.

    Args:
      images: uint8 [N, h, w, 1 or 3].
      columns: Images in a row.
      caption: What they are; also the alternative text of the picture.
      name: Name of the file without its suffix; all characters but letters, digits,
        "." and "-" become "_".
    """
    whole = tile(images, columns)
    height, width, _ = whole.shape
    shown = width * max(1, _SHOWN // max(height, width))
    address = "data:image/png;base64," + base64.b64encode(encode_png(whole)).decode()
    file = re.sub(r"[^\w.-]+", "_", name, flags=re.ASCII) + ".png"
    return (
        f'<figure class="picture"><img src="{address}" alt="{escape(caption)}" '
        f'width="{width}" height="{height}" style="width: {shown}px">\n'
        f'<figcaption><span>{escape(caption)}</span> <a href="{address}" '
        f'download="{escape(file)}">Download PNG, {width}x{height}</a></figcaption>'
        "</figure>"
    )


DIRECTIONS = 8

PLAIN = Style()

_MOST_PIXELS = 2**22  # Of a grid.


class Explorer:
    """Images of a generator, uint8 [N, r, r, channels], by seeds and amounts.

    Where a generator has classes, each call needs one, unless it says otherwise.

    Attributes:
      generator: Draws the images.
      share_of: What a principal direction has a share of.
    """

    share_of = "the change"

    def __init__(self, generator: TrainedGenerator) -> None:
        self.generator = generator
        # With batch norm, an image depends on the rest of its batch: the latents of a
        # seed are a batch, and its image is the first.
        self._batch = BATCH_SIZE if generator.network.sees_batch else 1

    @cached_property
    def directions(self) -> Directions:
        """The generator's principal directions, computed at first use."""
        return find_directions(self.generator, DIRECTIONS)

    @property
    def most(self) -> int:
        """The largest number of images of a grid."""
        return max(1, min(64, _MOST_PIXELS // self.generator.resolution**2))

    def between(
        self,
        seeds: tuple[int, int],
        weights: Sequence[float],
        label: int | None,
        style: Style = PLAIN,
    ) -> np.ndarray:
        """Returns images on the arc from the first image of a seed to that of another.

        Args:
          seeds: Two seeds, which may be equal.
          weights: Weights of the second image, each in [0, 1].
          label: Class of all.
          style: Complete settings of a style-based generator.
        """
        del style
        a, b = (self._latents(seed) for seed in seeds)
        path = [[slerp(*ends, t) for ends in zip(a, b, strict=True)] for t in weights]
        return self._first_images(np.asarray(path, np.float32), label)

    def edited(
        self,
        seed: int,
        amounts: Sequence[float] | np.ndarray,
        label: int | None,
        style: Style = PLAIN,
    ) -> np.ndarray:
        """Returns a seed's first image, moved along the principal directions.

        Args:
          seed: In [0, 2**32).
          amounts: One for each direction, in standard deviations.
          label: Its class.
          style: Complete settings of a style-based generator.
        """
        del style
        latents = self._latents(seed)
        moved = move(latents[0], self.directions.vectors, np.asarray(amounts))
        return self._first_images(np.stack([[moved, *latents[1:]]]), label)

    def mixed(
        self,
        seeds: tuple[int, int],
        layers: Sequence[int],
        label: int | None,
        style: Style = PLAIN,
    ) -> np.ndarray:
        """Returns a seed's image, the same with another's styles, and the other's.

        Args:
          seeds: Two seeds, which may be equal.
          layers: Numbers of the layers that have the styles of the second seed.
          label: Class of all.
          style: Complete settings.

        Raises:
          UserError: if the generator is not style-based.
        """
        del seeds, layers, label, style
        raise not_style_based(self.generator.family.PAPER.model, "mix")

    def _latents(self, seed: int) -> np.ndarray:
        return draw_inputs(self.generator.network, self._batch, seed)[0]

    def _first_images(self, latents: np.ndarray, label: int | None) -> np.ndarray:
        """Returns the first image of each batch of latents [N, batch, latent_size]."""
        rows = latents.reshape(-1, latents.shape[-1])
        return to_uint8(self.generator(rows, label)[:: self._batch])


STRIP = 8  # Images of an interpolation.


class Answers:
    """Pictures of a generator for the values of the page's fields.

    Seeds are None where a field is empty; a class is None for random ones, or where
    there are none.

    Attributes:
      explorer: Draws the images.
    """

    def __init__(self, explorer: Explorer) -> None:
        self.explorer = explorer

    def sample(
        self, seed: int | None, label: int | None, count: int, *, style: Style = PLAIN
    ) -> str:
        """Returns a grid of a seed's images, those of `TrainedGenerator.sample`."""
        start, generator = _check_seed("Seed", seed), self.explorer.generator
        drawn = generator.sample(count, start, label, **style._asdict())
        noun = "1 image" if count == 1 else f"{count} images"
        caption = f"{noun} of seed {start}{self._of(label, style)}"
        columns = math.isqrt(count - 1) + 1
        return self._picture(to_uint8(drawn), caption, f"seed{start}", columns)

    def between(
        self,
        seed_a: int | None,
        seed_b: int | None,
        label: int | None,
        weight: float,
        *,
        style: Style = PLAIN,
    ) -> str:
        """Returns one image on the way from seed A to seed B."""
        a, b = _check_seed("Seed A", seed_a), _check_seed("Seed B", seed_b)
        images = self.explorer.between((a, b), [weight], label, style)
        caption = f"{weight:.0%} of the way from seed {a} to seed {b}"
        caption += self._of(label, style)
        return self._picture(images, caption, f"seed{a}-{b}_{weight:.2f}", 1)

    def strip(
        self,
        seed_a: int | None,
        seed_b: int | None,
        label: int | None,
        *,
        style: Style = PLAIN,
    ) -> str:
        """Returns the way from seed A to seed B in equal steps."""
        a, b = _check_seed("Seed A", seed_a), _check_seed("Seed B", seed_b)
        weights = np.linspace(0, 1, STRIP).tolist()
        images = self.explorer.between((a, b), weights, label, style)
        caption = f"{STRIP} steps from seed {a} to seed {b}{self._of(label, style)}"
        return self._picture(images, caption, f"seed{a}-{b}", STRIP)

    def edit(
        self,
        seed: int | None,
        label: int | None,
        *amounts: float,
        style: Style = PLAIN,
    ) -> str:
        """Returns a seed's first image, moved by the amounts along the directions."""
        start = _check_seed("Seed", seed)
        images = self.explorer.edited(start, amounts, label, style)
        moves = (f"direction {n} by {a:+g}" for n, a in enumerate(amounts, 1) if a)
        caption = f"Seed {start}{self._of(label, style)}, "
        caption += ", ".join(moves) or "as it is"
        return self._picture(images, caption, caption, 1)

    def mix(
        self,
        seed_a: int | None,
        seed_b: int | None,
        label: int | None,
        layers: Sequence[int],
        *,
        style: Style = PLAIN,
    ) -> str:
        """Returns seed A's image, the same with styles of seed B, and seed B's."""
        a, b = _check_seed("Seed A", seed_a), _check_seed("Seed B", seed_b)
        images = self.explorer.mixed((a, b), layers, label, style)
        shown = f"layers {show_layers(sorted(layers))}" if layers else "no layers"
        caption = f"Seed {a}, seed {a} with {shown} of seed {b}, seed {b}"
        caption += self._of(label, style)
        return self._picture(images, caption, f"seed{a}-{b}_mixed", 3)

    def _of(self, label: int | None, style: Style) -> str:
        """Returns the class and the settings of an image, as far as there are any."""
        settings = f", {style}" if style.noise else ""
        return self._of_class(label) + settings

    def _of_class(self, label: int | None) -> str:
        if label is None:
            return ""
        return f", class {name_class(label, self.explorer.generator.class_names)}"

    def _picture(
        self, images: np.ndarray, caption: str, part: str, columns: int
    ) -> str:
        name = f"{self.explorer.generator.name}_{part}"
        return picture(images, columns, caption, name)


def _check_seed(field: str, seed: int | None) -> int:
    if seed is None:
        raise UserError(f"{field} is empty; give a whole number in [0, 2**32)")
    check_seed(field, seed)
    return seed
