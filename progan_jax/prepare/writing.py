"""Resolution pyramids as TFDS sets, written shard by shard in several processes.

A shard is a range of the images at every resolution. It is finished once its record is
in DIR/NAME/.partial/done; the same command again makes those that are missing.
TensorFlow is not needed.
"""

import io
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from progan_jax.data.decoding import BadImage, Crop, Pad, decode, square, to_channels
from progan_jax.data.names import printable
from progan_jax.data.prepared import (
    LABELS,
    RECORD,
    UNFINISHED,
    VERSION,
    digest_labels,
    level_name,
)
from progan_jax.data.pyramid import halve
from progan_jax.errors import UserError
from progan_jax.files import (
    CHECKSUM,
    csv_text,
    move_whole,
    parse_record,
    seal,
    write_json,
    write_whole,
)
from progan_jax.images import encode_png, encode_webp
from progan_jax.prepare.processes import call_for_each
from progan_jax.prepare.readers import Reader
from progan_jax.prepare.unfinished import begin

_SHARD_BYTES = 2**28

_MOST_IMAGES = 2048

_LEAST_IMAGES = 32

_SHARDS = 32  # Of a small set: enough for many workers, and a stop loses little.


@dataclass(frozen=True)
class Settings:
    """How a pyramid is made of images.

    Attributes:
      resolution: Side of the largest level.
      channels: 1 or 3.
      crop: See `decoding.square`.
      pad: See `decoding.square`.
      raw_up_to: Levels up to this side are stored as pixels, larger ones as lossless
        WebP, or as PNG if they are grey, which WebP cannot be.
      strict: Whether a bad image is an error instead of being skipped.
    """

    resolution: int
    channels: int = 3
    crop: Crop = "centre"
    pad: Pad = "none"
    raw_up_to: int = 128
    strict: bool = False

    @property
    def levels(self) -> list[int]:
        """The sides, the largest first."""
        return [self.resolution >> k for k in range(self.resolution.bit_length() - 2)]

    def shard_images(self, num_images: int) -> int:
        """Returns the number of images in a shard of a set of `num_images`.

        A 32nd of the set, from 32 to 2,048, and at most 256 MiB of the largest level.
        """
        share = max(-(-num_images // _SHARDS), _LEAST_IMAGES)
        fitting = max(_SHARD_BYTES // (self.resolution**2 * self.channels), 1)
        return min(share, fitting, _MOST_IMAGES)


@dataclass(frozen=True)
class Shard:
    """Result of a range of the source.

    Attributes:
      index: Number of the shard.
      labels: Class of each image.
      num_bytes: Bytes written, by level.
      skipped: Name and reason of each image that was skipped.
    """

    index: int
    labels: list[int]
    num_bytes: dict[str, int]
    skipped: list[tuple[str, str]]

    @property
    def num_images(self) -> int:
        """Number of images that were written."""
        return len(self.labels)


def features(settings: Settings, resolution: int, reader: Reader) -> Any:
    """Returns the TFDS features of a level."""
    import tensorflow_datasets as tfds

    shape = (resolution, resolution, settings.channels)
    if resolution <= settings.raw_up_to:
        # Plain bytes: TFDS's default encoding is ten times slower to read.
        image: Any = tfds.features.Tensor(
            shape=shape, dtype=np.uint8, encoding=tfds.features.Encoding.BYTES
        )
    else:
        # TFDS has no name for WebP, but stores any file as it is.
        image = tfds.features.Image(shape=shape)
    if reader.class_names:
        label = tfds.features.ClassLabel(names=reader.class_names)
    else:
        label = tfds.features.ClassLabel(num_classes=max(reader.num_classes, 1))
    return tfds.features.FeaturesDict({"image": image, "label": label})


def write_shard(reader: Reader, partial: Path, settings: Settings, index: int) -> Shard:
    """Writes one shard of every level, then its record."""
    size = settings.shard_images(len(reader))
    first = index * size
    last = min(first + size, len(reader))
    num_shards = -(-len(reader) // size)
    writers = {
        r: _Writer(partial, reader, settings, r, index, num_shards)
        for r in settings.levels
    }
    labels: list[int] = []
    skipped: list[tuple[str, str]] = []
    for position in range(first, last):
        try:
            item = reader[position]
            image = to_square(item.data, settings)
        except BadImage as error:
            name = reader.name_of(position)
            if settings.strict:
                raise refuse_bad(name, str(error)) from error
            skipped.append((name, str(error)))
            continue
        labels.append(item.label)
        for resolution in settings.levels:
            writers[resolution].write(image, item.label)
            image = halve(image[None])[0] if resolution > 4 else image
    num_bytes = {str(r): writer.close() for r, writer in writers.items()}
    shard = Shard(index, labels, num_bytes, skipped)
    write_json(partial / "done" / f"{index:05d}.json", seal(asdict(shard)))
    return shard


def refuse_bad(name: str, reason: str) -> UserError:
    """Returns the error for a bad image under --strict."""
    return UserError(
        f"{printable(name)}: {reason}; omit --strict to skip it, or fix the image and "
        "start again in another folder"
    )


def to_square(data: bytes | np.ndarray, settings: Settings) -> np.ndarray:
    """Returns an item's image in the largest level, uint8 [r, r, C]."""
    if isinstance(data, bytes):
        data = decode(data, settings.channels)
    data = to_channels(data, settings.channels)
    return square(data, settings.resolution, settings.crop, settings.pad)


class _Writer:
    """Writer of one shard of one level, which gets its name once it is complete."""

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
        template = file_template(folder, reader.name)
        self._path = Path(
            template.sharded_filepath(shard_index=index, num_shards=num_shards)
        )
        self._unfinished = self._path.with_name(f".{self._path.name}.{os.getpid()}")
        # One record per group: images are read one by one, in any order.
        self._writer = ArrayRecordWriter(str(self._unfinished), "group_size:1")
        self._features = features(settings, resolution, reader)
        self._serializer = ExampleSerializer(self._features.get_serialized_info())
        self._raw = resolution <= settings.raw_up_to
        self._num_bytes = 0

    def write(self, image: np.ndarray, label: int) -> None:
        """Appends an image uint8 [r, r, C]."""
        stored = image if self._raw else io.BytesIO(_compress(image))
        encoded = self._features.encode_example({"image": stored, "label": label})
        example = self._serializer.get_tf_example(encoded)
        # TFDS orders the fields by a hash that differs in every process.
        record = example.SerializeToString(deterministic=True)
        self._num_bytes += len(record)
        with _reporting(self._path):
            self._writer.write(record)

    def close(self) -> int:
        """Gives the file its name; returns the number of bytes of its records."""
        with _reporting(self._path):
            self._writer.close()
            move_whole(self._unfinished, self._path)
        return self._num_bytes


@contextmanager
def _reporting(path: Path) -> Iterator[None]:
    """Raises UserError for what ArrayRecord raises on a full disk."""
    try:
        yield
    except RuntimeError as error:
        reason = str(error).split(";")[0]
        raise UserError(
            f"--out: {path}: {reason}; make room, and run the same command again"
        ) from error


def _compress(image: np.ndarray) -> bytes:
    """Returns a WebP or PNG file of uint8 [r, r, C]; see benchmarks/README.md."""
    if image.shape[2] == 1:
        return encode_png(image, compress_level=1)
    return encode_webp(image)


def stored_bytes(image: np.ndarray, settings: Settings) -> int:
    """Returns the number of bytes of all levels of one image, without TFDS's own."""
    num_bytes = 0
    for resolution in settings.levels:
        raw = resolution <= settings.raw_up_to
        num_bytes += image.nbytes if raw else len(_compress(image))
        image = halve(image[None])[0]
    return num_bytes


def file_template(folder: Path, name: str) -> Any:
    """Returns TFDS's template for the names of a level's files."""
    import tensorflow_datasets as tfds

    return tfds.core.ShardedFileTemplate(
        data_dir=tfds.core.Path(folder),
        dataset_name=name,
        split="train",
        filetype_suffix="array_record",
    )


def write_pyramid(
    reader: Reader,
    folder: Path,
    settings: Settings,
    identity: dict[str, Any],
    workers: int,
    report: Callable[[int], object],
) -> list[Shard]:
    """Writes the missing shards of a pyramid and returns all of them.

    Args:
      reader: The source.
      folder: DIR/NAME.
      settings: How the pyramid is made.
      identity: See `begin`.
      workers: Number of processes.
      report: Called with the number of images of every shard, bad ones included, also
        of those of an earlier call.

    Raises:
      UserError: if the folder has anything else, or an image is bad and
        `settings.strict` is set.
    """
    unfinished = begin(folder, identity)
    shards = {shard.index: shard for shard in _finished(unfinished)}
    for shard in shards.values():
        if settings.strict and shard.skipped:
            raise refuse_bad(*shard.skipped[0])
        report(shard.num_images + len(shard.skipped))
    size = settings.shard_images(len(reader))
    missing = [i for i in range(-(-len(reader) // size)) if i not in shards]
    write_missing = partial(write_shard, reader, unfinished, settings)
    for shard in call_for_each(write_missing, missing, workers):
        shards[shard.index] = shard
        report(shard.num_images + len(shard.skipped))
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
    """Writes TFDS's description of the levels, moves them into place, and the record.

    Args:
      folder: DIR/NAME.
      reader: The source.
      settings: How the pyramid was made.
      identity: Settings and digests that identify the pyramid besides its classes, in
        JSON's types.
      shards: All of them.
      also_skipped: Number of images that were skipped before they were in a shard.
      source: The source as the user named it.
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
    """Writes skipped.csv: names and reasons of the images that were skipped."""
    rows = [map(printable, pair) for pair in skipped]
    write_whole(folder / "skipped.csv", csv_text([["image", "reason"], *rows]))


def _finished(unfinished: Path) -> Iterator[Shard]:
    for path in sorted((unfinished / "done").glob("*.json")):
        fields = parse_record(path.read_bytes()) or {}
        with suppress(TypeError, KeyError):  # A damaged one is made again.
            fields["skipped"] = [tuple(pair) for pair in fields["skipped"]]
            yield Shard(**{k: v for k, v in fields.items() if k != CHECKSUM})


def _describe(
    folder: Path,
    reader: Reader,
    settings: Settings,
    resolution: int,
    shards: list[Shard],
) -> None:
    """Writes TFDS's description of a level."""
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
