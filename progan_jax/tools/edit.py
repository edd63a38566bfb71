"""Finds a direction by labels of images, and moves images along it.

    python -m progan_jax.tools.sample MODEL --num=200 --seed=1
    python -m progan_jax.tools.edit MODEL --labels=FILE.csv --label_seed=1
    python -m progan_jax.tools.edit MODEL --direction=FILE.npz [--layers=coarse]

FILE.csv has a line IMAGE,LABEL for each image of tools.sample that you have labelled:
its file or number, such as 000017.png or 17, and 0 or 1, or any number of which more
means more. --label_seed is the --seed, and --class the --class, that they were drawn
with. The direction is one of w, or of z for a Progressive GAN. It is written as .npz,
with a sheet, .png: a row for each of --seeds, a column for each of --strengths, in
standard deviations. Both lie in MODEL/edits, or in edits/ of the current folder if
MODEL is not a folder.
"""

import csv
import math
from pathlib import Path

import numpy as np
from absl import flags

from progan_jax.display.sheet import Row, Section, draw_sheet
from progan_jax.errors import UserError, reason
from progan_jax.files import writing_to
from progan_jax.images import write_png
from progan_jax.inference.classes import name_class
from progan_jax.inference.editing import (
    Direction,
    edit,
    read_direction,
    write_direction,
)
from progan_jax.inference.generator import TrainedGenerator, to_uint8
from progan_jax.inference.inputs import check_seed
from progan_jax.inference.learned_directions import find_direction
from progan_jax.inference.load import open_generator, own_folder
from progan_jax.inference.sampling import draw_inputs
from progan_jax.runtime.command_line import run
from progan_jax.runtime.compiler import keep_compiled
from progan_jax.tools.drawing import PsiParser, find_label, read_seeds

SNAPSHOT = flags.DEFINE_string(
    "snapshot", None, 'Name of a snapshot of a run, or "best"; the newest if unset.'
)

LABELS = flags.DEFINE_string("labels", None, "CSV of images and their labels.")

LABEL_SEED = flags.DEFINE_integer("label_seed", 0, "Seed of the labelled images.")

DIRECTION = flags.DEFINE_string("direction", None, "A direction that was written.")

CLASS = flags.DEFINE_string(
    "class", None, "Class of all images, by number or name; random if unset."
)

SEEDS = flags.DEFINE_string("seeds", "0,1,2,3", "Seeds of the images that are moved.")

STRENGTHS = flags.DEFINE_list(
    "strengths", ["-3", "-2", "-1", "0", "1", "2", "3"], "How far they are moved."
)

LAYERS = flags.DEFINE_string(
    "layers", None, "Layers that are moved: coarse, middle, fine or first-last; all."
)

PSI = flags.DEFINE(
    PsiParser(),
    "truncation_psi",
    None,
    "Weight of w against its average; the model's if unset.",
)

CUTOFF = flags.DEFINE_integer(
    "truncation_cutoff", None, "Number of layers that it applies to; the model's."
)

OUT = flags.DEFINE_string("out", None, "Files to write, without a suffix.")

_MOST = 1_000_000  # Images of a seed that labels may name.


def main(model: str) -> None:
    """Finds or reads the direction, and writes it with its sheet."""
    check_seed("--label_seed", LABEL_SEED.value)
    seeds, strengths = read_seeds("--seeds", SEEDS.value), read_strengths()
    if (LABELS.value is None) == (DIRECTION.value is None):
        raise UserError("--labels or --direction is needed, and not both; give one")
    keep_compiled()
    generator = open_generator(model, SNAPSHOT.value, ("MODEL", "--snapshot"))
    label = find_label(generator, CLASS.value)
    source = Path(LABELS.value or DIRECTION.value or "")
    if DIRECTION.value is not None:
        direction = read_direction(source, generator)
    else:
        direction = _fit(generator, read_labels(source), label)
    picture = _draw_sheet(generator, direction, seeds, strengths, label)
    name = f"{source.stem}_{generator.name.replace('/', '_')}"
    out = Path(OUT.value) if OUT.value else own_folder(model) / "edits" / name
    done = f"{out}.png"
    with writing_to("--out", out):
        write_png(out.with_name(out.name + ".png"), picture)
        if LABELS.value is not None:
            write_direction(out.with_name(out.name + ".npz"), direction)
            told = f"{direction.agreement:.0%} of held-out labels are told"
            done += f", .npz: {told} (chance: 50%)"
    print(done)


def read_labels(path: Path) -> dict[int, float]:
    """Returns the labels of images by their numbers, from lines IMAGE,LABEL.

    Raises:
      UserError: if the file cannot be read, or a line is not of this form.
    """
    labels: dict[int, float] = {}
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            for line, row in enumerate(csv.reader(file), 1):
                if row and not (line == 1 and _is_heading(row)):
                    number, value = _read_row(path, line, row)
                    labels[number] = value
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(
            f"--labels={path}: it cannot be read ({reason(error)}); name a CSV"
        ) from error
    if not labels:
        raise UserError(f"--labels={path}: it has no labels; write lines IMAGE,LABEL")
    return labels


def _is_heading(row: list[str]) -> bool:
    return not any(character.isdecimal() for character in row[0])


def _read_row(path: Path, line: int, row: list[str]) -> tuple[int, float]:
    stem = Path(row[0].strip()).stem
    try:
        number, value = int(stem), float(row[1])
        valid = len(row) == 2 and 0 <= number < _MOST and math.isfinite(value)
    except (ValueError, IndexError):
        valid = False
    if not valid:
        raise UserError(
            f"--labels={path}: line {line} is {','.join(row)!r}; write IMAGE,LABEL, as "
            "in 000017.png,1"
        )
    return number, value


def read_strengths() -> list[float]:
    """Returns --strengths.

    Raises:
      UserError: if one is no finite number, or there is none.
    """
    text = ",".join(STRENGTHS.value)
    try:
        strengths = [float(part) for part in STRENGTHS.value]
    except ValueError:
        strengths = []
    if not strengths or not np.isfinite(strengths).all():
        raise UserError(
            f"--strengths={text} must be numbers with commas between; write for "
            "example --strengths=-2,0,2"
        )
    return strengths


def _fit(
    generator: TrainedGenerator, labels: dict[int, float], label: int | None
) -> Direction:
    numbers = list(labels)
    z, classes = draw_inputs(
        generator.network, max(numbers) + 1, LABEL_SEED.value, label
    )
    chosen = None if classes is None else classes[numbers]
    return find_direction(generator, z[numbers], list(labels.values()), chosen)


def _draw_sheet(
    generator: TrainedGenerator,
    direction: Direction,
    seeds: list[int],
    strengths: list[float],
    label: int | None,
) -> np.ndarray:
    rows = []
    for seed in seeds:
        z, classes = draw_inputs(generator.network, 1, seed, label)
        images = edit(
            generator,
            z,
            direction,
            strengths,
            None if classes is None else classes[0],
            layers=LAYERS.value,
            truncation_psi=PSI.value,
            truncation_cutoff=CUTOFF.value,
            noise=generator.still_noise,
        )
        name = f"seed {seed}"
        if classes is not None:
            name += f"\nclass {name_class(int(classes[0]), generator.class_names)}"
        rows.append(Row(name, list(to_uint8(images[:, 0]))))
    columns = [f"{strength:+g}" if strength else "0" for strength in strengths]
    return draw_sheet(columns, [Section("", rows)])


if __name__ == "__main__":
    run(main, "MODEL")
