"""Writes a resolution pyramid as TFDS sets, shard by shard, in several processes.

A shard is finished when its record stands in DIR/NAME/.partial/done; a process that was
killed is started again and makes the missing ones. No TensorFlow is needed.
"""

import csv
import io
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from progan_jax.data.layout import LABELS, RECORD, UNFINISHED, VERSION, level_name
from progan_jax.data.names import printable
from progan_jax.data.prepared import digest_labels
from progan_jax.data.processes import call_for_each
from progan_jax.data.readers import Reader
from progan_jax.data.shards import (
    Settings,
    Shard,
    features,
    file_template,
    refuse_bad,
    write_shard,
)
from progan_jax.data.unfinished import begin
from progan_jax.files import CHECKSUM, parse_record, seal, write_json, write_whole


def write_pyramid(
    reader: Reader,
    folder: Path,
    settings: Settings,
    identity: dict[str, Any],
    workers: int,
    report: Callable[[Shard], None],
) -> list[Shard]:
    """Writes what is missing of a pyramid and returns all its shards.

    Args:
      reader: The source.
      folder: DIR/NAME.
      settings: How.
      identity: See `begin`.
      workers: Processes.
      report: Called for every shard as it is finished, found ones too.

    Raises:
      UserError: if the folder holds something else, or an image is bad and
        `settings.strict` is set.
    """
    unfinished = begin(folder, identity)
    shards = {shard.index: shard for shard in _finished(unfinished)}
    for shard in shards.values():
        if settings.strict and shard.skipped:
            raise refuse_bad(*shard.skipped[0])
        report(shard)
    size = settings.shard_images(len(reader))
    missing = [i for i in range(-(-len(reader) // size)) if i not in shards]
    write_missing = partial(write_shard, reader, unfinished, settings)
    for shard in call_for_each(write_missing, missing, workers):
        shards[shard.index] = shard
        report(shard)
    return [shards[index] for index in sorted(shards)]


def finish(
    folder: Path,
    reader: Reader,
    settings: Settings,
    identity: dict[str, Any],
    shards: list[Shard],
    also_skipped: int = 0,
    source: str = "",
) -> None:
    """Describes the levels to TFDS, moves them into place and records the pyramid.

    Args:
      folder: DIR/NAME.
      reader: The source.
      settings: How.
      identity: What tells this pyramid from another, in JSON's types, besides its
        classes.
      shards: All of them.
      also_skipped: Images that were left out before there were shards.
      source: What the user calls it.
    """
    unfinished = folder / UNFINISHED
    for resolution in settings.levels:
        target = folder / level_name(resolution)
        if not target.exists():
            level = unfinished / level_name(resolution)
            _describe(level / VERSION, reader, settings, resolution, shards)
            level.rename(target)
    labels = np.concatenate([np.asarray(shard.labels, np.int32) for shard in shards])
    buffer = io.BytesIO()
    np.save(buffer, labels)
    write_whole(folder / LABELS, buffer.getvalue())
    record = {
        "identity": identity | {"labels": digest_labels(labels)},
        "source": source,
        "name": reader.name,
        "resolution": settings.resolution,
        "channels": settings.channels,
        "num_images": sum(shard.num_images for shard in shards),
        "num_classes": reader.num_classes,
        "class_names": list(reader.class_names),
        "num_bytes": {
            str(r): sum(shard.num_bytes[str(r)] for shard in shards)
            for r in settings.levels
        },
        "file_bytes": {
            str(path.relative_to(folder)): path.stat().st_size
            for r in settings.levels
            for path in sorted((folder / level_name(r) / VERSION).iterdir())
        },
        "num_skipped": sum(len(shard.skipped) for shard in shards) + also_skipped,
    }
    write_json(folder / RECORD, seal(record))
    shutil.rmtree(unfinished)


def write_skipped(folder: Path, skipped: Iterable[tuple[str, str]]) -> None:
    """Writes skipped.csv: names and reasons of the images that were left out."""
    buffer = io.StringIO()
    rows = csv.writer(buffer, lineterminator="\n")
    rows.writerow(["image", "reason"])
    rows.writerows(map(printable, pair) for pair in skipped)
    write_whole(folder / "skipped.csv", buffer.getvalue())


def _finished(unfinished: Path) -> Iterator[Shard]:
    for path in sorted((unfinished / "done").glob("*.json")):
        fields = parse_record(path.read_bytes()) or {}
        with suppress(TypeError, KeyError):  # Damaged: it is made again.
            fields["skipped"] = [tuple(pair) for pair in fields["skipped"]]
            yield Shard(**{k: v for k, v in fields.items() if k != CHECKSUM})


def _describe(
    folder: Path,
    reader: Reader,
    settings: Settings,
    resolution: int,
    shards: list[Shard],
) -> None:
    """Writes what TFDS wants to know of a level."""
    import tensorflow_datasets as tfds

    for leftover in folder.glob(".*"):
        leftover.unlink()
    identity = tfds.core.DatasetIdentity(
        name=reader.name,
        version=tfds.core.Version(VERSION),
        data_dir=str(folder),
        module_name="",
        config_name=level_name(resolution),
    )
    info = tfds.core.DatasetInfo(
        builder=identity, features=features(settings, resolution, reader)
    )
    info.set_file_format("array_record")
    split = tfds.core.SplitInfo(
        name="train",
        shard_lengths=[shard.num_images for shard in shards],
        num_bytes=sum(shard.num_bytes[str(resolution)] for shard in shards),
        filename_template=file_template(folder, reader.name),
    )
    info.set_splits(tfds.core.splits.SplitDict([split]))
    info.write_to_directory(folder)
