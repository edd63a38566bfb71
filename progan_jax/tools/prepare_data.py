"""Prepares images for training: writes a resolution pyramid, as TFDS sets.

    python -m progan_jax.tools.prepare_data SOURCE --out=DIR --resolution=R

SOURCE is one of
    tfds:NAME[/CONFIG]     a set of TFDS, which prepares it in --data_dir if it is not
                           there; or any TFDS set that is
    hf:USER/NAME[:SPLIT]   a set of the Hugging Face Hub, or a folder in one of its
                           layouts, hf:PATH[:SPLIT]
    lmdb:PATH              an LMDB as LSUN publishes it, or its zip file
    folder:PATH, zip:PATH  PNG, JPEG, WebP and BMP files; classes by folder,
                           dataset.json or --labels
    celeba_hq:PATH         CelebA's photographs, aligned by --landmarks=FILE;
                           --keep=N takes the best
    digits                 the 1,797 handwritten digits of the package
    stacked_mnist:PATH     a million stacks of three MNIST digits, from MNIST's files
    synthetic:N            noise, for benchmarks

After a stop the same command continues. Train with
    --config.data.data_dir=DIR --config.data.name=NAME
"""

import os
import re
import zipfile
from pathlib import Path
from typing import Any

from absl import flags

from progan_jax.data.names import counted, printable
from progan_jax.data.prepared import UNFINISHED
from progan_jax.data.sources import tfds_root
from progan_jax.errors import UserError, warn
from progan_jax.files import check_utf_8, local_folder
from progan_jax.images import write_png
from progan_jax.prepare.celeba_hq import AlignedReader
from progan_jax.prepare.file_reader import FileReader
from progan_jax.prepare.hf_reader import HfReader
from progan_jax.prepare.lmdb_reader import (
    LMDB_FILES,
    LmdbReader,
    check_archive,
    lmdb_name,
    unpack_lmdb,
)
from progan_jax.prepare.preparing import Limits, prepare
from progan_jax.prepare.preview import estimate, free_bytes
from progan_jax.prepare.readers import (
    DigitsReader,
    Reader,
    Subset,
    SyntheticReader,
    spread,
)
from progan_jax.prepare.stacked_mnist import StackedMnistReader
from progan_jax.prepare.tfds_builder import build, is_missing
from progan_jax.prepare.tfds_reader import TfdsReader
from progan_jax.prepare.unfinished import alone_in, check_free
from progan_jax.prepare.writing import Settings
from progan_jax.runtime.command_line import run
from progan_jax.runtime.preemption import ending_in_a_line

OUT = flags.DEFINE_string("out", None, "Folder of prepared sets.")

NAME = flags.DEFINE_string("name", None, "Name of the set; the source's by default.")

RESOLUTION = flags.DEFINE_integer("resolution", None, "Side of the largest level.")

CHANNELS = flags.DEFINE_integer("channels", 3, "1 (grey) or 3 (RGB).")

CROP = flags.DEFINE_enum(
    "crop",
    "centre",
    ["centre", "celeba", "lsun_wide", "none"],
    "How images become square; lsun_wide leaves black bars.",
)

PAD = flags.DEFINE_enum(
    "pad",
    "none",
    ["none", "black", "mirror"],
    "How smaller images are padded; none enlarges them.",
)

LABELS = flags.DEFINE_string("labels", None, "CSV of file,class for folder: and zip:.")

LANDMARKS = flags.DEFINE_string(
    "landmarks", None, "CelebA's list_landmarks_celeba.txt, for celeba_hq:."
)

KEEP = flags.DEFINE_integer(
    "keep", None, "Number of the best photographs of celeba_hq:, by their spectra."
)

EXPLAIN_IMAGE = flags.DEFINE_string(
    "explain_image", None, "Draw the steps of one photograph of celeba_hq: to --out."
)

DATA_DIR = flags.DEFINE_string("data_dir", "", "Folder of TFDS sets, for tfds:.")

SPLIT = flags.DEFINE_string("split", "train", "Split for tfds:.")

IMAGE_FEATURE = flags.DEFINE_string(
    "image_feature",
    None,
    'Feature of the images; "image" of tfds:, the only one of type Image of hf:.',
)

LABEL_FEATURE = flags.DEFINE_string(
    "label_feature",
    None,
    'Feature of the classes; "label" of tfds:, the only ClassLabel of hf:.',
)

MAX_IMAGES = flags.DEFINE_integer(
    "max_images",
    None,
    "Number of images, chosen evenly among the classes; the first ones of tfds: and of "
    "sources without classes.",
)

RAW_UP_TO = flags.DEFINE_integer(
    "raw_up_to", 128, "Larger levels are stored as lossless WebP (grey ones as PNG)."
)

WORKERS = flags.DEFINE_integer("workers", os.cpu_count() or 1, "Number of processes.")

STRICT = flags.DEFINE_bool(
    "strict",
    False,
    "Make a bad image an error, and any file that is neither an image nor text.",
)

DRY_RUN = flags.DEFINE_bool("dry_run", False, "Only print the disk and time needed.")

# Flags of some sources only.
_ONLY_FOR = {
    "labels": ("folder", "zip"),
    "landmarks": ("celeba_hq",),
    "keep": ("celeba_hq",),
    "explain_image": ("celeba_hq",),
    "data_dir": ("tfds",),
    "split": ("tfds",),
    "image_feature": ("tfds", "hf"),
    "label_feature": ("tfds", "hf"),
}


def read_settings(kind: str) -> Settings:
    """Returns the settings of the flags, for sources of a kind.

    Raises:
      UserError: if a flag is missing, out of range or for other sources.
    """
    for name, kinds in _ONLY_FOR.items():
        if flags.FLAGS[name].present and kind not in kinds:
            raise UserError(
                f"--{name} is for {' and '.join(f'{k}:' for k in kinds)} sources; "
                "leave it out"
            )
    if not OUT.value:
        raise UserError("--out is missing: name a folder for prepared sets")
    for flag in (OUT, LABELS, LANDMARKS):
        local_folder(f"--{flag.name}", flag.value or "")
    check_utf_8("--out", OUT.value)
    resolution = RESOLUTION.value
    if resolution is None:
        raise UserError("--resolution is missing: set it, as in --resolution=128")
    if not 4 <= resolution <= 1024 or resolution & (resolution - 1):
        raise UserError(
            f"--resolution={resolution} must be a power of two from 4 to 1024; choose "
            "one"
        )
    if CHANNELS.value not in (1, 3):
        raise UserError(f"--channels={CHANNELS.value} must be 1 or 3; choose one")
    if KEEP.value is not None and resolution < 64:
        raise UserError(
            f"--keep: --resolution={resolution} is too small to score images; raise it "
            "to at least 64"
        )
    for flag in (WORKERS, MAX_IMAGES, KEEP):
        if flag.value is not None and flag.value < 1:
            raise UserError(f"--{flag.name}={flag.value} must be at least 1; raise it")
    crop: Any = CROP.value
    pad: Any = PAD.value
    return Settings(
        resolution=resolution,
        channels=CHANNELS.value,
        crop=crop,
        pad=pad,
        raw_up_to=RAW_UP_TO.value,
        strict=STRICT.value,
    )


def open_source(source: str, settings: Settings) -> Reader:
    """Opens SOURCE with the options of the flags, and prints its warnings.

    Raises:
      UserError: if it cannot be opened, or --strict is set and it has files that are
        not read.
    """
    reader = _open(source, settings)
    if settings.strict and reader.unread:
        name, reason = reader.unread[0]
        raise UserError(
            f"--strict: {source} has {counted(len(reader.unread), 'file')} that are "
            f"neither images nor text, such as {printable(name)} ({reason}); remove or "
            "convert them, or omit --strict"
        )
    for remark in reader.remarks:
        warn(remark)
    return reader


def _open(source: str, settings: Settings) -> Reader:
    kind, _, rest = source.partition(":")
    if source == "digits":
        return DigitsReader(settings.resolution)
    if kind == "synthetic" and rest.isdigit() and int(rest):
        return SyntheticReader(int(rest), settings.resolution)
    if kind == "tfds" and rest:
        return _open_tfds(rest)
    if kind == "hf" and rest:
        return HfReader(rest, IMAGE_FEATURE.value, LABEL_FEATURE.value)
    if kind in ("folder", "zip", "lmdb", "celeba_hq", "stacked_mnist") and rest:
        path = local_folder("SOURCE", rest)
        if not path.exists():
            raise UserError(f"{source}: there is no {path}; name another")
        return _open_path(kind, path, settings)
    raise UserError(
        f"{source!r} is not a source; write folder:PATH, zip:PATH, lmdb:PATH, "
        "tfds:NAME, hf:USER/NAME, celeba_hq:PATH, stacked_mnist:PATH, digits or "
        "synthetic:N"
    )


def _open_path(kind: str, path: Path, settings: Settings) -> Reader:
    if kind == "lmdb":
        return _open_lmdb(path, settings.resolution)
    if kind == "stacked_mnist":
        return StackedMnistReader(path)
    if kind != "celeba_hq":
        return FileReader(path, Path(LABELS.value) if LABELS.value else None)
    if not LANDMARKS.value:
        raise UserError(
            "--landmarks is missing: name CelebA's list_landmarks_celeba.txt"
        )
    return AlignedReader(path, Path(LANDMARKS.value), settings.resolution)


def _open_tfds(name: str) -> TfdsReader:
    image, label = IMAGE_FEATURE.value or "image", LABEL_FEATURE.value or "label"
    try:
        root = tfds_root(DATA_DIR.value)
        if is_missing(name, root):
            if DRY_RUN.value:
                raise UserError(
                    f"--dry_run: tfds:{name} is not in {root} yet, and its images "
                    "cannot be counted; omit --dry_run"
                )
            build(name, root, SPLIT.value, image)
        return TfdsReader(name, DATA_DIR.value, SPLIT.value, image, label)
    except UserError as error:
        # Its fields are flags here.
        words = re.sub(r"config\.data\.name = '(.*?)'", r"tfds:\1", str(error))
        raise UserError(re.sub(r"config\.data\.(\w+)", r"--\1", words)) from error


def _open_lmdb(path: Path, resolution: int) -> LmdbReader:
    if path.name in LMDB_FILES:
        path = path.absolute().parent
    name, checksum = lmdb_name(path), ""
    if path.is_file() and (path.suffix == ".zip" or zipfile.is_zipfile(path)):
        if DRY_RUN.value:
            raise UserError(
                f"--dry_run: the images of {path} cannot be counted before it is "
                "unpacked; unpack it and name the folder, or omit --dry_run"
            )
        folder = Path(OUT.value or "") / (NAME.value or name)
        check_free(folder)
        checksum = check_archive(path)
        with alone_in(folder):
            path = unpack_lmdb(path, folder / UNFINISHED / "lmdb")
    # It takes minutes for a large one.
    print(f"checking lmdb:{path}", flush=True)
    return LmdbReader(path, name, checksum, resolution)


def main(source: str) -> None:
    """Prepares the set that the flags describe."""
    try:
        with ending_in_a_line("the same command continues"):
            _run(source)
    except OSError as error:  # A full disk, above all.
        raise UserError(
            f"{error.filename or '--out'}: {error.strerror or error}; fix that, and "
            "run the same command again"
        ) from error


def _run(source: str) -> None:
    settings = read_settings(source.partition(":")[0])
    if NAME.value and not _is_name(NAME.value):
        raise UserError(
            f"--name={NAME.value} must consist of letters, digits, _ and -; set another"
        )
    reader = open_source(source, settings)
    if isinstance(reader, AlignedReader) and EXPLAIN_IMAGE.value:
        _explain(reader, EXPLAIN_IMAGE.value)
        return
    if MAX_IMAGES.value is not None:
        reader = Subset(reader, spread(reader, MAX_IMAGES.value))
    reader.name = NAME.value or reader.name
    if not _is_name(reader.name):
        raise UserError(f"{source}: {reader.name!r} cannot name a set; set --name")
    folder = Path(OUT.value or "") / reader.name
    check_free(folder)
    if DRY_RUN.value:
        _print_estimate(reader, folder, settings)
    else:
        limits = Limits(WORKERS.value, MAX_IMAGES.value, KEEP.value)
        print(prepare(source, reader, folder, settings, limits))


def _explain(reader: AlignedReader, name: str) -> None:
    path = Path(OUT.value or "") / f"{Path(name).stem}_steps.png"
    write_png(path, reader.draw(name))
    print(path)


def _is_name(name: str) -> bool:
    return bool(re.fullmatch(r"\w[\w-]*", name))


def _print_estimate(reader: Reader, folder: Path, settings: Settings) -> None:
    image_bytes, image_seconds = estimate(reader, settings)
    if not image_bytes:
        raise UserError(f"{reader.name}: none of the images tried can be used")
    num_images = KEEP.value or len(reader)
    num_bytes, free = image_bytes * num_images, free_bytes(folder)
    # With --keep, all images are made to be scored, and the best again.
    made = len(reader) + (KEEP.value or 0)
    print(
        f"{folder}: {num_images:,} images, about {num_bytes / 2**20:,.1f} MiB and "
        f"{image_seconds * made / WORKERS.value:,.0f} s with "
        f"{counted(WORKERS.value, 'worker')}, {free / 2**20:,.1f} MiB are free"
        + (", which is TOO LITTLE" if num_bytes > free else "")
        + "; nothing was written"
    )


if __name__ == "__main__":
    run(main, "SOURCE")
