"""Writes tiny TFDS sets, without TensorFlow."""

import struct
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest
import tensorflow_datasets as tfds
from array_record.python.array_record_module import ArrayRecordWriter

Example = dict[str, Any]
WriteTfds = Callable[..., Path]


def crc32c(data: bytes) -> int:
    """Returns the checksum of Castagnoli's polynomial, bit by bit."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def _masked(data: bytes) -> bytes:
    crc = crc32c(data)
    rotated = (crc >> 15 | crc << 17) & 0xFFFFFFFF
    return struct.pack("<I", (rotated + 0xA282EAD8) & 0xFFFFFFFF)


def write_tfrecord(path: Path, records: Iterable[bytes]) -> None:
    """Writes a TFRecord file."""
    with path.open("wb") as file:
        for record in records:
            length = struct.pack("<Q", len(record))
            file.write(length + _masked(length) + record + _masked(record))


def write_array_record(path: Path, records: Iterable[bytes]) -> None:
    writer = ArrayRecordWriter(str(path), "group_size:1")
    for record in records:
        writer.write(record)
    writer.close()


def _write_split(
    folder: Path,
    name: str,
    split: str,
    features: tfds.features.FeaturesDict,
    shards: Sequence[Sequence[Example]],
    file_format: str,
) -> tfds.core.SplitInfo:
    template = tfds.core.ShardedFileTemplate(
        data_dir=folder, dataset_name=name, split=split, filetype_suffix=file_format
    )
    for index, examples in enumerate(shards):
        path = template.sharded_filepath(shard_index=index, num_shards=len(shards))
        write_file = write_tfrecord if file_format == "tfrecord" else write_array_record
        write_file(path, map(features.serialize_example, examples))
    lengths = [len(shard) for shard in shards]
    return tfds.core.SplitInfo(
        name=split, shard_lengths=lengths, num_bytes=0, filename_template=template
    )


@pytest.fixture
def write_tfds(tmp_path) -> WriteTfds:
    """Returns a function that writes a set under tmp_path, which it returns.

    Its arguments: name, features, {split: examples}; config, version and file_format
    by keyword. A split is written as two shards. Only ArrayRecord and TFRecord files
    hold examples that can be read; for other formats the metadata alone are meaningful.
    An Image feature wants an encoded file: TFDS encodes pixels by TensorFlow, files not
    at all.
    """

    def write(
        name: str,
        features: dict[str, Any],
        splits: dict[str, Sequence[Example]],
        *,
        config: str = "",
        version: str = "1.0.0",
        file_format: str = "array_record",
    ) -> Path:
        folder = tmp_path / name / config / version
        folder.mkdir(parents=True)
        features_dict = tfds.features.FeaturesDict(features)
        identity = tfds.core.DatasetIdentity(
            name=name,
            version=version,
            data_dir=str(folder),
            module_name="",
            config_name=config or None,
        )
        info = tfds.core.DatasetInfo(builder=identity, features=features_dict)
        info.set_file_format(file_format)
        infos = [
            _write_split(
                folder,
                name,
                split,
                features_dict,
                [examples[: len(examples) // 2], examples[len(examples) // 2 :]],
                file_format,
            )
            for split, examples in splits.items()
        ]
        info.set_splits(tfds.core.splits.SplitDict(infos))
        info.write_to_directory(folder)
        return tmp_path

    return write
