"""Trains the classifier of the classifier score, or of the mode counts.

    python -m progan_jax.tools.train_classifier --config=configs/cifar10.py \
        --config.data.data_dir=DIR --mirror --out=classifiers/cifar10

The set is that of the configuration: config.data.name, data_dir and split, at
config.model.resolution. Writes OUT.safetensors, OUT.json and OUT.csv, the values of
all epochs.
"""

import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
from absl import flags
from ml_collections import config_flags
from tqdm import tqdm

from progan_jax.data import sources
from progan_jax.data.pyramid import Pyramid
from progan_jax.errors import UserError
from progan_jax.files import csv_text, write_whole, writing_to
from progan_jax.inference.inputs import check_seed
from progan_jax.metrics.classifier import (
    ARCHITECTURES,
    SIDES,
    make_classifier,
    make_network,
    write_classifier,
)
from progan_jax.metrics.classifier_training import (
    Epoch,
    LabelledImages,
    TrainOptions,
    train,
)
from progan_jax.runtime.command_line import run
from progan_jax.runtime.compiler import keep_compiled
from progan_jax.runtime.environment import environment

CONFIG = config_flags.DEFINE_config_file("config", None, "Names the image set.")

OUT = flags.DEFINE_string("out", None, "Files to write, without a suffix.")

TEST_SPLIT = flags.DEFINE_string(
    "test_split", "test", "Split to test on; empty holds every tenth image back."
)

ARCHITECTURE = flags.DEFINE_enum(
    "architecture",
    "residual",
    sorted(ARCHITECTURES),
    "residual: for the classifier score; digit: for the mode counts.",
)

WIDTH = flags.DEFINE_integer("width", 32, "Maps of the first layer.", lower_bound=1)

EPOCHS = flags.DEFINE_integer("epochs", 16, "Passes over the images.", lower_bound=1)

MINUTES = flags.DEFINE_float("minutes", math.inf, "Maximum wall-clock minutes.")

MIRROR = flags.DEFINE_bool("mirror", False, "Images may be flipped left to right.")

SEED = flags.DEFINE_integer("seed", 0, "Of weights, order and augmentation.")

_BAR = "{percentage:5.1f}%|{bar}| {elapsed}<{remaining}"


def main() -> None:
    """Reads the flags, trains, writes, and prints the classifier."""
    out = _check_flags()
    keep_compiled()
    train_set, test_set, pyramid = _load_sets(CONFIG.value)
    _check_place(out)
    options = TrainOptions(
        epochs=EPOCHS.value,
        minutes=MINUTES.value,
        seed=SEED.value,
        mirror=MIRROR.value,
    )
    info = {
        "architecture": ARCHITECTURE.value,
        "width": WIDTH.value,
        "num_classes": pyramid.num_classes,
        "resolution": pyramid.resolution,
        "channels": pyramid.channels,
        "data_set": {
            "name": pyramid.name,
            "split": CONFIG.value.data.split,
            "fingerprint": pyramid.fingerprint,
        },
    }
    variables, curve = _train(info, train_set, test_set, options)
    last = curve[-1]
    info |= {
        "test_accuracy": last.test_accuracy,
        "training": {
            "seed": options.seed,
            "mirror": options.mirror,
            "epochs": options.epochs,
            "epochs_begun": len(curve),
            "minutes": options.minutes if math.isfinite(options.minutes) else None,
            "images": len(train_set.images),
            "test_images": len(test_set.images),
            "test_split": TEST_SPLIT.value or "every tenth image",
            "wall_sec": round(last.wall_sec, 1),
            "cpu_sec": round(last.cpu_sec, 1),
        },
        "environment": environment(),
    }
    classifier = make_classifier(variables, info)
    write_classifier(out, classifier)
    write_whole(out.with_name(out.name + ".csv"), csv_text([Epoch._fields, *curve]))
    print(f"{classifier}: {out}.safetensors, {out}.json, {out}.csv")


def _check_flags() -> Path:
    if not OUT.value:
        raise UserError("--out is missing: set it, as in --out=classifiers/cifar10")
    if not MINUTES.value > 0:
        raise UserError(f"--minutes={MINUTES.value} must be more than 0; raise it")
    check_seed("--seed", SEED.value)
    return Path(OUT.value)


def _check_place(out: Path) -> None:
    """Raises UserError if a classifier is there, or the folder is not writable."""
    if out.with_name(out.name + ".json").exists():
        raise UserError(
            f"--out={out}: there is a classifier already; name another, or remove it"
        )
    with writing_to("--out", out):
        out.parent.mkdir(parents=True, exist_ok=True)
        write_whole(out.with_name(out.name + ".csv"), "")


def _load_sets(config: Any) -> tuple[LabelledImages, LabelledImages, Pyramid]:
    """Returns the images for training and for testing, and the set of the former."""
    side = config.model.resolution
    if side not in SIDES:
        raise UserError(
            f"config.model.resolution = {side} must be one of {SIDES} for a "
            "classifier; change it"
        )
    if TEST_SPLIT.value == config.data.split:
        raise UserError(
            f"--test_split={TEST_SPLIT.value} is config.data.split, which is trained "
            "on; name another split, or none by --test_split="
        )
    pyramid = _load(config, config.data.split)
    images = _labelled(pyramid)
    if not TEST_SPLIT.value:
        # Every tenth, since sets may be in the order of their classes.
        held = np.arange(len(images.labels)) % 10 == 9
        return _take(images, ~held), _take(images, held), pyramid
    try:
        test = _load(config, TEST_SPLIT.value)
    except UserError as error:
        raise UserError(
            f"--test_split={TEST_SPLIT.value}: {error}; or hold every tenth image "
            "back by --test_split="
        ) from error
    return images, _labelled(test), pyramid


def _load(config: Any, split: str) -> Pyramid:
    data = config.data
    return sources.load(
        data.name, data.data_dir, split, config.model.resolution, data.max_memory_mib
    )


def _labelled(pyramid: Pyramid) -> LabelledImages:
    if pyramid.labels is None or pyramid.num_classes < 2:
        raise UserError(
            f"config.data.name = {pyramid.name!r}: it has no classes; choose a set "
            "that has some"
        )
    return LabelledImages(pyramid.levels[pyramid.resolution][:], pyramid.labels)


def _take(images: LabelledImages, rows: np.ndarray) -> LabelledImages:
    return LabelledImages(images.images[rows], images.labels[rows])


def _train(
    info: dict[str, Any],
    train_set: LabelledImages,
    test_set: LabelledImages,
    options: TrainOptions,
) -> tuple[dict[str, Any], list[Epoch]]:
    with tqdm(total=1.0, disable=None, leave=False, bar_format=_BAR) as bar:

        def move(progress: float) -> None:
            bar.update(min(progress, 1.0) - bar.n)

        def show(epoch: Epoch) -> None:
            line = (
                f"epoch {epoch.epoch:<3d} loss {epoch.loss:.3f} "
                f"train {epoch.train_accuracy:.2%} test {epoch.test_accuracy:.2%} "
                f"wall {epoch.wall_sec:,.0f} s cpu {epoch.cpu_sec:,.0f} s"
            )
            tqdm.write(line, file=sys.stdout)
            sys.stdout.flush()

        network = make_network(info)
        return train(network, train_set, test_set, options, move, show)


if __name__ == "__main__":
    flags.mark_flag_as_required("config")
    run(main)
