"""Writes images of a trained generator.

    python -m progan_jax.tools.sample MODEL --num=64 --seed=1 [--class=dog] [--grid]
    python -m progan_jax.tools.sample MODEL --seeds=0-31,85 [--grid]
    python -m progan_jax.tools.sample MODEL --num=8 --seed=1 --by_class
    python -m progan_jax.tools.sample MODEL --num=8 --seed=1 --classes=tabby,207
    python -m progan_jax.tools.sample MODEL --truncation_psi=1 --noise=fixed

MODEL is any source of progan_jax.load: a run, a snapshot, hf://USER/NAME, a pickle of
the authors' program, or a network that ships with this package. PNGs are written to
--out: one file per image, or one grid. --seeds draws the first image of each seed, as
--num=1 --seed=SEED does. --by_class draws the same latents in every
class, one row each; --classes in those named, with their names beside the rows. The
default is the folder samples/ of the run, or of the current
folder if MODEL is not a folder. The last flags are a StyleGAN's.
"""

import hashlib
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from absl import flags

from progan_jax.display.sheet import Row, Section, draw_sheet
from progan_jax.errors import UserError
from progan_jax.files import writing_to
from progan_jax.images import tile, write_png
from progan_jax.inference.classes import list_classes, name_class
from progan_jax.inference.generator import TrainedGenerator, to_uint8
from progan_jax.inference.inputs import check_seed
from progan_jax.inference.load import open_generator, own_folder
from progan_jax.inference.styles import Style
from progan_jax.runtime.command_line import run
from progan_jax.runtime.compiler import keep_compiled
from progan_jax.tools.drawing import (
    PsiParser,
    find_label,
    find_labels,
    read_seeds,
    write_picture,
)

SNAPSHOT = flags.DEFINE_string(
    "snapshot", None, 'Name of a snapshot of a run, or "best"; the newest if unset.'
)

NUM = flags.DEFINE_integer(
    "num", None, "Number of images, 64 if unset; with --by_class of latents, 8."
)

SEED = flags.DEFINE_integer("seed", 0, "Seed of the latents.")

SEEDS = flags.DEFINE_string("seeds", None, "Seeds of one image each, as in 0-31,85.")

CLASS = flags.DEFINE_string(
    "class", None, "Class of all images, by number or name; random if unset."
)

GRID = flags.DEFINE_bool("grid", False, "Write one PNG with all images.")

BY_CLASS = flags.DEFINE_bool("by_class", False, "Write one PNG, a row for each class.")

CLASSES = flags.DEFINE_string(
    "classes", None, "Write one PNG, a row for each of these, as in 3,tabby."
)

TRUNCATION_PSI = flags.DEFINE(
    PsiParser(),
    "truncation_psi",
    None,
    "Weight of w against its average; the model's if unset.",
)

TRUNCATION_CUTOFF = flags.DEFINE_integer(
    "truncation_cutoff", None, "Number of layers that it applies to; likewise."
)

NOISE = flags.DEFINE_string("noise", None, "Noise: random (the default), fixed, none.")

OUT = flags.DEFINE_string("out", None, "Folder for the PNGs; of one PNG, its name.")

_COLUMNS = 8  # Of a row for each class, by default.

_MOST = 10**6  # Images of one call.

_LONGEST = 60  # Characters of --seeds in a file's name.


def main(model: str) -> None:
    """Draws images and writes them."""
    _check_flags()
    keep_compiled()
    generator = open_generator(model, SNAPSHOT.value, ("MODEL", "--snapshot"))
    names, label = generator.class_names, find_label(generator, CLASS.value)
    asked = TRUNCATION_PSI.value, TRUNCATION_CUTOFF.value, NOISE.value
    style = generator.read_style(*asked, prefix="--")
    of = "" if label is None else f"_class{label}"
    of += "_by_class" if BY_CLASS.value else ""
    of += _suffix(*asked)
    if CLASSES.value is not None:
        print(_write_sheet(model, generator, style, of))
        return
    name = f"{generator.name.replace('/', '_')}_{_seeds()}{of}"
    out = Path(OUT.value) if OUT.value else own_folder(model) / "samples" / name
    images, columns = _draw(generator, label, style)
    with writing_to("--out", out):
        if not (OUT.value or SEEDS.value or columns):
            _remove_beyond(out, len(images))
        done = write_samples(out, images, columns, _file_names()) + _classes(
            names, label
        )
        print(f"{done}; {style}" if style.noise else done)


def _remove_beyond(folder: Path, number: int) -> None:
    """Removes what a call with a larger --num wrote into its own folder."""
    for image in folder.glob("[0-9]" * 6 + ".png"):
        if int(image.stem) >= number:
            image.unlink()


def _seeds() -> str:
    """Returns the part of a file's name for the seeds, of few characters."""
    if SEEDS.value is None:
        return f"seed{SEED.value}"
    if len(SEEDS.value) <= _LONGEST:
        return f"seeds{SEEDS.value}"
    return f"seeds_{hashlib.sha256(SEEDS.value.encode()).hexdigest()[:8]}"


def _suffix(psi: float | None, cutoff: int | None, noise: str | None) -> str:
    """Returns the part of a file's name for the settings that were given."""
    given = {"_psi": psi, "_cutoff": cutoff, "_noise_": noise}
    return "".join(f"{k}{v}" for k, v in given.items() if v is not None)


def _classes(names: Sequence[str], label: int | None) -> str:
    """Returns which classes are shown, if they have names."""
    if names and label is not None:
        return f"; class {name_class(label, names)}"
    return f"; rows: {list_classes(names)}" if names and BY_CLASS.value else ""


def write_samples(
    out: Path, images: np.ndarray, columns: int | None, names: Sequence[str] = ()
) -> str:
    """Writes one PNG per image, or one grid; returns a line with the place.

    Args:
      out: Folder, or file of the grid.
      images: uint8 [N, r, r, channels].
      columns: Of a grid; None for files, 000000.png and so on by default.
      names: Of those files, without their suffix.
    """
    if columns:
        path = out.with_name(out.name.removesuffix(".png") + ".png")
        write_png(path, tile(images, columns))
        return f"{len(images)} images in {path}"
    names = names or [f"{number:06d}" for number in range(len(images))]
    for name, image in zip(names, images, strict=True):
        write_png(out / f"{name}.png", image)
    return f"{len(images)} images in {out}"


def _check_flags() -> None:
    if NUM.value is not None and NUM.value < 1:
        raise UserError(f"--num={NUM.value} must be at least 1; raise it")
    if (NUM.value or 0) > _MOST:
        raise UserError(
            f"--num={NUM.value} must be at most {_MOST:,}, as files are numbered with "
            "six digits; lower it, and draw others by another --seed"
        )
    check_seed("--seed", SEED.value)
    if SEEDS.value is not None:
        _check_seeds()
    kinds = {"class": CLASS.value, "classes": CLASSES.value, "by_class": BY_CLASS.value}
    asked = [f"--{name}" for name, value in kinds.items() if value not in (None, False)]
    if len(asked) > 1:
        raise UserError(f"{' and '.join(asked)} exclude each other; give one of them")


def _check_seeds() -> None:
    read_seeds("--seeds", SEEDS.value or "")
    others = {"num": NUM, "seed": SEED, "by_class": BY_CLASS, "classes": CLASSES}
    given = [f"--{name}" for name, flag in others.items() if flag.present]
    if given:
        raise UserError(f"--seeds and {given[0]} exclude each other; give one of them")


def _file_names() -> list[str]:
    """Returns the names of the images of --seeds; [] without it."""
    if SEEDS.value is None:
        return []
    return [f"seed{seed:04d}" for seed in read_seeds("--seeds", SEEDS.value)]


def _write_sheet(model: str, generator: TrainedGenerator, style: Style, of: str) -> str:
    """Writes a row for each class of --classes; returns a line with the place."""
    labels, names = find_labels(generator, CLASSES.value or ""), generator.class_names
    rows = [
        Row(name_class(label, names), list(images))
        for label in labels
        for images in [_draw_class(generator, label, style)]
    ]
    picture = draw_sheet([""] * len(rows[0].images), [Section("", rows)])
    shown = f"samples/seed{SEED.value}_classes{'-'.join(map(str, labels))}{of}"
    done = write_picture(model, generator, shown, OUT.value, picture)
    return f"{done}; {style}" if style.noise else done


def _draw(
    generator: TrainedGenerator, label: int | None, style: Style
) -> tuple[np.ndarray, int | None]:
    """Returns images, and the number of columns of their grid, None for no grid."""
    if BY_CLASS.value:
        return _draw_classes(generator, style)
    if SEEDS.value is None:
        images = generator.sample(NUM.value or 64, SEED.value, label, **style._asdict())
    else:
        seeds = read_seeds("--seeds", SEEDS.value)
        one = [generator.sample(1, seed, label, **style._asdict()) for seed in seeds]
        images = np.concatenate(one)
    return to_uint8(images), math.ceil(math.sqrt(len(images))) if GRID.value else None


def _draw_classes(generator: TrainedGenerator, style: Style) -> tuple[np.ndarray, int]:
    if not generator.num_classes:
        raise UserError(
            f"--by_class=True: {generator.name} has no classes, so there is no row for "
            "each; leave it out, or give --grid"
        )
    classes = range(generator.num_classes)
    rows = [_draw_class(generator, label, style) for label in classes]
    return np.concatenate(rows), len(rows[0])


def _draw_class(generator: TrainedGenerator, label: int, style: Style) -> np.ndarray:
    """Returns the images of a row, uint8 [--num, r, r, channels]."""
    num = NUM.value or _COLUMNS
    return to_uint8(generator.sample(num, SEED.value, label, **style._asdict()))


if __name__ == "__main__":
    run(main, "MODEL")
