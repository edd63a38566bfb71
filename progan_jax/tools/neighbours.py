"""Draws the real images nearest to a generator's: does it copy its data?

    python -m progan_jax.tools.neighbours MODEL [--features=vgg19 --weights=FILE]

MODEL is anything that progan_jax.load takes, if the set that it was trained on is
there: a run, or a snapshot or a published network with --data_dir. The fakes are the
first images of tools.sample under the same seed; they are compared with all images of
that set. Writes a picture, fakes in the top row and their neighbours below them, the
nearest first, and a table of the neighbours' places in the set, with their classes
if they have any: MODEL/neighbours/<snapshot>_<features>_seed<seed>.png and .csv, by
default.
"""

from pathlib import Path
from typing import Any

import numpy as np
from absl import flags
from tqdm import tqdm

from progan_jax.data.pyramid import Pyramid
from progan_jax.errors import UserError
from progan_jax.files import csv_text, write_whole, writing_to
from progan_jax.images import upscale_nearest, write_png
from progan_jax.inference.generator import TrainedGenerator, to_uint8
from progan_jax.inference.inputs import check_seed
from progan_jax.inference.load import open_generator, own_folder
from progan_jax.metrics.image_sources import check_trained_on, chunk_size
from progan_jax.metrics.inception import InceptionExtractor
from progan_jax.metrics.inception_graph import TAPS
from progan_jax.metrics.inception_weights import load_inception
from progan_jax.metrics.inputs import Features
from progan_jax.metrics.neighbours import Neighbours, draw, nearest_neighbours, pixels
from progan_jax.metrics.vgg import SMALLEST_SIDE, load_vgg, vgg_features
from progan_jax.runtime.command_line import run
from progan_jax.runtime.compiler import keep_compiled
from progan_jax.training.start import open_set
from progan_jax.training.stored_config import complete_config
from progan_jax.training.workdir import read_config

SNAPSHOT = flags.DEFINE_string("snapshot", None, "Name of a snapshot; newest if unset.")

DATA_DIR = flags.DEFINE_string("data_dir", None, "Folder of the sets; the run's own.")

FEATURES = flags.DEFINE_enum(
    "features",
    "pixels",
    ["pixels", "vgg19", *TAPS],
    "What is compared: pixels, VGG-19's five layers as in the paper, or an Inception "
    "tap.",
)

WEIGHTS = flags.DEFINE_string("weights", "", "File of the weights of the features.")

CENTRE_CROP = flags.DEFINE_bool("centre_crop", False, "Compare only the centres.")

NUM = flags.DEFINE_integer("num", 8, "Number of fakes.", lower_bound=1)

K = flags.DEFINE_integer("k", 3, "Neighbours of each.", lower_bound=1)

SEED = flags.DEFINE_integer("seed", 0, "Seed of the fakes.")

OUT = flags.DEFINE_string("out", None, "Files to write, without a suffix.")


def main(model: str) -> None:
    """Reads the flags, finds the neighbours, and writes picture and table."""
    _check_flags()
    keep_compiled()
    generator = open_generator(model, SNAPSHOT.value, ("MODEL", "--snapshot"))
    config = _config(model, generator)
    pyramid = _load_set(config)
    check_trained_on(generator.name, generator.info, pyramid)
    features = _open_features(config.model.resolution)
    fakes = to_uint8(generator.sample(NUM.value, SEED.value))
    fakes = upscale_nearest(fakes, config.model.resolution // generator.resolution)
    found = _search(fakes, pyramid, features)
    name = f"{generator.name.replace('/', '_')}_{FEATURES.value}_seed{SEED.value}"
    out = Path(OUT.value) if OUT.value else own_folder(model) / "neighbours" / name
    images = pyramid.levels[fakes.shape[1]][found.indices.ravel()]
    images = images.reshape(*found.indices.shape, *images.shape[1:])
    with writing_to("--out", out):
        write_png(out.with_name(out.name + ".png"), draw(fakes, images))
        write_whole(out.with_name(out.name + ".csv"), _table(found, pyramid))
    done = f"{len(fakes)} fakes above {K.value} neighbours each: {out}.png, {out}.csv"
    style = str(generator.read_style())
    print(f"{done}; {style}" if style else done)


def _check_flags() -> None:
    check_seed("--seed", SEED.value)
    if WEIGHTS.value and FEATURES.value == "pixels":
        raise UserError(
            f"--weights={WEIGHTS.value}: pixels need none; set --features, or leave "
            "--weights out"
        )


def _config(model: str, generator: TrainedGenerator) -> Any:
    """Returns the configuration that a generator was trained with."""
    if (Path(model) / "config.json").is_file():
        return read_config(Path(model), "MODEL")
    if "config" not in generator.info:
        raise UserError(
            f"MODEL={model}: it does not say which images it was trained on "
            "(imported networks do not record their training data); name a run, or a "
            "network that a run published"
        )
    try:
        return complete_config(generator.info["config"])
    except ValueError as error:
        raise UserError(
            f"MODEL={model}: its description is damaged: {error}; name another"
        ) from error


def _load_set(config: Any) -> Pyramid:
    if DATA_DIR.value is not None:
        config.data.data_dir = DATA_DIR.value
    pyramid = open_set(config)
    if K.value > pyramid.num_images:
        raise UserError(
            f"--k={K.value}: {pyramid.name} has {pyramid.num_images:,} images; lower it"
        )
    return pyramid


def _open_features(resolution: int) -> Features:
    """Returns the function from images to features that the flags name."""
    if FEATURES.value == "pixels":
        return pixels
    weights = Path(WEIGHTS.value) if WEIGHTS.value else None
    if FEATURES.value != "vgg19":
        return InceptionExtractor(load_inception(weights)).at(FEATURES.value)
    side = resolution // 2 if CENTRE_CROP.value else resolution
    if side < SMALLEST_SIDE:
        raise UserError(
            f"--features=vgg19 needs {SMALLEST_SIDE} pixels a side, here {side}; "
            "leave --centre_crop out, or choose pixels"
        )
    return vgg_features(load_vgg(weights))


def _search(fakes: np.ndarray, pyramid: Pyramid, features: Features) -> Neighbours:
    level, size = pyramid.levels[fakes.shape[1]], chunk_size(2 * fakes.shape[1])
    starts = range(0, len(level), size)
    chunks = (level[np.arange(i, min(i + size, len(level)))] for i in starts)
    bar = tqdm(chunks, total=len(starts), unit="chunk", disable=None, leave=False)
    try:
        return nearest_neighbours(
            fakes, bar, features, k=K.value, centre_crop=CENTRE_CROP.value
        )
    except ValueError as error:
        raise UserError(f"--features={FEATURES.value}: {error}") from error


def _table(found: Neighbours, pyramid: Pyramid) -> str:
    labels, names = pyramid.labels, pyramid.class_names
    classes = [] if labels is None else ["class"]
    rows = [["fake", "rank", "real", "distance", *classes]]
    for (fake, rank), place in np.ndenumerate(found.indices):
        row = [fake, rank + 1, place, f"{found.distances[fake, rank]:.6g}"]
        if labels is not None:
            label = labels[place]
            row.append(names[label] if names else label)
        rows.append(row)
    return csv_text(rows)


if __name__ == "__main__":
    run(main, "MODEL")
