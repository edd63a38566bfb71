"""A reader of the encoded images of a prepared TFDS set, without TensorFlow."""

import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from google.protobuf.message import DecodeError

from progan_jax.data.checks import check_features, check_split
from progan_jax.data.decoding import BadImage
from progan_jax.data.records import (
    Parser,
    Records,
    class_names,
    find_feature,
    open_records,
    record_parser,
)
from progan_jax.data.sources import open_builder
from progan_jax.prepare.readers import Item, Reader


class TfdsReader(Reader):
    """The images of one split, in the order of the set, in their own encoding."""

    def __init__(
        self,
        name: str,
        data_dir: str,
        split: str,
        image: str = "image",
        label: str = "label",
    ) -> None:
        """Opens the set.

        Args:
          name: NAME or NAME/CONFIG.
          data_dir: Folder of sets; see `sources.load`.
          split: Split of the set.
          image: Feature of the images; `a/b` is the feature `b` within `a`.
          label: Feature of the classes; ignored unless it is a ClassLabel.

        Raises:
          UserError: if the set is not prepared, or has no images.
        """
        self._arguments = name, data_dir
        self._split, self._image, self._label = split, image, label
        self._opened: tuple[Records, Parser, Any] | None = None
        self.name = name.replace("/", "_")
        info = open_builder(name, data_dir).info
        check_split(name, split, {s: info.splits[s].num_examples for s in info.splits})
        check_features(name, info.features, image)
        self._length = info.splits[split].num_examples
        self.class_names = class_names(info.features, label)
        self.num_classes = len(self.class_names)

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> Item:
        import tensorflow_datasets as tfds

        records, parse, feature = self._open()
        try:
            data, label = parse(records[index])
            if not isinstance(feature, tfds.features.Image):  # A Tensor of pixels.
                data = feature.decode_example_np(data)
        except (DecodeError, KeyError, ValueError, zlib.error) as error:
            raise BadImage("its record is damaged") from error
        if self.num_classes and not -1 <= label < self.num_classes:
            raise BadImage(f"it has class {label} of {self.num_classes:,} from 0 on")
        return Item(self.name_of(index), data, label)

    def listing(self) -> Iterator[str]:
        """Yields name, version, split and features, and the sizes of all files."""
        info = open_builder(*self._arguments).info
        yield f"{info.full_name} {self._split} {self._image} {self._label}"
        yield str(info.splits[self._split].shard_lengths)
        for path in self._files():
            yield f"{path.name} {path.stat().st_size}"

    def times(self) -> Iterator[str]:
        """Yields the modification time of each file, in ns."""
        return (str(path.stat().st_mtime_ns) for path in self._files())

    def _files(self) -> list[Path]:
        folder = Path(open_builder(*self._arguments).data_dir)
        return sorted(path for path in folder.iterdir() if path.is_file())

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_opened": None}

    def _open(self) -> tuple[Records, Parser, Any]:
        """Returns records, parser and image feature, opened once in each process."""
        if self._opened is None:
            builder = open_builder(*self._arguments)
            features = builder.info.features
            self._opened = (
                open_records(builder, self._split),
                record_parser(features, self._image, self._label),
                find_feature(features, self._image),
            )
        return self._opened
