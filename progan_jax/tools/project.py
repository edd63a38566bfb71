"""Finds the w of a style-based generator whose image is nearest to a given one.

    python -m progan_jax.tools.project MODEL IMAGE [--steps=1000] [--per_layer]
    python -m progan_jax.tools.project MODEL IMAGE --pti [--pti_steps=350]

MODEL is anything that progan_jax.load takes, of a family with a mapping network. The
search begins at the average w, of the class if there are classes. Images are compared
by LPIPS, if its weights are in the cache or named by --lpips_weights (see
docs/metrics.md), and otherwise by pixels and random features at several scales, which
is no perceptual distance. --pti then tunes a copy of the generator until its image of
that w is nearer still. Writes, in MODEL/projections by default,
<image>_<snapshot>_seed<seed>.npz with w and the noise; .json with the distances; .png
with target, average, result, and distance against steps; a film of the search, .webp;
and with --pti _tuned, a snapshot of the tuned generator, which load opens.
"""

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from absl import flags
from jax.tree_util import Partial

from progan_jax.display.charts import Points
from progan_jax.display.film import check_encoder, write_film
from progan_jax.display.frames import side_by_side
from progan_jax.display.inversion import inversion_picture
from progan_jax.errors import MissingWeightsError, UserError
from progan_jax.files import check_writable, write_whole, writing_to
from progan_jax.images import write_png
from progan_jax.inference.classes import find_class, list_classes
from progan_jax.inference.generator import TrainedGenerator
from progan_jax.inference.inputs import check_seed
from progan_jax.inference.load import open_generator, own_folder
from progan_jax.inference.projection import (
    Projected,
    ProjectionOptions,
    project,
)
from progan_jax.inference.snapshot import write_snapshot
from progan_jax.inference.tuning import Tuned, TuningOptions, tune
from progan_jax.metrics.lpips import load_lpips, lpips
from progan_jax.metrics.multiscale import NAME as MULTISCALE
from progan_jax.metrics.multiscale import multiscale
from progan_jax.metrics.vgg import SMALLEST_SIDE
from progan_jax.models.common import to_weights
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

PTI = flags.DEFINE_bool("pti", False, "Tune a copy of the generator, too.")

PTI_STEPS = flags.DEFINE_integer("pti_steps", 350, "Updates of --pti.", 1, 1_000_000)

W_NOISE = flags.DEFINE_float(
    "w_noise", 0.05, "Noise on w at first, in its deviations.", 0, 100
)

FILM = flags.DEFINE_enum("film", "webp", ["webp", "mp4", "gif"], "Kind of film.")

OUT = flags.DEFINE_string("out", None, "Files to write, without a suffix.")

_FRAMES, _TUNING_FRAMES, _FPS = 100, 35, 20

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
    out = _find_place(model, image, generator.name.replace("/", "_"))
    print("\n".join(line for line in (resized, f"distance: {name}") if line))
    searched = _search(generator, target, distance, label)
    tuned = []
    if PTI.value:
        tuned = _tune(generator, searched[-1], target, distance, label)
    about = {
        "model": generator.name,
        "target": image,
        "distance": name,
        "class": label,
        **{flag.name: flag.value for flag in (SEED, PER_LAYER, NOISE, W_NOISE)},
        "search": [[state.step, state.distance] for state in searched],
        "tuning": [[state.step, state.distance] for state in tuned],
    }
    with writing_to("--out", out):
        _write(out, target, searched, tuned, about)
        written = [f"{out}.npz, .json, .png", str(_film(out))]
        if tuned:
            written.append(_write_tuned(out, generator, tuned[-1], about))
    print(", ".join(written))


def _find_place(model: str, image: str, snapshot: str) -> Path:
    """Returns the files to write, without a suffix, if they can be written."""
    stem = f"{Path(image).stem}_{snapshot}_seed{SEED.value}"
    out = Path(OUT.value) if OUT.value else own_folder(model) / "projections" / stem
    check_encoder(_film(out))
    check_writable("--out", out)
    return out


def _film(out: Path) -> Path:
    return out.with_name(f"{out.name}.{FILM.value}")


def _search(
    generator: TrainedGenerator,
    target: np.ndarray,
    distance: Partial,
    label: int | None,
) -> list[Projected]:
    options = ProjectionOptions(
        steps=STEPS.value,
        per_layer=PER_LAYER.value,
        noise=NOISE.value,
        w_noise=W_NOISE.value,
        seed=SEED.value,
    )
    every = max(1, STEPS.value // _FRAMES)
    states = project(generator, target, distance, options, label, every)
    return list(_with_lines(states, STEPS.value, "step"))


def _tune(
    generator: TrainedGenerator,
    found: Projected,
    target: np.ndarray,
    distance: Partial,
    label: int | None,
) -> list[Tuned]:
    options = TuningOptions(steps=PTI_STEPS.value, seed=SEED.value)
    every = max(1, PTI_STEPS.value // _TUNING_FRAMES)
    states = tune(generator, found, target, distance, options, label, every)
    shown: list[Tuned] = []
    for state in _with_lines(states, PTI_STEPS.value, "tuning step"):
        if shown:  # Only the last one is written.
            shown[-1] = shown[-1]._replace(variables={})
        shown.append(state)
    return shown


def _write(
    out: Path,
    target: np.ndarray,
    searched: list[Projected],
    tuned: list[Tuned],
    about: dict[str, Any],
) -> None:
    """Writes the arrays, the record, the picture and the film."""
    write_whole(out.with_name(out.name + ".npz"), _pack(searched[-1]))
    record = json.dumps(about, indent=2) + "\n"
    write_whole(out.with_name(out.name + ".json"), record)
    images = {
        "target": target,
        "average": searched[0].image,
        "found": searched[-1].image,
        **({"tuned": tuned[-1].image} if tuned else {}),
    }
    picture = inversion_picture(images, _lines(searched, tuned))
    write_png(out.with_name(out.name + ".png"), picture)
    frames = (side_by_side([target, state.image]) for state in [*searched, *tuned])
    write_film(_film(out), frames, _FPS)


def _lines(searched: list[Projected], tuned: list[Tuned]) -> dict[str, Points]:
    """Returns distances against steps, those of the tuning after the others."""
    lines: dict[str, Points] = {"search of w": [(s.step, s.distance) for s in searched]}
    if tuned:
        last = searched[-1].step
        lines["tuning"] = [(last + s.step, s.distance) for s in tuned]
    return lines


def _write_tuned(
    out: Path, generator: TrainedGenerator, last: Tuned, about: dict[str, Any]
) -> str:
    """Writes the tuned generator as a snapshot and returns its folder."""
    folder = out.with_name(f"{out.name}_tuned")
    of = {name: about[name] for name in ("model", "distance", "seed")}
    of |= {"target": Path(about["target"]).name, "steps": last.step}  # No path.
    info = {**generator.info, "tuned": of}
    write_snapshot(folder, to_weights(last.variables), info)
    return str(folder)


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


def _with_lines(states: Iterator[Any], steps: int, name: str) -> Iterator[Any]:
    """Prints a line at the start, the end and every tenth of a search."""
    told = -1
    for state in states:
        tenth = state.step * _LINES // steps
        if tenth > told:
            told = tenth
            found = f"distance {state.distance:.4g}"
            print(f"{name} {state.step} of {steps}: {found}", flush=True)
        yield state


def _pack(state: Projected) -> bytes:
    """Returns the .npz of w [num_layers, w_size] and noise."""
    buffer = io.BytesIO()
    arrays: Any = {"w": state.w, **state.noise}
    np.savez(buffer, **arrays)
    return buffer.getvalue()


if __name__ == "__main__":
    run(main, "MODEL", "IMAGE")
