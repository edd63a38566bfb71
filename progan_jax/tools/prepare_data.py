"""Makes images ready for training: a resolution pyramid, as TFDS sets.

    python -m progan_jax.tools.prepare_data SOURCE --out=DIR --resolution=R

SOURCE is one of
    tfds:NAME[/CONFIG]     a prepared TFDS set in --data_dir
    lmdb:PATH              an LMDB as LSUN publishes it
    folder:PATH, zip:PATH  PNG, JPEG and WebP files; classes by folder or --labels
    celeba_hq:PATH         CelebA's photographs, aligned by --landmarks=FILE
    digits                 scikit-learn's handwritten digits
    synthetic:N            noise, for benchmarks

The same command again goes on after a stop. Training then takes
    --config.data.data_dir=DIR --config.data.name=NAME
"""

import csv
import io
import os
import re
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from absl import flags
from tqdm import tqdm

from progan_jax.data.celeba_hq_reader import AlignedReader
from progan_jax.data.checks import check_local
from progan_jax.data.decoding import BadImage, decode, square
from progan_jax.data.layout import RECORD
from progan_jax.data.readers import (
    DigitsReader,
    FileReader,
    LmdbReader,
    Reader,
    Subset,
    SyntheticReader,
    fingerprint,
)
from progan_jax.data.shards import Settings, Shard, stored_bytes
from progan_jax.data.tfds_reader import TfdsReader
from progan_jax.data.writing import finish, write_pyramid
from progan_jax.errors import UserError
from progan_jax.files import write_whole
from progan_jax.images import tile, write_png
from progan_jax.runtime.command_line import run_with_argument

OUT = flags.DEFINE_string("out", None, "Folder of prepared sets.")
NAME = flags.DEFINE_string("name", None, "Name of the set; the source's by default.")
RESOLUTION = flags.DEFINE_integer("resolution", None, "Side of the largest level.")
CHANNELS = flags.DEFINE_integer("channels", 3, "1 (grey) or 3 (RGB).")
CROP = flags.DEFINE_enum(
    "crop", "centre", ["centre", "celeba", "none"], "How images become square."
)
PAD = flags.DEFINE_enum(
    "pad",
    "none",
    ["none", "black", "mirror"],
    "How smaller images are brought to size.",
)
LABELS = flags.DEFINE_string("labels", None, "CSV of file,class for folder: and zip:.")
LANDMARKS = flags.DEFINE_string(
    "landmarks", None, "CelebA's list_landmarks_celeba.txt, for celeba_hq:."
)
EXPLAIN_IMAGE = flags.DEFINE_string(
    "explain_image", None, "Draw the steps of one photograph of celeba_hq: to --out."
)
DATA_DIR = flags.DEFINE_string("data_dir", "", "TFDS root for tfds:.")
SPLIT = flags.DEFINE_string("split", "train", "Split for tfds:.")
MAX_IMAGES = flags.DEFINE_integer("max_images", None, "Take only the first so many.")
RAW_UP_TO = flags.DEFINE_integer("raw_up_to", 128, "Larger levels are stored as PNG.")
WORKERS = flags.DEFINE_integer("workers", os.cpu_count() or 1, "Processes.")
STRICT = flags.DEFINE_bool("strict", False, "Let a bad image end the work.")
DRY_RUN = flags.DEFINE_bool("dry_run", False, "Only tell what it would take.")

_CONTACT_SHEET = (16, 8)


def main(source: str) -> None:
    """Reads the flags, writes the pyramid and tells of it."""
    settings = _settings()
    reader = _open(source, settings)
    if EXPLAIN_IMAGE.value:
        _explain(reader, EXPLAIN_IMAGE.value)
        return
    if MAX_IMAGES.value is not None:
        reader = Subset(reader, MAX_IMAGES.value)
    if NAME.value:
        reader.name = NAME.value
    if not re.fullmatch(r"\w[\w-]*", reader.name):
        raise UserError(
            f"--name={reader.name} must be of letters, digits, _ and -; set another"
        )
    folder = Path(OUT.value or "") / reader.name
    if (folder / RECORD).exists():
        raise UserError(
            f"--out: {folder} holds a finished pyramid; train with it, or remove it"
        )
    if DRY_RUN.value:
        print(_estimate(reader, folder, settings))
        return
    identity = {
        "source": source,
        "images": fingerprint(reader),
        "resolution": settings.resolution,
        "channels": settings.channels,
        "crop": settings.crop,
        "pad": settings.pad,
        "raw_up_to": settings.raw_up_to,
        "strict": settings.strict,
    }
    started = time.perf_counter()
    with tqdm(
        total=len(reader), unit="img", disable=not sys.stderr.isatty(), leave=False
    ) as bar:

        def report(shard: Shard) -> None:
            bar.update(shard.num_images + len(shard.skipped))

        shards = write_pyramid(
            reader, folder, settings, identity, WORKERS.value, report
        )
    _write_skipped(folder / "skipped.csv", shards)
    write_png(folder / "contact_sheet.png", _contact_sheet(reader, settings))
    finish(folder, reader, settings, identity, shards)
    print(_summary(folder, reader, shards, time.perf_counter() - started))


def _explain(reader: Reader, name: str) -> None:
    if not isinstance(reader, AlignedReader):
        raise UserError("--explain_image is for celeba_hq: sources; leave it out")
    path = Path(OUT.value or "") / f"{Path(name).stem}_steps.png"
    write_png(path, reader.draw(name))
    print(path)


def _settings() -> Settings:
    if not OUT.value:
        raise UserError("--out is missing: name a folder for prepared sets")
    check_local("--out", OUT.value)
    resolution = RESOLUTION.value
    if resolution is None:
        raise UserError("--resolution is missing: set it, as in --resolution=128")
    if not 4 <= resolution <= 1024 or resolution & (resolution - 1):
        raise UserError(
            f"--resolution={resolution} must be a power of two from 4 to 1024; choose "
            "one"
        )
    if CHANNELS.value not in (1, 3):
        raise UserError(f"--channels={CHANNELS.value} must be 1 or 3; choose one")
    for flag in (WORKERS, MAX_IMAGES):
        if flag.value is not None and flag.value < 1:
            raise UserError(f"--{flag.name}={flag.value} must be at least 1; raise it")
    crop: Any = CROP.value
    pad: Any = PAD.value
    return Settings(
        resolution=resolution,
        channels=CHANNELS.value,
        crop=crop,
        pad=pad,
        raw_up_to=RAW_UP_TO.value,
        strict=STRICT.value,
    )


def _open(source: str, settings: Settings) -> Reader:
    kind, _, rest = source.partition(":")
    labels = Path(LABELS.value) if LABELS.value else None
    if source == "digits":
        return DigitsReader(settings.resolution)
    if kind == "synthetic" and rest.isdigit() and int(rest):
        return SyntheticReader(int(rest), settings.resolution)
    if kind == "tfds" and rest:
        return TfdsReader(rest, DATA_DIR.value, SPLIT.value)
    if kind in ("folder", "zip", "lmdb", "celeba_hq") and rest:
        path = Path(rest)
        if not path.exists():
            raise UserError(f"{source}: there is no {path}; name another")
        if kind == "celeba_hq":
            if not LANDMARKS.value:
                raise UserError(
                    "--landmarks is missing: name CelebA's list_landmarks_celeba.txt"
                )
            return AlignedReader(path, Path(LANDMARKS.value), settings.resolution)
        return LmdbReader(path) if kind == "lmdb" else FileReader(path, labels)
    raise UserError(
        f"{source!r} is no source; write tfds:NAME, lmdb:PATH, folder:PATH, zip:PATH, "
        "celeba_hq:PATH, digits or synthetic:N"
    )


def _to_square(reader: Reader, index: int, settings: Settings) -> np.ndarray:
    data = reader[index].data
    image = decode(data, settings.channels) if isinstance(data, bytes) else data
    return square(image, settings.resolution, settings.crop, settings.pad)


def _estimate(reader: Reader, folder: Path, settings: Settings) -> str:
    """Makes a few images and tells what all of them would take."""
    started, sizes, made = time.perf_counter(), [], 0
    for index in np.linspace(0, len(reader) - 1, min(len(reader), 32)).astype(int):
        try:
            image = _to_square(reader, int(index), settings)
        except BadImage:
            continue
        made += 1
        sizes.append(stored_bytes(image, settings))
    if not made:
        raise UserError(f"{folder.name}: none of the images tried can be used")
    share = len(reader) / made
    seconds = (time.perf_counter() - started) * share / WORKERS.value
    return (
        f"{folder}: {len(reader):,} images, about "
        f"{sum(sizes) * share / 2**20:,.0f} MiB and {seconds:,.0f} s with "
        f"{WORKERS.value} worker(s); nothing was written"
    )


def _contact_sheet(reader: Reader, settings: Settings) -> np.ndarray:
    """Returns images from the whole source, side by side."""
    columns, rows = _CONTACT_SHEET
    count = min(len(reader), columns * rows)
    images = []
    for index in np.linspace(0, len(reader) - 1, count).astype(int):
        try:
            images.append(_to_square(reader, int(index), settings))
        except BadImage:
            continue
    if not images:
        raise UserError(
            f"{reader.name}: none of the images can be used; see skipped.csv"
        )
    side = min(settings.resolution, 128)
    step = settings.resolution // side
    return tile(np.stack(images)[:, ::step, ::step], columns)


def _write_skipped(path: Path, shards: list[Shard]) -> None:
    buffer = io.StringIO()
    rows = csv.writer(buffer, lineterminator="\n")
    rows.writerow(["image", "reason"])
    rows.writerows(pair for shard in shards for pair in shard.skipped)
    write_whole(path, buffer.getvalue())


def _summary(folder: Path, reader: Reader, shards: list[Shard], seconds: float) -> str:
    images = sum(shard.num_images for shard in shards)
    skipped = sum(len(shard.skipped) for shard in shards)
    num_bytes = sum(sum(shard.num_bytes.values()) for shard in shards)
    return (
        f"{folder}: {images:,} images, {reader.num_classes} classes, "
        f"{num_bytes / 2**20:,.1f} MiB in {seconds:,.1f} s; {skipped:,} skipped"
        + (f" (see {folder / 'skipped.csv'})" if skipped else "")
        + f"; look at {folder / 'contact_sheet.png'}"
    )


if __name__ == "__main__":
    run_with_argument(main, "SOURCE")
