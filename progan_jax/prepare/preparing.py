"""Preparing a set from its source: room, progress, what was skipped, the summary."""

import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from progan_jax.data.names import counted, describe_classes, first_few
from progan_jax.errors import UserError, warn
from progan_jax.images import write_png
from progan_jax.prepare.preview import contact_sheet, estimate, free_bytes
from progan_jax.prepare.ranking import keep_best, score_images, write_scores
from progan_jax.prepare.readers import Reader, digest_times, fingerprint
from progan_jax.prepare.unfinished import alone_in, begin, choose
from progan_jax.prepare.writing import (
    Settings,
    Shard,
    finish,
    write_pyramid,
    write_skipped,
)


@dataclass(frozen=True)
class Limits:
    """How much of a source is taken, and by how many processes.

    Attributes:
      workers: Number of processes.
      max_images: Number of images that the reader was cut to; None for all.
      keep: Number of the best images to keep, of readers of photographs; None for all.
    """

    workers: int
    max_images: int | None = None
    keep: int | None = None


def prepare(
    source: str, reader: Reader, folder: Path, settings: Settings, limits: Limits
) -> str:
    """Writes a set, or what is left of it after a stop, with a bar of its progress.

    Args:
      source: What the user named, for messages.
      reader: Its images.
      folder: Folder of the set, DIR/NAME, which no other process may write.
      settings: Of its images.
      limits: Of its number.

    Returns:
      A line with what was written.

    Raises:
      UserError: if nothing can be read, or the folder is in use.
    """
    with alone_in(folder):
        return _prepare(source, reader, folder, settings, limits)


def _prepare(
    source: str, reader: Reader, folder: Path, settings: Settings, limits: Limits
) -> str:
    started = time.perf_counter()
    # --strict and --keep may change before the end: finished shards have no bad image
    # under --strict, and all images have scores.
    content = {k: v for k, v in asdict(settings).items() if k != "strict"}
    content |= {"max_images": limits.max_images, "images": fingerprint(reader)}
    identity = content | {"times": digest_times(reader), "source": source}
    unfinished = begin(folder, identity)
    _check_room(reader, folder, settings, limits.keep)
    skipped = list(reader.unread)
    choose(folder, limits.keep)
    if limits.keep is not None:
        scored = unfinished / "scores", settings.strict, limits
        reader, unscored = _keep_best(reader, folder, *scored)
        skipped += unscored
    num_unscored = len(skipped)
    with _bar("written", len(reader)) as bar:
        shards = write_pyramid(
            reader, folder, settings, identity, limits.workers, bar.update
        )
    skipped += [pair for shard in shards for pair in shard.skipped]
    write_skipped(folder, skipped)
    if not any(shard.num_images for shard in shards):
        raise UserError(
            f"{source}: none of the images can be used; see {folder / 'skipped.csv'}"
        )
    _check_classes(reader, shards, limits.max_images)
    write_png(folder / "contact_sheet.png", contact_sheet(reader, settings))
    content |= {"keep": limits.keep}
    finish(folder, reader, settings, content, shards, num_unscored, source)
    seconds = time.perf_counter() - started
    return _summary(folder, reader, shards, len(skipped), seconds)


def _check_room(
    reader: Reader, folder: Path, settings: Settings, keep: int | None
) -> None:
    """Raises UserError if the disk is too small for the rest of a set."""
    needed = estimate(reader, settings)[0] * (keep or len(reader))
    needed -= _stored_bytes(folder)
    if needed > (free := free_bytes(folder)):
        raise UserError(
            f"--out: {folder} needs about {needed / 2**20:,.1f} MiB more, and its disk "
            f"has {free / 2**20:,.1f} MiB free; free some, or choose another folder"
        )


def _stored_bytes(folder: Path) -> int:
    """Returns the size of a set's files of images, those of all levels."""
    return sum(file.stat().st_size for file in folder.rglob("*.array_record*"))


def _check_classes(reader: Reader, shards: list[Shard], max_images: int | None) -> None:
    """Warns of classes without images; a set with unlabelled images has no classes."""
    labels = np.concatenate([np.array(shard.labels, np.int64) for shard in shards])
    unlabelled = int((labels < 0).sum())
    if unlabelled:
        if reader.num_classes:
            warn(f"no class for {counted(unlabelled, 'image')}: the set has no classes")
        reader.num_classes, reader.class_names = 0, ()
    counts = np.bincount(labels[labels >= 0], minlength=reader.num_classes)
    empty = np.flatnonzero(counts[: reader.num_classes] == 0)
    if len(empty):
        names = [*(reader.class_names or map(str, range(reader.num_classes)))]
        warn(
            f"no images in {len(empty):,} of {reader.num_classes:,} classes: "
            f"{first_few([names[k] for k in empty])}"
            + ("; raise --max_images" if max_images else "")
        )


def _keep_best(
    reader: Reader, folder: Path, unfinished: Path, strict: bool, limits: Limits
) -> tuple[Reader, list[tuple[str, str]]]:
    """Scores all images; returns the best, and names and reasons of bad ones."""
    with _bar("scored", len(reader)) as bar:
        scores = score_images(reader, unfinished, strict, limits.workers, bar.update)
    best = keep_best(reader, scores, limits.keep or len(reader))
    write_scores(folder / "scores.csv", scores, best)
    return best, [(s.name, s.reason) for s in scores if s.score is None]


def _bar(done: str, total: int) -> tqdm:
    hidden = not sys.stderr.isatty()
    return tqdm(desc=done, total=total, unit="img", disable=hidden, leave=False)


def _summary(
    folder: Path, reader: Reader, shards: list[Shard], skipped: int, seconds: float
) -> str:
    images = sum(shard.num_images for shard in shards)
    size = f"{_stored_bytes(folder) / 2**20:,.1f} MiB"
    return (
        f"{folder}: {images:,} images, "
        f"{describe_classes(reader.num_classes, reader.class_names)}, "
        f"{size} in {seconds:,.1f} s; {skipped:,} skipped"
        + (f" (see {folder / 'skipped.csv'})" if skipped else "")
        + f"; look at {folder / 'contact_sheet.png'}"
    )
