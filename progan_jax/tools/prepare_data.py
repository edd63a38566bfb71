"""Makes images ready for training: a resolution pyramid, as TFDS sets.

    python -m progan_jax.tools.prepare_data SOURCE --out=DIR --resolution=R

SOURCE is one of
    tfds:NAME[/CONFIG]     a prepared TFDS set in --data_dir
    lmdb:PATH              an LMDB as LSUN publishes it, or its zip file
    folder:PATH, zip:PATH  PNG, JPEG, WebP and BMP files; classes by folder,
                           dataset.json or --labels
    celeba_hq:PATH         CelebA's photographs, aligned by --landmarks=FILE;
                           --keep=N takes the best
    digits                 1,797 handwritten digits, in the package
    stacked_mnist:PATH     a million stacks of three of MNIST's digits, from its files
    synthetic:N            noise, for benchmarks

The same command again goes on after a stop. Training then takes
    --config.data.data_dir=DIR --config.data.name=NAME
"""

import re
import sys
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np
from absl import flags
from tqdm import tqdm

from progan_jax.data.celeba_hq_reader import AlignedReader
from progan_jax.data.names import counted, describe_classes, first_few
from progan_jax.data.preview import check_room, contact_sheet, estimate, free_bytes
from progan_jax.data.readers import (
    Source,
    Subset,
    digest_times,
    fingerprint,
    spread,
)
from progan_jax.data.scoring import keep_best, score_images, write_scores
from progan_jax.data.shards import Settings, Shard
from progan_jax.data.unfinished import alone_in, begin, check_free, choose
from progan_jax.data.writing import finish, write_pyramid, write_skipped
from progan_jax.errors import UserError
from progan_jax.images import write_png
from progan_jax.runtime.command_line import run_with_arguments
from progan_jax.runtime.logging import warn
from progan_jax.runtime.preemption import ending_in_a_line
from progan_jax.tools import prepare_flags as given
from progan_jax.tools.prepare_sources import open_source

flags.adopt_module_key_flags(given)


def main(source: str) -> None:
    """Reads the flags, writes the pyramid and tells of it."""
    try:
        with ending_in_a_line("the same command goes on"):
            _run(source)
    except OSError as error:  # A full disk, above all.
        raise UserError(
            f"{error.filename or '--out'}: {error.strerror or error}; fix that, and "
            "run the same command again"
        ) from error


def _run(source: str) -> None:
    settings = given.read_settings(source.partition(":")[0])
    if given.NAME.value and not _is_name(given.NAME.value):
        raise UserError(
            f"--name={given.NAME.value} must be of letters, digits, _ and -; set "
            "another"
        )
    reader = open_source(source, settings)
    if isinstance(reader, AlignedReader) and given.EXPLAIN_IMAGE.value:
        _explain(reader, given.EXPLAIN_IMAGE.value)
        return
    if given.MAX_IMAGES.value is not None:
        reader = Subset(reader, spread(reader, given.MAX_IMAGES.value))
    reader.name = given.NAME.value or reader.name
    if not _is_name(reader.name):
        raise UserError(f"{source}: {reader.name!r} can be no set's name; set --name")
    folder = Path(given.OUT.value or "") / reader.name
    check_free(folder)
    if given.DRY_RUN.value:
        _tell_estimate(reader, folder, settings)
    else:
        with alone_in(folder):
            _prepare(source, reader, folder, settings)


def _prepare(source: str, reader: Source, folder: Path, settings: Settings) -> None:
    started = time.perf_counter()
    check_free(folder)  # Another process may have finished it just now.
    # --strict and --keep may change on the way: what is finished holds no bad image,
    # and scores are of all images.
    content = {k: v for k, v in asdict(settings).items() if k != "strict"}
    content |= {"max_images": given.MAX_IMAGES.value, "images": fingerprint(reader)}
    identity = content | {"times": digest_times(reader), "source": source}
    unfinished = begin(folder, identity)
    check_room(reader, folder, settings, given.KEEP.value)
    skipped = list(reader.unread)
    choose(folder, given.KEEP.value)
    if given.KEEP.value is not None:
        reader, unscored = _keep_best(reader, folder, unfinished / "scores")
        skipped += unscored
    num_unscored = len(skipped)
    with _bar("written", len(reader)) as bar:

        def report(shard: Shard) -> None:
            bar.update(shard.num_images + len(shard.skipped))

        shards = write_pyramid(
            reader, folder, settings, identity, given.WORKERS.value, report
        )
    skipped += [pair for shard in shards for pair in shard.skipped]
    write_skipped(folder, skipped)
    if not any(shard.num_images for shard in shards):
        raise UserError(
            f"{source}: none of the images can be used; see {folder / 'skipped.csv'}"
        )
    _check_classes(reader, shards)
    write_png(folder / "contact_sheet.png", contact_sheet(reader, settings))
    content |= {"keep": given.KEEP.value}
    finish(folder, reader, settings, content, shards, num_unscored, source)
    seconds = time.perf_counter() - started
    print(_summary(folder, reader, shards, len(skipped), seconds))


def _check_classes(reader: Source, shards: list[Shard]) -> None:
    """Warns of classes without images; takes all classes from a set with gaps."""
    labels = np.concatenate([np.array(shard.labels, np.int64) for shard in shards])
    if without := int((labels < 0).sum()):
        if reader.num_classes:
            have = "has" if without == 1 else "have"
            warn(
                f"{counted(without, 'image')} {have} no class, so that the set has no "
                "classes"
            )
        reader.num_classes, reader.class_names = 0, ()
    counts = np.bincount(labels[labels >= 0], minlength=reader.num_classes)
    empty = np.flatnonzero(counts[: reader.num_classes] == 0)
    if len(empty):
        names = [*(reader.class_names or map(str, range(reader.num_classes)))]
        have = "has" if len(empty) == 1 else "have"
        warn(
            f"{len(empty):,} of {reader.num_classes:,} classes {have} no images: "
            f"{first_few([names[k] for k in empty])}"
            + ("; raise --max_images" if given.MAX_IMAGES.value else "")
        )


def _keep_best(
    reader: Source, folder: Path, unfinished: Path
) -> tuple[Source, list[tuple[str, str]]]:
    """Scores all images; returns the best, and names and reasons of unusable ones."""
    with _bar("scored", len(reader)) as bar:

        def report(num_images: int) -> None:
            bar.update(num_images)

        scores = score_images(
            reader, unfinished, given.STRICT.value, given.WORKERS.value, report
        )
    best = keep_best(reader, scores, given.KEEP.value or len(reader))
    write_scores(folder / "scores.csv", scores, best)
    return best, [(s.name, s.reason) for s in scores if s.score is None]


def _bar(done: str, total: int) -> tqdm:
    hidden = not sys.stderr.isatty()
    return tqdm(desc=done, total=total, unit="img", disable=hidden, leave=False)


def _explain(reader: AlignedReader, name: str) -> None:
    path = Path(given.OUT.value or "") / f"{Path(name).stem}_steps.png"
    write_png(path, reader.draw(name))
    print(path)


def _is_name(name: str) -> bool:
    return bool(re.fullmatch(r"\w[\w-]*", name))


def _tell_estimate(reader: Source, folder: Path, settings: Settings) -> None:
    num_bytes, seconds = estimate(
        reader, settings, given.WORKERS.value, given.KEEP.value
    )
    free = free_bytes(folder)
    print(
        f"{folder}: {given.KEEP.value or len(reader):,} images, about "
        f"{num_bytes / 2**20:,.0f} MiB and {seconds:,.0f} s with "
        f"{counted(given.WORKERS.value, 'worker')}, {free / 2**20:,.0f} MiB are free"
        + (", which is TOO LITTLE" if num_bytes > free else "")
        + "; nothing was written"
    )


def _summary(
    folder: Path, reader: Source, shards: list[Shard], skipped: int, seconds: float
) -> str:
    images = sum(shard.num_images for shard in shards)
    num_bytes = sum(sum(shard.num_bytes.values()) for shard in shards)
    return (
        f"{folder}: {images:,} images, "
        f"{describe_classes(reader.num_classes, reader.class_names)}, "
        f"{num_bytes / 2**20:,.1f} MiB in {seconds:,.1f} s; {skipped:,} skipped"
        + (f" (see {folder / 'skipped.csv'})" if skipped else "")
        + f"; look at {folder / 'contact_sheet.png'}"
    )


if __name__ == "__main__":
    run_with_arguments(main, "SOURCE")
