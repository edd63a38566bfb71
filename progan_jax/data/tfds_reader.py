"""A prepared TFDS set as a reader of encoded images; TensorFlow is not needed."""

from typing import Any

from google.protobuf.message import DecodeError

from progan_jax.data.checks import check_features, check_split
from progan_jax.data.decoding import BadImage
from progan_jax.data.readers import Item
from progan_jax.data.records import (
    Parser,
    Records,
    class_label,
    find_feature,
    open_records,
    record_parser,
)
from progan_jax.data.sources import open_builder


class TfdsReader:
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
          data_dir: TFDS root; see `sources.load`.
          split: Of the set.
          image: Feature of the images; `a/b` names one within another.
          label: Feature of their classes; it is left alone unless a ClassLabel.

        Raises:
          UserError: if the set is not prepared, or holds no images.
        """
        self._arguments = name, data_dir
        self._split, self._image, self._label = split, image, label
        self._opened: tuple[Records, Parser, Any] | None = None
        self.name = name.replace("/", "_")
        info = open_builder(name, data_dir).info
        check_split(name, split, {s: info.splits[s].num_examples for s in info.splits})
        check_features(name, info.features, image)
        self._length = info.splits[split].num_examples
        classes = class_label(info.features, label)
        self.num_classes = getattr(classes, "num_classes", 0) or 0

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> Item:
        records, parse, feature = self._open()
        try:
            data, label = parse(records[index])
        except (DecodeError, KeyError) as error:
            raise BadImage("its record is damaged") from error
        if not isinstance(data, bytes):  # A Tensor feature holds pixels.
            data = feature.decode_example_np(data)
        return Item(self.name_of(index), data, max(label, 0))

    def name_of(self, index: int) -> str:
        """Returns an image's name without reading it."""
        return str(index)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_opened": None}

    def _open(self) -> tuple[Records, Parser, Any]:
        """Opens the files, once in each process."""
        if self._opened is None:
            builder = open_builder(*self._arguments)
            features = builder.info.features
            self._opened = (
                open_records(builder, self._split),
                record_parser(features, self._image, self._label),
                find_feature(features, self._image),
            )
        return self._opened
