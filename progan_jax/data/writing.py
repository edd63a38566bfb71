"""Writes a resolution pyramid as TFDS sets, shard by shard, in several processes.

A shard is finished when its record stands in DIR/NAME/.partial/done; a process that was
killed is started again and makes the missing ones. No TensorFlow is needed.
"""

import io
import json
import multiprocessing
import os
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from progan_jax.data.decoding import BadImage, Crop, Pad, decode, square
from progan_jax.data.layout import LABELS, RECORD, VERSION, level_name
from progan_jax.data.pyramid import halve
from progan_jax.data.readers import Reader
from progan_jax.errors import UserError
from progan_jax.files import write_json, write_whole
from progan_jax.images import encode_png

_SHARD_BYTES = 2**28
_MOST_IMAGES = 2048


@dataclass(frozen=True)
class Settings:
    """How images become a pyramid.

    Attributes:
      resolution: Side of the largest level.
      channels: 1 or 3.
      crop: See `decoding.square`.
      pad: See `decoding.square`.
      raw_up_to: Levels up to this side are stored as pixels, larger ones as PNG.
      strict: Whether a bad image ends the work instead of being left out.
    """

    resolution: int
    channels: int = 3
    crop: Crop = "centre"
    pad: Pad = "none"
    raw_up_to: int = 128
    strict: bool = False

    @property
    def levels(self) -> list[int]:
        """Returns the sides, the largest first."""
        return [self.resolution >> k for k in range(self.resolution.bit_length() - 2)]

    @property
    def shard_images(self) -> int:
        """Returns the images of a shard: its largest level holds 256 MiB at most."""
        image_bytes = self.resolution**2 * self.channels
        return min(max(_SHARD_BYTES // image_bytes, 1), _MOST_IMAGES)


@dataclass(frozen=True)
class Shard:
    """What became of a range of the source.

    Attributes:
      index: Its number.
      labels: Class of each image.
      num_bytes: Written, by level.
      skipped: Name and reason of each image that was left out.
    """

    index: int
    labels: list[int]
    num_bytes: dict[str, int]
    skipped: list[tuple[str, str]]

    @property
    def num_images(self) -> int:
        """Images that were written."""
        return len(self.labels)


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


def features(settings: Settings, resolution: int, num_classes: int) -> Any:
    """Returns the TFDS features of a level."""
    import tensorflow_datasets as tfds

    shape = (resolution, resolution, settings.channels)
    if resolution <= settings.raw_up_to:
        # Plain bytes: TFDS's default encoding is ten times slower to read.
        image: Any = tfds.features.Tensor(
            shape=shape, dtype=np.uint8, encoding=tfds.features.Encoding.BYTES
        )
    else:
        image = tfds.features.Image(shape=shape, encoding_format="png")
    label = tfds.features.ClassLabel(num_classes=max(num_classes, 1))
    return tfds.features.FeaturesDict({"image": image, "label": label})


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
        yield from (_write_shard(reader, partial, settings, i) for i in indices)
        return
    # Spawned, not forked: JAX's threads do not survive a fork.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context) as pool:
        futures: list[Future[Shard]] = [
            pool.submit(_write_shard, reader, partial, settings, i) for i in indices
        ]
        try:
            for future in as_completed(futures):
                yield future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _write_shard(
    reader: Reader, partial: Path, settings: Settings, index: int
) -> Shard:
    """Writes one shard of every level, then the record that it is finished."""
    first = index * settings.shard_images
    last = min(first + settings.shard_images, len(reader))
    num_shards = -(-len(reader) // settings.shard_images)
    writers = {
        r: _Writer(partial, reader, settings, r, index, num_shards)
        for r in settings.levels
    }
    labels: list[int] = []
    skipped: list[tuple[str, str]] = []
    for position in range(first, last):
        item = reader[position]
        try:
            image = _to_square(item.data, settings)
        except BadImage as error:
            if settings.strict:
                raise UserError(
                    f"{item.name}: {error}; remove it, or leave --strict out"
                ) from error
            skipped.append((item.name, str(error)))
            continue
        labels.append(item.label)
        for resolution in settings.levels:
            writers[resolution].write(image, item.label)
            image = halve(image[None])[0] if resolution > 4 else image
    num_bytes = {str(r): writer.close() for r, writer in writers.items()}
    shard = Shard(index, labels, num_bytes, skipped)
    write_json(partial / "done" / f"{index:05d}.json", asdict(shard))
    return shard


def _to_square(data: bytes | np.ndarray, settings: Settings) -> np.ndarray:
    if isinstance(data, bytes):
        data = decode(data, settings.channels)
    return square(data, settings.resolution, settings.crop, settings.pad)


class _Writer:
    """One shard of one level; it has its name only when it is whole."""

    def __init__(
        self,
        partial: Path,
        reader: Reader,
        settings: Settings,
        resolution: int,
        index: int,
        num_shards: int,
    ) -> None:
        from array_record.python.array_record_module import ArrayRecordWriter
        from tensorflow_datasets.core.example_serializer import ExampleSerializer

        folder = partial / level_name(resolution) / VERSION
        folder.mkdir(parents=True, exist_ok=True)
        template = _template(folder, reader.name)
        self._path = Path(
            template.sharded_filepath(shard_index=index, num_shards=num_shards)
        )
        self._unfinished = self._path.with_name(f".{self._path.name}.{os.getpid()}")
        # One record to a group: images are read one by one, in any order.
        self._writer = ArrayRecordWriter(str(self._unfinished), "group_size:1")
        self._features = features(settings, resolution, reader.num_classes)
        self._serializer = ExampleSerializer(self._features.get_serialized_info())
        self._raw = resolution <= settings.raw_up_to
        self._num_bytes = 0

    def write(self, image: np.ndarray, label: int) -> None:
        """Appends an image uint8 [r, r, C]."""
        stored = image if self._raw else io.BytesIO(encode_png(image, compress_level=1))
        encoded = self._features.encode_example({"image": stored, "label": label})
        example = self._serializer.get_tf_example(encoded)
        # TFDS's own way orders the fields by a hash that differs in every process.
        record = example.SerializeToString(deterministic=True)
        self._num_bytes += len(record)
        self._writer.write(record)

    def close(self) -> int:
        """Gives the file its name; returns the bytes of its records."""
        self._writer.close()
        os.replace(self._unfinished, self._path)
        return self._num_bytes


def encode(image: np.ndarray, settings: Settings) -> int:
    """Returns the bytes that all levels of one image take, without TFDS's own."""
    num_bytes = 0
    for resolution in settings.levels:
        raw = resolution <= settings.raw_up_to
        num_bytes += image.nbytes if raw else len(encode_png(image, compress_level=1))
        image = halve(image[None])[0]
    return num_bytes


def _template(folder: Path, name: str) -> Any:
    import tensorflow_datasets as tfds
    from etils import epath

    return tfds.core.ShardedFileTemplate(
        data_dir=epath.Path(folder),
        dataset_name=name,
        split="train",
        filetype_suffix="array_record",
    )


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
        filename_template=_template(folder, reader.name),
    )
    info.set_splits(tfds.core.splits.SplitDict([split]))
    info.write_to_directory(folder)
