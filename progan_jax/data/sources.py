"""Image sets in memory: the package's digits, MNIST's files, TFDS sets, pyramids."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from progan_jax.data.checks import (
    check_features,
    check_memory,
    check_size,
    check_split,
    preparation,
)
from progan_jax.data.decoding import BadImage
from progan_jax.data.idx import is_idx, load_idx
from progan_jax.data.names import first_few
from progan_jax.data.prepared import is_pyramid, load_prepared
from progan_jax.data.pyramid import Pyramid, build_pyramid
from progan_jax.data.records import (
    FORMATS,
    Decoder,
    class_names,
    make_decoder,
    newest_version,
    open_folder,
    open_records,
)
from progan_jax.errors import UserError
from progan_jax.files import check_utf_8, local_folder

_DIGITS = Path(__file__).with_name("digits.npz")

_CHUNK = 512  # Records read at a time.

# Below this side most of decoding is Python's own work, which threads only slow down.
_THREADED_FROM = 64


def load(
    name: str, data_dir: str, split: str, resolution: int, max_memory_mib: float
) -> Pyramid:
    """Loads an image set as a pyramid.

    Args:
      name: "digits", or the name of a prepared set or of a set in MNIST's format, or of
        a TFDS set, NAME or NAME/CONFIG, whose images have the final resolution.
      data_dir: Folder of sets; "" is $TFDS_DATA_DIR, or else ~/tensorflow_datasets. Not
        needed for the digits.
      split: Split of the set.
      resolution: Final side in pixels, a power of two of at least 4.
      max_memory_mib: Largest pyramid that is built in memory.

    Raises:
      UserError: if the set is missing, or does not fit.
    """
    prepared = tfds_root(data_dir) / name
    if is_pyramid(prepared):
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
      UserError: if it is not finished, or its record is missing.
    """
    return is_pyramid(tfds_root(data_dir) / name)


def load_digits(resolution: int) -> Pyramid:
    """Loads the 1,797 handwritten digits of the package, scaled to a resolution.

    Args:
      resolution: Side in pixels, a power of two of at least 4.

    Source: Alpaydin and Kaynak 1998; see digits.md beside the file.
    """
    with np.load(_DIGITS) as digits:
        images = _scale_digits(digits["images"], resolution)
        labels = digits["labels"].astype(np.int32)
    names = tuple(map(str, range(10)))
    return build_pyramid("digits", images[..., None], labels, 10, names)


def _scale_digits(digits: np.ndarray, resolution: int) -> np.ndarray:
    """Scales values 0..16 of [N, 8, 8] to bytes of [N, resolution, resolution]."""
    # The strokes touch the border: an empty pixel on all sides lets them end softly.
    # Bicubic, since Lanczos leaves faint ghosts of the strokes in the black.
    around = ((0, 0), (1, 1), (1, 1))
    bright = np.pad(digits * (255 / 16), around).astype(np.float32)
    size, kind = (resolution, resolution), Image.Resampling.BICUBIC
    resized = (Image.fromarray(x).resize(size, kind) for x in bright)
    scaled = np.stack([np.asarray(image) for image in resized])
    return np.clip(np.rint(scaled), 0, 255).astype(np.uint8)


def load_tfds(
    name: str, data_dir: str, split: str, resolution: int, max_memory_mib: float
) -> Pyramid:
    """Loads a prepared TFDS set of images of the final resolution; see `load`.

    Classes are those of the ClassLabel feature `label`. Without it, or where it is -1,
    as in an unlabelled split, the set has none.
    """
    builder = open_builder(name, data_dir)
    info = builder.info
    check_split(name, split, {s: info.splits[s].num_examples for s in info.splits})
    check_features(name, info.features)
    records = open_records(builder, split)
    channels = info.features["image"].shape[-1] or 3
    shape = (len(records), resolution, resolution, channels)
    decode = make_decoder(info.features, channels)
    try:
        check_size(name, decode(records[0])[0].shape, resolution)
        check_memory(name, shape, max_memory_mib)
        images, labels = _read_images(name, records, decode, shape)
    except BadImage as error:
        raise UserError(
            f"config.data.name = {name!r}: it has a damaged image ({error}); prepare a "
            "set without it by prepare_data, and train with that"
        ) from error
    names = class_names(info.features)
    if not names or labels.min() < 0:
        return build_pyramid(name, images, None, num_classes=0)
    if labels.max() >= len(names):
        raise UserError(
            f"config.data.name = {name!r}: image {labels.argmax()} has class "
            f"{labels.max()}, and the set has classes from 0 to {len(names) - 1:,}; "
            "prepare it again"
        )
    return build_pyramid(name, images, labels, len(names), names)


def tfds_root(data_dir: str) -> Path:
    """Returns the folder of sets: `data_dir`, or TFDS's default."""
    root = data_dir or os.environ.get("TFDS_DATA_DIR", "~/tensorflow_datasets")
    check_utf_8("config.data.data_dir", root)
    return local_folder("config.data.data_dir", root).expanduser()


def open_builder(name: str, data_dir: str) -> Any:
    """Returns the TFDS builder of the newest version of a prepared set.

    Raises:
      UserError: if the set is missing, damaged or in a format that is not read.
    """
    root = tfds_root(data_dir)
    field = f"config.data.data_dir = {data_dir!r}"
    field += "" if data_dir else f" (that is, {str(root)!r})"
    prepare = preparation(name, root)
    if not root.is_dir():
        raise UserError(
            f"{field} is not a folder; name the folder of your TFDS sets, or {prepare}"
        )
    newest = newest_version(root / name)
    if newest is None:
        is_pyramid(root / name)  # Raises if levels exist without their record.
        there = first_few(sorted(path.name for path in root.iterdir()))
        raise UserError(
            f"config.data.name = {name!r}: there is no such set in {field} (there: "
            f"{there or 'nothing'}); name another set or folder, or {prepare}"
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


def _read_images(
    name: str, records: Any, decode: Decoder, shape: tuple[int, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """Returns images uint8 `shape` and their classes int32 [n]."""
    images = np.empty(shape, np.uint8)
    labels = np.empty(shape[0], np.int32)

    def read(start: int) -> None:
        chunk = range(start, min(start + _CHUNK, shape[0]))
        for i, record in zip(chunk, records.__getitems__(list(chunk)), strict=True):
            image, labels[i] = decode(record)
            if image.shape != shape[1:]:
                raise UserError(
                    f"config.data.name = {name!r}: its images differ in shape: "
                    f"{list(shape[1:])}, and {list(image.shape)} of image {i}; choose "
                    "a set of images of one size"
                )
            images[i] = image

    threads = os.cpu_count() if shape[1] >= _THREADED_FROM else 1
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(read, range(0, shape[0], _CHUNK)))
    return images, labels
