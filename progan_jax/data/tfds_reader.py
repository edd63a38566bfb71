"""A prepared TFDS set as a reader of encoded images; TensorFlow is not needed."""

from typing import Any

from progan_jax.data.checks import check_features, check_split
from progan_jax.data.readers import Item
from progan_jax.data.sources import class_label, open_builder


class TfdsReader:
    """The images of one split, in the order of the set, in their own encoding."""

    def __init__(self, name: str, data_dir: str, split: str) -> None:
        """Opens the set.

        Args:
          name: NAME or NAME/CONFIG.
          data_dir: TFDS root; see `sources.load`.
          split: Of the set.

        Raises:
          UserError: if the set is not prepared, or holds no images.
        """
        self._arguments = name, data_dir
        self._split = split
        self._records: Any = None
        self._features: Any = None
        self._decoders: Any = None
        self._image: Any = None
        self.name = name.replace("/", "_")
        info = open_builder(name, data_dir).info
        check_split(name, split, {s: info.splits[s].num_examples for s in info.splits})
        check_features(name, info.features)
        self._length = info.splits[split].num_examples
        self.num_classes = getattr(class_label(info.features), "num_classes", 0) or 0

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> Item:
        self._open()
        example = self._features.deserialize_example_np(
            self._records[index], decoders=self._decoders
        )
        data = example["image"]
        if not isinstance(data, bytes):  # A Tensor feature holds pixels.
            data = self._image.decode_example_np(data)
        return Item(str(index), data, max(int(example.get("label", 0)), 0))

    def __getstate__(self) -> dict[str, Any]:
        opened = ("_records", "_features", "_decoders", "_image")
        return self.__dict__ | dict.fromkeys(opened)

    def _open(self) -> None:
        """Opens the files, once in each process."""
        if self._records is not None:
            return
        import tensorflow_datasets as tfds

        builder = open_builder(*self._arguments)
        features = builder.info.features
        names = ["image"] if class_label(features) is None else ["image", "label"]
        self._features = tfds.features.FeaturesDict({n: features[n] for n in names})
        self._decoders = {n: tfds.decode.SkipDecoding() for n in names}
        self._image = features["image"]
        self._records = builder.as_data_source(
            self._split,
            deserialize_method=tfds.decode.DeserializeMethod.RAW_BYTES,
            file_format="array_record",
        )
