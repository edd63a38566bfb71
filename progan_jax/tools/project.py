"""Finds the w of a StyleGAN whose image is nearest to a given one.

    python -m progan_jax.tools.project MODEL IMAGE [--steps=1000] [--per_layer]

MODEL is anything that progan_jax.load takes, of a family with a mapping network. The
search begins at the average w. Images are compared by LPIPS, if its weights are in the
cache or named by --lpips_weights (see docs/metrics.md), and otherwise by pixels and
random features at several scales, which is no perceptual distance. Writes w and the
noise, a picture of target, average and result, and a film of the search:
MODEL/projections/<image>_<snapshot>_seed<seed>.npz, .png and .webp, by default.
"""

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from absl import flags
from jax.tree_util import Partial

from progan_jax.display.film import check_encoder, write_film
from progan_jax.display.frames import side_by_side
from progan_jax.errors import MissingWeightsError, UserError
from progan_jax.files import check_writable, write_whole, writing_to
from progan_jax.images import write_png
from progan_jax.inference.classes import find_class, list_classes
from progan_jax.inference.generator import TrainedGenerator, check_seed
from progan_jax.inference.load import open_generator, own_folder
from progan_jax.inference.projection import (
    Projected,
    ProjectionOptions,
    project,
)
from progan_jax.metrics.lpips import load_lpips, lpips
from progan_jax.metrics.multiscale import NAME as MULTISCALE
from progan_jax.metrics.multiscale import multiscale
from progan_jax.metrics.vgg import SMALLEST_SIDE
from progan_jax.prepare.target import read_target
from progan_jax.runtime.command_line import run
from progan_jax.runtime.compiler import keep_compiled

SNAPSHOT = flags.DEFINE_string(
    "snapshot", None, 'Name of a snapshot of a run, or "best"; the newest if unset.'
)

STEPS = flags.DEFINE_integer("steps", 1000, "Updates of w.", 1, 1_000_000)

SEED = flags.DEFINE_integer("seed", 0, "Seed of the search.")

PER_LAYER = flags.DEFINE_bool(
    "per_layer", False, "A w for each layer (w+): nearer images, less like the model's."
)

NOISE = flags.DEFINE_bool("noise", False, "Search for the noise, too.")

CLASS = flags.DEFINE_string(
    "class", None, "Class of the image, by number or name, if the model has any."
)

LPIPS_WEIGHTS = flags.DEFINE_string(
    "lpips_weights", "", "File of tools.convert_lpips; in the cache if unset."
)

FILM = flags.DEFINE_enum("film", "webp", ["webp", "mp4", "gif"], "Kind of film.")

OUT = flags.DEFINE_string("out", None, "Files to write, without a suffix.")

_FRAMES, _FPS = 100, 20

_LINES = 10  # Of progress.


def main(model: str, image: str) -> None:
    """Reads the flags, searches, and writes what was found."""
    check_seed("--seed", SEED.value)
    keep_compiled()
    generator = open_generator(model, SNAPSHOT.value, ("MODEL", "--snapshot"))
    generator.check_style_based("projection")
    label = _find_class(generator)
    side, channels = generator.resolution, generator.channels
    target, resized = read_target(Path(image), side, channels)
    distance, name = _open_distance(side, channels)
    snapshot = generator.name.replace("/", "_")
    stem = f"{Path(image).stem}_{snapshot}_seed{SEED.value}"
    out = Path(OUT.value) if OUT.value else own_folder(model) / "projections" / stem
    film = out.with_name(f"{out.name}.{FILM.value}")
    check_encoder(film)
    check_writable("--out", out)
    print("\n".join(line for line in (resized, f"distance: {name}") if line))
    options = ProjectionOptions(
        steps=STEPS.value,
        per_layer=PER_LAYER.value,
        noise=NOISE.value,
        seed=SEED.value,
    )
    every = max(1, STEPS.value // _FRAMES)
    states = project(generator, target, distance, options, label, every)
    shown = list(_with_lines(states))
    first, last = shown[0], shown[-1]
    about = {
        "model": generator.name,
        "target": image,
        "distance": name,
        "distance_before": first.distance,
        "distance_after": last.distance,
        "steps": last.step,
        "seed": SEED.value,
        "class": label,
    }
    with writing_to("--out", out):
        write_whole(out.with_name(out.name + ".npz"), _pack(last, about))
        picture = side_by_side([target, first.image, last.image])
        write_png(out.with_name(out.name + ".png"), picture)
    frames = (side_by_side([target, state.image]) for state in shown)
    write_film(film, frames, _FPS)
    print(f"{out}.npz, {out}.png (target, average, result), {film}")


def _find_class(generator: TrainedGenerator) -> int | None:
    """Returns the class of the image; None for a generator without classes."""
    classes, names = generator.num_classes, generator.class_names
    if CLASS.value is not None:
        return find_class("--class", CLASS.value, classes, names)
    if classes:
        choice = list_classes(names) or f"a number from 0 to {classes - 1}"
        raise UserError(f"--class is missing: name the class of IMAGE, {choice}")
    return None


def _open_distance(side: int, channels: int) -> tuple[Partial, str]:
    """Returns the distance to search by, and its name."""
    file = Path(LPIPS_WEIGHTS.value) if LPIPS_WEIGHTS.value else None
    small = side < SMALLEST_SIDE
    if small and file:
        raise UserError(
            f"--lpips_weights={file}: LPIPS needs {SMALLEST_SIDE} pixels a side, and "
            f"the model has {side}; leave it out"
        )
    try:
        weights = None if small else load_lpips(file)
    except MissingWeightsError:
        weights = None
    except UserError as error:
        raise type(error)(f"--lpips_weights={file or ''}: {error}") from error
    if weights:
        return lpips(weights), f"{weights.name}, {weights.fingerprint[:8]}"
    return multiscale(channels), f"{MULTISCALE} (no LPIPS, not perceptual)"


def _with_lines(states: Iterator[Projected]) -> Iterator[Projected]:
    """Prints a line at the start, the end and every tenth of the search."""
    told = -1
    for state in states:
        tenth = state.step * _LINES // STEPS.value
        if tenth > told:
            told = tenth
            print(
                f"step {state.step} of {STEPS.value}: distance {state.distance:.4g}",
                flush=True,
            )
        yield state


def _pack(state: Projected, about: dict[str, Any]) -> bytes:
    """Returns the .npz of w [num_layers, w_size], noise, and a description in JSON."""
    buffer = io.BytesIO()
    arrays: Any = {"w": state.w, "about": np.array(json.dumps(about)), **state.noise}
    np.savez(buffer, **arrays)
    return buffer.getvalue()


if __name__ == "__main__":
    run(main, "MODEL", "IMAGE")
