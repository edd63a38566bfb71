"""Writes tiny TFDS sets, without TensorFlow."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import tensorflow_datasets as tfds
from array_record.python.array_record_module import ArrayRecordWriter

Example = dict[str, Any]
WriteTfds = Callable[..., Path]


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
        writer = ArrayRecordWriter(str(path), "group_size:1")
        for example in examples:
            writer.write(features.serialize_example(example))
        writer.close()
    lengths = [len(shard) for shard in shards]
    return tfds.core.SplitInfo(
        name=split, shard_lengths=lengths, num_bytes=0, filename_template=template
    )


@pytest.fixture
def write_tfds(tmp_path) -> WriteTfds:
    """Returns a function that writes a set under tmp_path, which it returns.

    Its arguments: name, features, {split: examples}; config, version and file_format
    by keyword. A split is written as two shards. Only ArrayRecord files hold examples
    that can be read; for other formats the metadata alone are meaningful. An Image
    feature wants an encoded file: TFDS encodes pixels by TensorFlow, files not at all.
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
