"""One shard of a pyramid: a range of the source at every resolution."""

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from progan_jax.data.decoding import BadImage, Crop, Pad, decode, square, to_channels
from progan_jax.data.layout import VERSION, level_name
from progan_jax.data.names import printable
from progan_jax.data.pyramid import halve
from progan_jax.data.readers import Reader
from progan_jax.errors import UserError
from progan_jax.files import move_whole, seal, write_json
from progan_jax.images import encode_png, encode_webp

_SHARD_BYTES = 2**28
_MOST_IMAGES = 2048
_LEAST_IMAGES = 32
_SHARDS = 32  # Of a small set: for many workers, and so that a stop costs little.


@dataclass(frozen=True)
class Settings:
    """How images become a pyramid.

    Attributes:
      resolution: Side of the largest level.
      channels: 1 or 3.
      crop: See `decoding.square`.
      pad: See `decoding.square`.
      raw_up_to: Levels up to this side are stored as pixels, larger ones as lossless
        WebP, or as PNG if they are grey, which WebP is not.
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

    def shard_images(self, num_images: int) -> int:
        """Returns the images of a shard of a set of so many.

        A 32nd of the set, within 32 and 2,048; its largest level takes 256 MiB at most.
        """
        share = max(-(-num_images // _SHARDS), _LEAST_IMAGES)
        fitting = max(_SHARD_BYTES // (self.resolution**2 * self.channels), 1)
        return min(share, fitting, _MOST_IMAGES)


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


def features(settings: Settings, resolution: int, reader: Reader) -> Any:
    """Returns the TFDS features of a level of a reader's images."""
    import tensorflow_datasets as tfds

    shape = (resolution, resolution, settings.channels)
    if resolution <= settings.raw_up_to:
        # Plain bytes: TFDS's default encoding is ten times slower to read.
        image: Any = tfds.features.Tensor(
            shape=shape, dtype=np.uint8, encoding=tfds.features.Encoding.BYTES
        )
    else:
        # TFDS has no name for WebP, but stores files as they are, whatever they are.
        image = tfds.features.Image(shape=shape)
    if reader.class_names:
        label = tfds.features.ClassLabel(names=reader.class_names)
    else:
        label = tfds.features.ClassLabel(num_classes=max(reader.num_classes, 1))
    return tfds.features.FeaturesDict({"image": image, "label": label})


def write_shard(reader: Reader, partial: Path, settings: Settings, index: int) -> Shard:
    """Writes one shard of every level, then the record that it is finished."""
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
    """Returns what --strict says of a bad image."""
    return UserError(
        f"{printable(name)}: {reason}; leave --strict out, which goes on, or fix the "
        "image and begin again in another folder"
    )


def to_square(data: bytes | np.ndarray, settings: Settings) -> np.ndarray:
    """Returns an item's image as the largest level holds it, uint8 [r, r, C]."""
    if isinstance(data, bytes):
        data = decode(data, settings.channels)
    data = to_channels(data, settings.channels)
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
        template = file_template(folder, reader.name)
        self._path = Path(
            template.sharded_filepath(shard_index=index, num_shards=num_shards)
        )
        self._unfinished = self._path.with_name(f".{self._path.name}.{os.getpid()}")
        # One record to a group: images are read one by one, in any order.
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
        # TFDS's own way orders the fields by a hash that differs in every process.
        record = example.SerializeToString(deterministic=True)
        self._num_bytes += len(record)
        with _reporting(self._path):
            self._writer.write(record)

    def close(self) -> int:
        """Gives the file its name; returns the bytes of its records."""
        with _reporting(self._path):
            self._writer.close()
            move_whole(self._unfinished, self._path)
        return self._num_bytes


@contextmanager
def _reporting(path: Path) -> Iterator[None]:
    """Tells what ArrayRecord raises when a file cannot be written: a full disk."""
    try:
        yield
    except RuntimeError as error:
        reason = str(error).split(";")[0]
        raise UserError(
            f"--out: {path}: {reason}; make room, and run the same command again"
        ) from error


def _compress(image: np.ndarray) -> bytes:
    """Returns a file of uint8 [r, r, C]; the choice: benchmarks/README.md."""
    if image.shape[2] == 1:
        return encode_png(image, compress_level=1)
    return encode_webp(image)


def stored_bytes(image: np.ndarray, settings: Settings) -> int:
    """Returns the bytes that all levels of one image take, without TFDS's own."""
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
