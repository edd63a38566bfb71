"""Writes a resolution pyramid as TFDS sets, shard by shard, in several processes.

A shard is finished when its record stands in DIR/NAME/.partial/done; a process that was
killed is started again and makes the missing ones. No TensorFlow is needed.
"""

import io
import json
import multiprocessing
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import numpy as np

from progan_jax.data.layout import LABELS, RECORD, VERSION, level_name
from progan_jax.data.readers import Reader
from progan_jax.data.shards import Settings, Shard, features, file_template, write_shard
from progan_jax.errors import UserError
from progan_jax.files import write_json, write_whole


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
      identity: What tells this pyramid from another, in JSON's types; a folder that
        was begun with another one is refused.
      workers: Processes.
      report: Called for every shard as it is finished, found ones too.

    Raises:
      UserError: if the folder holds something else, or an image is bad and
        `settings.strict` is set.
    """
    partial = _begin(folder, identity)
    shards = {shard.index: shard for shard in _finished(partial)}
    for shard in shards.values():
        report(shard)
    size = settings.shard_images
    missing = [i for i in range(-(-len(reader) // size)) if i not in shards]
    for shard in _run(reader, partial, settings, missing, workers):
        shards[shard.index] = shard
        report(shard)
    return [shards[index] for index in sorted(shards)]


def finish(
    folder: Path,
    reader: Reader,
    settings: Settings,
    identity: dict[str, Any],
    shards: list[Shard],
) -> None:
    """Describes the levels to TFDS, moves them into place and records the pyramid."""
    partial = folder / ".partial"
    for resolution in settings.levels:
        target = folder / level_name(resolution)
        if not target.exists():
            source = partial / level_name(resolution)
            _describe(source / VERSION, reader, settings, resolution, shards)
            source.rename(target)
    labels = np.concatenate([np.asarray(shard.labels, np.int32) for shard in shards])
    buffer = io.BytesIO()
    np.save(buffer, labels)
    write_whole(folder / LABELS, buffer.getvalue())
    record = {
        "identity": identity,
        "name": reader.name,
        "resolution": settings.resolution,
        "channels": settings.channels,
        "num_images": sum(shard.num_images for shard in shards),
        "num_classes": reader.num_classes,
        "num_bytes": {
            str(r): sum(shard.num_bytes[str(r)] for shard in shards)
            for r in settings.levels
        },
        "num_skipped": sum(len(shard.skipped) for shard in shards),
    }
    write_json(folder / RECORD, record)
    shutil.rmtree(partial)


def _begin(folder: Path, identity: dict[str, Any]) -> Path:
    """Returns the folder of unfinished work, new or taken up again."""
    partial = folder / ".partial"
    record = partial / "identity.json"
    if record.exists():
        begun = json.loads(record.read_text())
        changed = [k for k in identity if begun.get(k) != identity[k]]
        if changed:
            raise UserError(
                f"--out: {folder} was begun with {changed[0]} = "
                f"{begun.get(changed[0])!r}, now {identity[changed[0]]!r}; choose "
                "another folder, or remove that one"
            )
        return partial
    if folder.exists() and any(folder.iterdir()):
        raise UserError(
            f"--out: {folder} is in use; choose another folder, or remove that one"
        )
    (partial / "done").mkdir(parents=True, exist_ok=True)
    write_json(record, identity)
    return partial


def _finished(partial: Path) -> Iterator[Shard]:
    for path in sorted((partial / "done").glob("*.json")):
        fields = json.loads(path.read_text())
        fields["skipped"] = [tuple(pair) for pair in fields["skipped"]]
        yield Shard(**fields)


def _run(
    reader: Reader, partial: Path, settings: Settings, indices: list[int], workers: int
) -> Iterator[Shard]:
    """Yields the shards as they are finished."""
    if workers == 1:
        yield from (write_shard(reader, partial, settings, i) for i in indices)
        return
    # Spawned, not forked: JAX's threads do not survive a fork.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context) as pool:
        futures: list[Future[Shard]] = [
            pool.submit(write_shard, reader, partial, settings, i) for i in indices
        ]
        try:
            for future in as_completed(futures):
                yield future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


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
        builder=identity, features=features(settings, resolution, reader.num_classes)
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
