"""What the page answers to its fields: pictures as HTML, or a UserError."""

import math

import numpy as np

from progan_jax.explorer.fields import read_class, read_seed
from progan_jax.explorer.markup import picture
from progan_jax.explorer.pictures import Explorer
from progan_jax.trained_inputs import name_class

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
