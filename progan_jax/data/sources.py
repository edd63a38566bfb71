"""Image sets: embedded digits, MNIST's files, TFDS sets read without TensorFlow."""

import os
from concurrent.futures import ThreadPoolExecutor
from glob import iglob
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from progan_jax.data.checks import (
    check_features,
    check_local,
    check_memory,
    check_size,
    check_split,
    preparation,
)
from progan_jax.data.decoding import BadImage
from progan_jax.data.idx import is_idx, load_idx
from progan_jax.data.prepared import RECORD, is_pyramid, load_prepared
from progan_jax.data.pyramid import Pyramid, build_pyramid
from progan_jax.data.records import (
    FORMATS,
    Decoder,
    class_label,
    make_decoder,
    names_of_classes,
    newest_version,
    open_folder,
    open_records,
)
from progan_jax.errors import UserError
from progan_jax.files import check_utf_8

_DIGITS = Path(__file__).with_name("digits.npz")

_CHUNK = 512  # Records read at a time.

# Below this side Python's own share of decoding is so large that threads, which must
# take turns at it, only get in each other's way.
_THREADED_FROM = 64


def load(
    name: str, data_dir: str, split: str, resolution: int, max_memory_mib: float
) -> Pyramid:
    """Loads an image set and makes its pyramid in memory.

    Args:
      name: "digits", or the name of a prepared set or of one of MNIST's form, or of a
        TFDS set, NAME or NAME/CONFIG, whose images have the final resolution.
      data_dir: TFDS root; "" is $TFDS_DATA_DIR, then ~/tensorflow_datasets. The digits
        need none.
      split: Of the set.
      resolution: Final side in pixels, a power of two from 4 on.
      max_memory_mib: Largest pyramid that is made.

    Raises:
      UserError: if the set is not there, or does not fit.
    """
    prepared = tfds_root(data_dir) / name
    if is_prepared(name, data_dir):
        return load_prepared(prepared, split, resolution)
    if is_idx(prepared):
        return load_idx(prepared, split, resolution, max_memory_mib)
    if name != "digits":
        return load_tfds(name, data_dir, split, resolution, max_memory_mib)
    check_split(name, split, {"train": 1797})
    check_memory(name, (1797, resolution, resolution, 1), max_memory_mib)
    return load_digits(resolution)


def is_prepared(name: str, data_dir: str) -> bool:
    """Returns whether `prepare_data` has written a set; see `load`.

    Raises:
      UserError: if it is not finished, or the record of its levels is missing.
    """
    return is_pyramid(tfds_root(data_dir) / name)


def load_digits(resolution: int) -> Pyramid:
    """Loads the 1,797 handwritten digits of the package, scaled to a resolution.

    Args:
      resolution: Side in pixels, a power of two from 4 on.

    Source: Alpaydin and Kaynak 1998; see digits.md beside the file.
    """
    with np.load(_DIGITS) as digits:
        images = np.stack([_scale_digit(x, resolution) for x in digits["images"]])
        labels = digits["labels"].astype(np.int32)
    names = tuple(map(str, range(10)))
    return build_pyramid("digits", images[..., None], labels, 10, names)


def _scale_digit(digit: np.ndarray, resolution: int) -> np.ndarray:
    """Scales values 0..16 of [8, 8] to bytes of [resolution, resolution]."""
    # The strokes touch the border: an empty pixel all round lets them end softly.
    # Bicubic, since Lanczos leaves faint ghosts of the strokes in the black.
    bright = np.pad(digit * (255 / 16), 1).astype(np.float32)
    size = (resolution, resolution)
    scaled = Image.fromarray(bright).resize(size, Image.Resampling.BICUBIC)
    return np.clip(np.rint(np.asarray(scaled)), 0, 255).astype(np.uint8)


def load_tfds(
    name: str, data_dir: str, split: str, resolution: int, max_memory_mib: float
) -> Pyramid:
    """Loads a prepared TFDS set of images of the final resolution; see `load`.

    Classes are those of the ClassLabel feature `label`. Without it, or where it holds
    the -1 of an unlabelled split, the set has none.
    """
    builder = open_builder(name, data_dir)
    info = builder.info
    check_split(name, split, {s: info.splits[s].num_examples for s in info.splits})
    check_features(name, info.features)
    records = open_records(builder, split)
    channels = info.features["image"].shape[-1] or 3
    shape = (len(records), resolution, resolution, channels)
    decode = _naming(name, make_decoder(info.features, channels))
    check_size(name, decode(records[0])[0].shape, resolution)
    check_memory(name, shape, max_memory_mib)
    images, labels = read_images(name, records, decode, shape)
    names = names_of_classes(class_label(info.features))
    if not names or labels.min() < 0:
        return build_pyramid(name, images, None, num_classes=0)
    if labels.max() >= len(names):
        raise UserError(
            f"config.data.name = {name!r}: image {labels.argmax()} has class "
            f"{labels.max()}, and the set has classes from 0 to {len(names) - 1:,}; "
            "prepare it again"
        )
    return build_pyramid(name, images, labels, len(names), names)


def _naming(name: str, decode: Decoder) -> Decoder:
    """Returns a decoder that raises UserError for a damaged record of a set."""

    def decode_or_refuse(record: bytes) -> tuple[np.ndarray, int]:
        try:
            return decode(record)
        except BadImage as error:
            raise UserError(
                f"config.data.name = {name!r}: it holds a damaged image ({error}); "
                "make a set without it by prepare_data, and train with that"
            ) from error

    return decode_or_refuse


def tfds_root(data_dir: str) -> Path:
    """Returns the folder of TFDS sets: `data_dir`, or where TFDS looks by default."""
    root = data_dir or os.environ.get("TFDS_DATA_DIR", "~/tensorflow_datasets")
    check_local("config.data.data_dir", root)
    check_utf_8("config.data.data_dir", root)
    return Path(root).expanduser()


def open_builder(name: str, data_dir: str) -> Any:
    """Opens the newest version of a prepared set."""
    root = tfds_root(data_dir)
    field = f"config.data.data_dir = {data_dir!r}"
    field += "" if data_dir else f" (that is, {str(root)!r})"
    prepare = preparation(name, root)
    if not root.is_dir():
        raise UserError(
            f"{field} is no folder; name the folder of your TFDS sets, or {prepare}"
        )
    newest = newest_version(root / name)
    if newest is None:
        is_pyramid(root / name)  # Raises where levels have lost their record.
        raise UserError(
            f"config.data.name = {name!r}: no such set is prepared in {field} (there: "
            f"{', '.join(_names(root)) or 'none'}); name another set or folder, or "
            f"{prepare}"
        )
    builder = open_folder(newest)
    formats = sorted(format.value for format in builder.info.available_file_formats())
    if not set(formats) & set(FORMATS):
        raise UserError(
            f"config.data.name = {name!r}: {newest} is written as "
            f"{', '.join(formats)}, and only {' and '.join(FORMATS)} are read without "
            f"TensorFlow; move that folder away and {prepare}"
        )
    return builder


def _names(root: Path) -> list[str]:
    """Returns the sets that a folder holds; a pyramid is one, whatever its levels."""

    # Path.glob raises where a folder vanishes meanwhile.
    def found(name: str, *folders: str) -> list[Path]:
        patterns = (f"{folder}/{name}" for folder in folders)
        return [Path(path) for at in patterns for path in iglob(at, root_dir=root)]

    levels = found("features.json", "*/*", "*/*/*")
    folders = {path.parent.parent for path in levels}
    pyramids = {path.parent for path in found(RECORD, "*", "*/*")}
    sets = {f for f in folders if not pyramids & {f.parent, f.parent.parent}}
    return sorted(map(str, sets | pyramids))


def read_images(
    name: str, records: Any, decode: Decoder, shape: tuple[int, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """Reads images uint8 `shape` and their classes int32 [n]."""
    images = np.empty(shape, np.uint8)
    labels = np.empty(shape[0], np.int32)

    def read(start: int) -> None:
        chunk = range(start, min(start + _CHUNK, shape[0]))
        for i, record in zip(chunk, records.__getitems__(list(chunk)), strict=True):
            image, labels[i] = decode(record)
            if image.shape != shape[1:]:
                raise UserError(
                    f"config.data.name = {name!r}: its images vary in shape, from "
                    f"{list(shape[1:])} to {list(image.shape)} of image {i}; choose a "
                    "set of images of one size"
                )
            images[i] = image

    threads = os.cpu_count() if shape[1] >= _THREADED_FROM else 1
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(read, range(0, shape[0], _CHUNK)))
    return images, labels
