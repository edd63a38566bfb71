"""Writes images of a trained generator.

    python -m progan_jax.tools.sample MODEL --num=64 --seed=1 [--class=dog] [--grid]
    python -m progan_jax.tools.sample MODEL --num=8 --seed=1 --by_class

MODEL is any source of progan_jax.load: a run, a snapshot, hf://USER/NAME, a pickle of
the authors' program, or a network that ships with this package. PNGs are written to
--out: one file per image, or one grid. --by_class draws the same latents in every
class, one row each. The default is the folder samples/ of the run, or of the current
folder if MODEL is not a folder.
"""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from absl import flags

from progan_jax.errors import UserError
from progan_jax.files import writing_to
from progan_jax.images import tile, write_png
from progan_jax.inference.generator import (
    TrainedGenerator,
    check_seed,
    find_class,
    list_classes,
    name_class,
    to_uint8,
)
from progan_jax.inference.load import open_generator, own_folder
from progan_jax.runtime.command_line import run
from progan_jax.runtime.compiler import keep_compiled

SNAPSHOT = flags.DEFINE_string(
    "snapshot", None, 'Name of a snapshot of a run, or "best"; the newest if unset.'
)

NUM = flags.DEFINE_integer(
    "num", None, "Number of images, 64 if unset; with --by_class of latents, 8."
)

SEED = flags.DEFINE_integer("seed", 0, "Seed of the latents.")

CLASS = flags.DEFINE_string(
    "class", None, "Class of all images, by number or name; random if unset."
)

GRID = flags.DEFINE_bool("grid", False, "Write one PNG with all images.")

BY_CLASS = flags.DEFINE_bool("by_class", False, "Write one PNG, a row for each class.")

OUT = flags.DEFINE_string("out", None, "Folder for the PNGs; of one PNG, its name.")


def main(model: str) -> None:
    """Draws images and writes them."""
    _check_flags()
    keep_compiled()
    generator = open_generator(model, SNAPSHOT.value, ("MODEL", "--snapshot"))
    names, label = generator.class_names, None
    if CLASS.value is not None:
        label = find_class("--class", CLASS.value, generator.num_classes, names)
    of = "" if label is None else f"_class{label}"
    of += "_by_class" if BY_CLASS.value else ""
    name = f"{generator.name.replace('/', '_')}_seed{SEED.value}{of}"
    out = Path(OUT.value) if OUT.value else own_folder(model) / "samples" / name
    images, columns = _draw(generator, label)
    with writing_to("--out", out):
        print(write_samples(out, images, columns) + _classes(names, label))


def _classes(names: Sequence[str], label: int | None) -> str:
    """Returns which classes are shown, if they have names."""
    if names and label is not None:
        return f"; class {name_class(label, names)}"
    return f"; rows: {list_classes(names)}" if names and BY_CLASS.value else ""


def write_samples(out: Path, images: np.ndarray, columns: int | None) -> str:
    """Writes one PNG per image, or one grid; returns a line with the place."""
    if columns:
        path = out.with_name(out.name.removesuffix(".png") + ".png")
        write_png(path, tile(images, columns))
        return f"{len(images)} images in {path}"
    for number, image in enumerate(images):
        write_png(out / f"{number:06d}.png", image)
    for left in out.glob("[0-9]" * 6 + ".png"):  # Written before with a larger --num.
        if int(left.stem) >= len(images):
            left.unlink()
    return f"{len(images)} images in {out}"


def _check_flags() -> None:
    if NUM.value is not None and NUM.value < 1:
        raise UserError(f"--num={NUM.value} must be at least 1; raise it")
    check_seed("--seed", SEED.value)
    if BY_CLASS.value and CLASS.value is not None:
        raise UserError(
            f"--class={CLASS.value}: --by_class draws all classes; leave one of them "
            "out"
        )


def _draw(
    generator: TrainedGenerator, label: int | None
) -> tuple[np.ndarray, int | None]:
    """Returns images, and the number of columns of their grid, None for no grid."""
    if BY_CLASS.value:
        return _draw_classes(generator, NUM.value or 8)
    num = NUM.value or 64
    images = to_uint8(generator.sample(num, SEED.value, label))
    return images, math.ceil(math.sqrt(num)) if GRID.value else None


def _draw_classes(generator: TrainedGenerator, num: int) -> tuple[np.ndarray, int]:
    if not generator.num_classes:
        raise UserError("--by_class: this generator has no classes; write --grid")
    rows = [
        to_uint8(generator.sample(num, SEED.value, label))
        for label in range(generator.num_classes)
    ]
    return np.concatenate(rows), num


if __name__ == "__main__":
    run(main, "MODEL")
