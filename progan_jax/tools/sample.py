"""Writes images from the averaged generator of a run's snapshot.

    python -m progan_jax.tools.sample --run=DIR --num=64 --seed=1 [--class=K] [--grid]

PNGs go to --out, DIR/samples/<snapshot>_seed<seed> by default: one file per image, or
one grid. The snapshot knows its resolution and how far its fade had come.
"""

import math
from pathlib import Path

import numpy as np
from absl import flags

from progan_jax.errors import UserError
from progan_jax.images import tile, write_png
from progan_jax.runtime.command_line import run
from progan_jax.runtime.compilation_cache import keep_compiled
from progan_jax.runtime.snapshot import find_snapshot
from progan_jax.trained import open_snapshot, to_uint8
from progan_jax.trained_inputs import check_label, check_seed

RUN = flags.DEFINE_string("run", None, "Folder of a run, or of one of its snapshots.")
SNAPSHOT = flags.DEFINE_string("snapshot", None, "Name of a snapshot; newest if unset.")
NUM = flags.DEFINE_integer("num", 64, "Number of images.")
SEED = flags.DEFINE_integer("seed", 0, "Seed of the latents.")
CLASS = flags.DEFINE_integer("class", None, "Class of all images; random if unset.")
GRID = flags.DEFINE_bool("grid", False, "Write one PNG with all images.")
OUT = flags.DEFINE_string("out", None, "Folder for the PNGs.")


def main() -> None:
    """Reads the flags, draws and writes."""
    if not RUN.value:
        raise UserError(
            "--run is missing: name the folder of a run, as in --run=runs/X"
        )
    if NUM.value < 1:
        raise UserError(f"--num={NUM.value} must be at least 1; raise it")
    check_seed("--seed", SEED.value)
    snapshot = find_snapshot(Path(RUN.value), SNAPSHOT.value)
    keep_compiled()
    generator = open_snapshot(snapshot)
    if CLASS.value is not None:
        check_label("--class", CLASS.value, generator.num_classes)
    images = to_uint8(generator.sample(NUM.value, SEED.value, CLASS.value))
    name = f"{snapshot.name}_seed{SEED.value}"
    out = Path(OUT.value) if OUT.value else Path(RUN.value) / "samples" / name
    try:
        print(write_samples(out, images, GRID.value))
    except OSError as error:
        raise UserError(f"--out={out}: {error}; choose another folder") from error


def write_samples(out: Path, images: np.ndarray, grid: bool) -> str:
    """Writes one PNG per image or one grid; returns a line that tells where."""
    if grid:
        columns = math.ceil(math.sqrt(len(images)))
        path = out.with_name(out.name + ".png")
        write_png(path, tile(images, columns))
        return f"{len(images)} images in {path}"
    for number, image in enumerate(images):
        write_png(out / f"{number:06d}.png", image)
    return f"{len(images)} images in {out}"


if __name__ == "__main__":
    run(main)
