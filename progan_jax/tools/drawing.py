"""What the tools that draw from a model share; not a command."""

import re
from pathlib import Path

import numpy as np
from absl import flags

from progan_jax.errors import UserError
from progan_jax.files import writing_to
from progan_jax.images import write_png
from progan_jax.inference.classes import find_class
from progan_jax.inference.generator import TrainedGenerator
from progan_jax.inference.load import own_folder
from progan_jax.inference.styles import MOST_PSI

_NUMBERS = {1: "one", 2: "two"}

_MOST_SEEDS = 1_000_000


class PsiParser(flags.ArgumentParser[float]):
    """Reads --truncation_psi."""

    def parse(self, argument: str) -> float:
        """Returns psi; raises ValueError, to which absl adds the flag."""
        rule = f"must be a number in [-{MOST_PSI:g}, {MOST_PSI:g}]; change it"
        try:
            psi = float(argument)
        except ValueError as error:
            raise ValueError(rule) from error
        if not abs(psi) <= MOST_PSI:  # NaN is not.
            raise ValueError(rule)
        return psi


def read_seeds(flag: str, text: str, least: int = 1) -> list[int]:
    """Reads "1,5,9" and ranges, as in "0-31,85"; repeated seeds count once.

    Args:
      flag: The flag's name, with its dashes.
      text: Its value.
      least: Number of seeds at least, 1 or 2.

    Raises:
      UserError: if there are fewer whole numbers from 0 to 2**32 - 1, or too many.
    """
    parts = [
        re.fullmatch(r"\s*(\d{1,10})(?:-(\d{1,10}))?\s*", p) for p in text.split(",")
    ]
    ranges = [range(int(p[1]), int(p[2] or p[1]) + 1) for p in parts if p]
    first = {seed for r in ranges for seed in r[:2]}  # Ranges may be huge.
    if (
        len(ranges) != len(parts)
        or not all(ranges)
        or len(first) < least
        or max(r[-1] for r in ranges) >= 2**32
    ):
        raise UserError(
            f"{flag}={text} must be {_NUMBERS[least]} or more whole numbers in "
            "[0, 2**32) or ranges of them, with commas between; write for example "
            f"{flag}=1,5,9 or {flag}=0-31,85"
        )
    if sum(map(len, ranges)) > _MOST_SEEDS:
        raise UserError(
            f"{flag}={text} must be at most {_MOST_SEEDS:,} seeds; shorten the ranges"
        )
    return list(dict.fromkeys(seed for numbers in ranges for seed in numbers))


def find_label(generator: TrainedGenerator, wanted: str | None) -> int | None:
    """Returns the class that --class names; None for random ones.

    Raises:
      UserError: if there is no such class.
    """
    if wanted is None:
        return None
    classes, names = generator.num_classes, generator.class_names
    return find_class("--class", wanted, classes, names)


def find_labels(generator: TrainedGenerator, wanted: str, least: int = 1) -> list[int]:
    """Returns the classes that --classes names, as in 3,tabby.

    Raises:
      UserError: if there is no such class, or there are fewer than `least`, 1 or 2.
    """
    classes, names = generator.num_classes, generator.class_names
    parts = [part for part in wanted.split(",") if part.strip()]
    if len(parts) < least:
        raise UserError(
            f"--classes={wanted} must be {_NUMBERS[least]} or more classes, by number "
            "or name, with commas between; add some"
        )
    return [find_class("--classes", part, classes, names) for part in parts]


def write_picture(
    model: str,
    generator: TrainedGenerator,
    name: str,
    out: str | None,
    picture: np.ndarray,
) -> str:
    """Writes a PNG and returns a line with its place.

    Args:
      model: What the user named.
      generator: What was opened.
      name: What the picture shows, a folder of the model's, and the end of its name
        after "/".
      out: The flag --out.
      picture: uint8 [h, w, 3].

    Raises:
      UserError: if it cannot be written.
    """
    folder, _, shows = name.partition("/")
    file = f"{generator.name.replace('/', '_')}_{shows}.png"
    path = Path(out) if out else own_folder(model) / folder / file
    path = path.with_name(path.name.removesuffix(".png") + ".png")
    with writing_to("--out", path):
        write_png(path, picture)
    height, width, _ = picture.shape
    return f"{path}: {width}x{height}"
