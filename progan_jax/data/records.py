"""Records of a prepared TFDS set, by index, and their decoding, without TensorFlow."""

import io
import os
import re
import struct
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from PIL import Image

from progan_jax.data.decoding import BadImage, bad_image, check_pixels
from progan_jax.data.names import printable
from progan_jax.errors import UserError, reason

# File formats of TFDS that are read; the first existing one is used.
FORMATS = ("array_record", "tfrecord")

# A TFRecord file is a sequence of frames: the length of the data (uint64, little-
# endian), its checksum (4 bytes), the data, its checksum (4 bytes).
# Source: https://www.tensorflow.org/tutorials/load_data/tfrecord
_BEFORE, _AFTER = 12, 4

# Parses a record into its image, as it is stored, and its class.
Parser = Callable[[bytes], tuple[Any, int]]

# Decodes a record into an image [h, w, C] and its class.
Decoder = Callable[[bytes], tuple[np.ndarray, int]]


class Records(Protocol):
    """The records of one split."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> bytes: ...

    def __getitems__(self, indices: Sequence[int]) -> Sequence[bytes]:
        """Returns several records."""
        ...


class TfRecords:
    """The records of TFRecord files; a file is indexed when it is first read.

    The lengths must add up to the size of the file. Checksums are not checked: none of
    our dependencies computes CRC-32C.
    """

    def __init__(self, paths: Iterable[Path], lengths: Iterable[int]) -> None:
        """Describes the files.

        Args:
          paths: The files, in order.
          lengths: Number of records in each.
        """
        self._paths = list(paths)
        self._ends = np.cumsum([0, *lengths])
        self._starts: dict[int, np.ndarray] = {}

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __getitem__(self, index: int) -> bytes:
        """Reads a record.

        Raises:
          UserError: if its file is missing, cut short or damaged.
        """
        shard = int(np.searchsorted(self._ends, index, side="right")) - 1
        if shard not in self._starts:
            num_records = int(self._ends[shard + 1] - self._ends[shard])
            self._starts[shard] = _find_frames(self._paths[shard], num_records)
        position = index - self._ends[shard]
        start, end = self._starts[shard][position : position + 2]
        # Opened each time: a set may have more files than a process can open.
        with self._paths[shard].open("rb") as file:
            file.seek(start + _BEFORE)
            return file.read(end - _AFTER - (start + _BEFORE))

    def __getitems__(self, indices: Sequence[int]) -> list[bytes]:
        return [self[index] for index in indices]


def _find_frames(path: Path, num_records: int) -> np.ndarray:
    """Returns the start of each frame of a file, and the end of the last one."""
    starts = [0]
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            while starts[-1] + _BEFORE <= size and len(starts) <= num_records:
                header = os.pread(file.fileno(), 8, starts[-1])
                length = struct.unpack("<Q", header)[0]
                starts.append(starts[-1] + _BEFORE + length + _AFTER)
    except OSError as error:
        raise UserError(
            f"{path}: cannot be read ({error.strerror}); prepare the set again"
        ) from error
    if starts[-1] != size or len(starts) - 1 != num_records:
        raise UserError(
            f"{path}: it is damaged: its {num_records:,} records do not fill its "
            f"{size:,} bytes; prepare the set again"
        )
    return np.array(starts)


class ArrayRecords:
    """The records of ArrayRecord files, as TFDS opens them."""

    def __init__(self, builder: Any, split: str) -> None:
        """Describes the files; they are opened at the first record."""
        self._builder, self._split = builder, split
        self._source: Any = None

    def __len__(self) -> int:
        return self._builder.info.splits[self._split].num_examples

    def __getitem__(self, index: int) -> bytes:
        # Not as a list of one: that starts threads, and is nine times slower.
        return self._read(lambda source: source[index])

    def __getitems__(self, indices: Sequence[int]) -> Sequence[bytes]:
        return self._read(lambda source: source.__getitems__(indices))

    def _read(self, read: Callable[[Any], Any]) -> Any:
        """Reads from TFDS's source; raises UserError if a file cannot be read."""
        try:
            if self._source is None:
                self._source = self._open()
            return read(self._source)
        except (OSError, RuntimeError, ValueError) as error:
            raise UserError(
                f"{self._builder.data_path}: cannot be read ({reason(error)}); prepare "
                "the set again"
            ) from error

    def _open(self) -> Any:
        import tensorflow_datasets as tfds

        return self._builder.as_data_source(
            self._split,
            deserialize_method=tfds.decode.DeserializeMethod.RAW_BYTES,
            file_format="array_record",
        )


def newest_version(folder: Path) -> Path | None:
    """Returns the folder of a TFDS set's newest version; None if it has none."""
    versions = [
        path.parent
        for path in folder.glob("*/features.json")
        if re.fullmatch(r"\d+\.\d+\.\d+", path.parent.name)
    ]
    numbers = [[int(part) for part in path.name.split(".")] for path in versions]
    return versions[numbers.index(max(numbers))] if versions else None


def open_folder(folder: Path) -> Any:
    """Returns the TFDS builder of the folder of one version of a set.

    Raises:
      UserError: if its description is missing or damaged.
    """
    import tensorflow_datasets as tfds

    try:
        builder = tfds.builder_from_directory(folder)
        _check_splits(builder.info)
        return builder
    except Exception as error:  # TFDS raises many kinds for damaged JSON.
        raise UserError(
            f"{folder}: dataset_info.json or features.json cannot be read "
            f"({reason(error)}); copy the set again, or prepare it again"
        ) from error


def _check_splits(info: Any) -> None:
    """Raises an exception if a split does not name its files.

    TFDS builds the names only when they are needed, and from any values.
    """
    for split in info.splits.values():
        if min(split.shard_lengths, default=0) < 0:
            raise ValueError(f"{split.name} has shardLengths below 0")
        if split.num_examples and not all(split.filepaths):
            raise ValueError(f"{split.name} names no files")


def open_records(builder: Any, split: str) -> Records:
    """Returns the records of a split of a set in one of FORMATS."""
    formats = {format.value for format in builder.info.available_file_formats()}
    if "array_record" in formats:
        return ArrayRecords(builder, split)
    builder.info.set_file_format(
        "tfrecord", override=True, override_if_initialized=True
    )
    info = builder.info.splits[split]
    return TfRecords(map(Path, info.filepaths), info.shard_lengths)


def find_feature(features: Any, name: str) -> Any:
    """Returns the feature `a`, or the feature `b` within `a` for "a/b"; else None."""
    if name in features:
        return features[name]
    for key in name.split("/"):
        if key not in getattr(features, "keys", tuple)():
            return None
        features = features[key]
    return features


def class_label(features: Any, name: str = "label") -> Any:
    """Returns the feature of that name if it is a ClassLabel, else None."""
    import tensorflow_datasets as tfds

    label = find_feature(features, name)
    return label if isinstance(label, tfds.features.ClassLabel) else None


def class_names(features: Any, name: str = "label") -> tuple[str, ...]:
    """Returns the names of a ClassLabel's classes, or their numbers; () without one."""
    label = class_label(features, name)
    known = label is not None and label.num_classes
    return tuple(map(printable, label.names)) if known else ()


def record_parser(features: Any, image: str = "image", label: str = "label") -> Parser:
    """Returns a parser of two features; the others are skipped, for speed.

    Args:
      features: Features of the set.
      image: Name of the image feature; see `find_feature`.
      label: Name of the ClassLabel; without it all classes are 0.
    """
    import tensorflow_datasets as tfds

    names = [image] if class_label(features, label) is None else [image, label]
    # Records store a nested feature by the same name, "a/b".
    wanted = tfds.features.FeaturesDict({n: find_feature(features, n) for n in names})
    skipped = {name: tfds.decode.SkipDecoding() for name in names}

    def parse(record: bytes) -> tuple[Any, int]:
        example: Any = wanted.deserialize_example_np(record, decoders=skipped)
        return example[image], int(example.get(label, 0))

    return parse


def make_decoder(features: Any, channels: int) -> Decoder:
    """Returns a decoder into images of a number of channels.

    The decoder raises BadImage for a damaged record.
    """
    import tensorflow_datasets as tfds

    parse = record_parser(features)
    mode = "L" if channels == 1 else "RGB"
    encoded = isinstance(features["image"], tfds.features.Image)

    def decode(record: bytes) -> tuple[np.ndarray, int]:
        try:
            stored, label = parse(record)
            if not encoded:
                return features["image"].decode_example_np(stored), label
            return _decode_file(stored, mode), label
        except BadImage:
            raise
        except Exception as error:  # Libraries raise many kinds for damaged bytes.
            raise bad_image(error) from error

    return decode


def _decode_file(data: bytes, mode: str) -> np.ndarray:
    """Returns the pixels of an image file, uint8 [h, w, 1 or 3].

    Always by Pillow: TFDS would use OpenCV where it is installed, and two libraries may
    decode a JPEG to different pixels.
    """
    with Image.open(io.BytesIO(data)) as image:
        check_pixels(image, len(data))
        pixels = np.asarray(image if image.mode == mode else image.convert(mode))
    return pixels.reshape(*pixels.shape[:2], len(mode))
