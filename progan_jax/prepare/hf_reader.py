"""A reader of image sets of the Hugging Face Hub, or of folders in one of its layouts.

`datasets` is imported when it is first used; the extra "hf" installs it. It downloads
into its own cache, and runs no code of a repository; versions that may are refused.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from progan_jax.data.decoding import BadImage, check_bytes
from progan_jax.data.names import first_few
from progan_jax.errors import UserError, reason
from progan_jax.prepare.readers import Item, Reader

_LEAST_VERSION = 4  # From it on the library runs no code of a repository.

_REPOSITORY = re.compile(r"([\w.-]+(?:/[\w.-]+)?)(?:/([\w.-]+))?", re.ASCII)

_WITH_SPLIT = re.compile(r"(.+?):([\w.+-]+(?:\[.*\])?)")  # Such as PATH:train[:100].


class HfReader(Reader):
    """The images of one split, in the order of the set, in their own encoding."""

    def __init__(
        self, source: str, image: str | None = None, label: str | None = None
    ) -> None:
        """Opens the set, which is downloaded if the library's cache lacks it.

        Args:
          source: USER/NAME[/CONFIG][:SPLIT], or the path of a folder[:SPLIT].
          image: Feature of the images; None for the only one of type Image.
          label: Feature of the classes, a ClassLabel; None for the only one if there is
            one; "" for no classes.

        Raises:
          UserError: if the library is not installed or too old, the set cannot be read,
            or it has no such split or features.
        """
        library = _library(source)
        path, split = _split_off(source)
        self.name = _set_name(path)
        images = _load(library, path, split)
        self._image = _choose(source, images.features, library.Image, "image", image)
        if self._image is None:
            raise UserError(
                f"hf:{source}: its features ({', '.join(images.features)}) have no "
                "images; choose a set that has"
            )
        self._label = _choose(
            source, images.features, library.ClassLabel, "label", label
        )
        # Its own decoder would convert some files before ours sees them.
        undecoded = library.Image(decode=False)
        self._rows = images.cast_column(self._image, undecoded)
        self._num_images = len(images)
        if self._label is not None:
            self.class_names = tuple(images.features[self._label].names)
            self.num_classes = len(self.class_names)
            self._labels = _labels(images, self._label)
            if self._labels.min(initial=0) >= 0:
                self.labels = self._labels

    def __len__(self) -> int:
        return self._num_images

    def __getitem__(self, index: int) -> Item:
        label = int(self._labels[index]) if self._label is not None else 0
        if self.num_classes and label >= self.num_classes:
            raise BadImage(f"it has class {label} of {self.num_classes:,} from 0 on")
        return Item(self.name_of(index), _read(self._rows[index][self._image]), label)

    def listing(self) -> Iterator[str]:
        """Yields split and features, the sizes of the cached files, and all classes."""
        yield f"{self._rows.split} {self._rows.features}"
        for path in self._files():
            yield str(path.stat().st_size)
        if self._label is not None:
            yield from map(str, self._labels)

    def times(self) -> Iterator[str]:
        """Yields the folders of the cached files: their names hash what was read."""
        return (path.parent.name for path in self._files())

    def _files(self) -> list[Path]:
        return [Path(file["filename"]) for file in self._rows.cache_files]


def _library(source: str) -> ModuleType:
    try:
        import datasets
    except ImportError as error:
        raise UserError(
            f"hf:{source}: the library datasets is not installed; pip install datasets"
        ) from error
    if int(datasets.__version__.partition(".")[0]) < _LEAST_VERSION:
        raise UserError(
            f"hf:{source}: datasets {datasets.__version__} is installed, and versions "
            f"before {_LEAST_VERSION} may run code of a repository; pip install "
            f"'datasets>={_LEAST_VERSION}'"
        )
    return datasets


def _set_name(path: str) -> str:
    """Returns NAME or NAME_CONFIG, or the name of a folder."""
    folder = Path(path)
    if folder.is_dir():
        return folder.absolute().name
    return "_".join(re.sub(r"[^\w/-]", "_", path).split("/")[1:] or [path])


def _split_off(source: str) -> tuple[str, str]:
    """Returns the repository or the folder, and the split."""
    if Path(source).is_dir():
        return source, "train"
    match = _WITH_SPLIT.fullmatch(source)
    return (match[1], match[2]) if match else (source, "train")


def _load(library: ModuleType, path: str, split: str) -> Any:
    """Returns a split of a set, with its rows in files of the library's cache."""
    folder, config = Path(path), None
    if not folder.is_dir():
        match = _REPOSITORY.fullmatch(path)
        if match is None:
            raise UserError(
                f"hf:{path}: there is no such folder, and a repository is "
                "USER/NAME[/CONFIG][:SPLIT]; write one of them"
            )
        path, config = match[1], match[2]
    try:
        if (folder / "state.json").is_file():  # Of one split, by save_to_disk.
            if split != "train":
                raise UserError(
                    f"hf:{path}: it was written by save_to_disk and holds one split; "
                    f"leave :{split} out"
                )
            return library.load_from_disk(path)
        return library.load_dataset(path, config, split=split)
    except Exception as error:  # Its own, and those of the libraries it uses.
        raise _explained(path, split, error) from error


def _explained(path: str, split: str, error: Exception) -> UserError:
    """Returns one line for an exception of the library."""
    problem = reason(error)
    if isinstance(error.__cause__, Exception):  # Such as that of a damaged file.
        problem += f": {reason(error.__cause__)}"
    fix = "check the folder"
    if not Path(path).is_dir():
        fix = "check the name, the network and your login ('hf auth login')"
    return UserError(f"hf:{path}: split {split!r} cannot be read: {problem}; {fix}")


def _choose(
    source: str, features: Any, kind: type, flag: str, wanted: str | None
) -> str | None:
    """Returns the feature of a kind, or None without one.

    Raises:
      UserError: if the wanted one is of another kind, or none of several is wanted.
    """
    if wanted == "" and flag == "label":
        return None
    found = [name for name, feature in features.items() if isinstance(feature, kind)]
    if wanted is not None and wanted not in found:
        raise UserError(
            f"--{flag}_feature={wanted}: it is no {kind.__name__} of hf:{source}; "
            f"choose one of: {first_few(found) or 'none, there is no such feature'}"
        )
    if wanted is None and len(found) > 1:
        raise UserError(
            f"hf:{source} has several features of type {kind.__name__}; choose one by "
            f"--{flag}_feature: {first_few(found)}"
        )
    return wanted if wanted is not None else (found[0] if found else None)


def _labels(images: Any, label: str) -> np.ndarray:
    """Returns the classes int [n]; -1 for images without one."""
    column = images.select_columns([label]).with_format("arrow")[:][label]
    return column.fill_null(-1).to_numpy().astype(np.int64)


def _read(image: Any) -> bytes:
    """Returns the bytes of an image, or of the file that it names.

    Raises:
      BadImage: if there is none, or it is too large or cannot be read.
    """
    if image is None:
        raise BadImage("its row has no image")
    if image["bytes"] is not None:
        check_bytes(len(image["bytes"]))
        return image["bytes"]
    try:
        path = Path(image["path"])
        check_bytes(path.stat().st_size)
        return path.read_bytes()
    except OSError as error:
        raise BadImage(error.strerror or str(error)) from error
