"""What the explorer's page answers to its fields: pictures as HTML, or a UserError.

Samples, ways between them, and edits. A picture is its PNG at native resolution, which
the browser enlarges: what is downloaded is what was drawn.
"""

import base64
import math
import re
from collections.abc import Sequence
from functools import cached_property
from html import escape

import numpy as np

from progan_jax.display.directions import Directions, find_directions, move
from progan_jax.display.frames import slerp
from progan_jax.errors import UserError
from progan_jax.images import encode_png, tile
from progan_jax.inference.generator import (
    TrainedGenerator,
    check_seed,
    find_class,
    name_class,
    to_uint8,
)
from progan_jax.inference.sampling import BATCH_SIZE, draw_inputs

_LONGEST = 40  # Characters that a message repeats.


def read_seed(field: str, text: str) -> int:
    """Returns a seed.

    Args:
      field: Its name on the page.
      text: As typed.

    Raises:
      UserError: if it is no whole number in [0, 2**32).
    """
    seed = _read_number(field, text, "a whole number in [0, 2**32)")
    check_seed(field, seed)
    return seed


def read_class(
    field: str,
    text: str,
    num_classes: int,
    optional: bool,
    names: Sequence[str] = (),
) -> int | None:
    """Returns a class; None where there are none, or for random ones.

    Args:
      field: Its name on the page.
      text: As typed.
      num_classes: The generator's.
      optional: Whether an empty field stands for random classes.
      names: Of the classes, as far as they are known.

    Raises:
      UserError: if there is no such class.
    """
    if not text.strip() and (optional or not num_classes):
        return None
    if names:
        return find_class(field, text.strip()[:_LONGEST], num_classes, names)
    rule = f"a whole number from 0 to {num_classes - 1}"
    if not num_classes:
        rule = "empty: this generator has no classes"
    return find_class(field, _read_number(field, text, rule), num_classes)


def _read_number(field: str, text: str, rule: str) -> int:
    number = text.strip()
    if not re.fullmatch(r"[0-9]{1,20}", number):
        told = repr(number[:_LONGEST]) if number else "nothing"
        raise UserError(f"{field} is {told} and must be {rule}; change it")
    return int(number)


_SHOWN = 512  # Pixels to which small pictures are enlarged, by a whole number.


def picture(images: np.ndarray, columns: int, told: str, name: str) -> str:
    """Returns images as one picture with its caption and a link that downloads it.

    Args:
      images: uint8 [N, h, w, 1 or 3].
      columns: Images in a row.
      told: What they are; it is also read out to who cannot see them.
      name: Of the file, without its suffix; other characters than letters, digits, "."
        and "-" become "_".
    """
    whole = tile(images, columns)
    height, width, _ = whole.shape
    shown = width * max(1, _SHOWN // max(height, width))
    address = "data:image/png;base64," + base64.b64encode(encode_png(whole)).decode()
    file = re.sub(r"[^\w.-]+", "_", name, flags=re.ASCII) + ".png"
    return (
        f'<figure class="picture"><img src="{address}" alt="{escape(told)}" '
        f'width="{width}" height="{height}" style="width: {shown}px">\n'
        f'<figcaption><span>{escape(told)}</span> <a href="{address}" '
        f'download="{escape(file)}">Download PNG, {width}x{height}</a></figcaption>'
        "</figure>"
    )


def message(text: str) -> str:
    """Returns a mistake as screen readers tell it at once; nothing for no text."""
    return f'<p class="mistake" role="alert">{escape(text)}</p>' if text else ""


def heading(title: str, facts: str) -> str:
    """Returns the page's title and what the generator is."""
    return f"<h1>{escape(title)}</h1>\n<p>{escape(facts)}</p>"


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
        batch_norm = generator.network.sees_batch
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


STRIP = 8  # Images of a way.


class Answers:
    """Pictures of a generator, asked for by the texts of the page's fields.

    Attributes:
      explorer: Which draws them.
    """

    def __init__(self, explorer: Explorer) -> None:
        self.explorer = explorer
        self._classes = explorer.generator.num_classes
        self._class_names = explorer.generator.class_names
        self._name = explorer.generator.name

    def sample(self, seed: str, label: str, count: int) -> str:
        """Returns a grid of a seed's images; an empty class stands for random ones."""
        start = read_seed("Seed", seed)
        of = self._read_class(label, optional=True)
        images = self.explorer.sample(start, count, of)
        noun = "1 image" if count == 1 else f"{count} images"
        told = f"{noun} of seed {start}{self._of_class(of)}"
        return self._picture(images, told, f"seed{start}", math.isqrt(count - 1) + 1)

    def between(self, seed_a: str, seed_b: str, label: str, weight: float) -> str:
        """Returns one image on the way from seed A to seed B."""
        (a, b), of = self._read_way(seed_a, seed_b, label)
        share = min(max(float(weight), 0.0), 1.0)
        images = self.explorer.between((a, b), [share], of)
        told = f"{share:.0%} of the way from seed {a} to seed {b}{self._of_class(of)}"
        return self._picture(images, told, f"seed{a}-{b}_{share:.2f}", 1)

    def strip(self, seed_a: str, seed_b: str, label: str) -> str:
        """Returns the way from seed A to seed B in equal steps."""
        (a, b), of = self._read_way(seed_a, seed_b, label)
        images = self.explorer.between((a, b), np.linspace(0, 1, STRIP).tolist(), of)
        told = f"{STRIP} steps from seed {a} to seed {b}{self._of_class(of)}"
        return self._picture(images, told, f"seed{a}-{b}", STRIP)

    def edit(self, seed: str, label: str, *amounts: float) -> str:
        """Returns a seed's first image, moved by the amounts along the directions."""
        start = read_seed("Seed", seed)
        of = self._read_class(label, optional=False)
        images = self.explorer.edited(start, amounts, of)
        moves = (f"direction {n} by {a:+g}" for n, a in enumerate(amounts, 1) if a)
        told = f"Seed {start}{self._of_class(of)}, {', '.join(moves) or 'as it is'}"
        return self._picture(images, told, told, 1)

    def _read_way(
        self, seed_a: str, seed_b: str, label: str
    ) -> tuple[tuple[int, int], int | None]:
        seeds = read_seed("Seed A", seed_a), read_seed("Seed B", seed_b)
        return seeds, self._read_class(label, optional=False)

    def _read_class(self, label: str, optional: bool) -> int | None:
        return read_class("Class", label, self._classes, optional, self._class_names)

    def _of_class(self, label: int | None) -> str:
        named = "" if label is None else name_class(label, self._class_names)
        return named and f", class {named}"

    def _picture(self, images: np.ndarray, told: str, part: str, columns: int) -> str:
        return picture(images, columns, told, f"{self._name}_{part}")
