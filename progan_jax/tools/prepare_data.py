"""Makes images ready for training: a resolution pyramid, as TFDS sets.

    python -m progan_jax.tools.prepare_data SOURCE --out=DIR --resolution=R

SOURCE is one of
    tfds:NAME[/CONFIG]     a prepared TFDS set in --data_dir
    lmdb:PATH              an LMDB as LSUN publishes it, or its zip file
    folder:PATH, zip:PATH  PNG, JPEG, WebP and BMP files; classes by folder,
                           dataset.json or --labels
    celeba_hq:PATH         CelebA's photographs, aligned by --landmarks=FILE;
                           --keep=N takes the best
    digits                 1,797 handwritten digits, in the package
    stacked_mnist:PATH     a million stacks of three of MNIST's digits, from its files
    synthetic:N            noise, for benchmarks

The same command again goes on after a stop. Training then takes
    --config.data.data_dir=DIR --config.data.name=NAME
"""

import os
import re
import sys
import time
import zipfile
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from absl import flags
from tqdm import tqdm

from progan_jax.data.checks import check_local
from progan_jax.data.names import counted, describe_classes, first_few, printable
from progan_jax.data.prepared import UNFINISHED
from progan_jax.errors import UserError, warn
from progan_jax.files import check_utf_8
from progan_jax.images import write_png
from progan_jax.prepare.celeba_hq import AlignedReader
from progan_jax.prepare.file_reader import BAD_ZIP, FileReader
from progan_jax.prepare.lmdb_reader import (
    LMDB_FILES,
    LmdbReader,
    check_archive,
    data_file,
    lmdb_name,
    unpack_lmdb,
)
from progan_jax.prepare.preview import check_room, contact_sheet, estimate, free_bytes
from progan_jax.prepare.ranking import keep_best, score_images, write_scores
from progan_jax.prepare.readers import (
    DigitsReader,
    Source,
    Subset,
    SyntheticReader,
    digest_times,
    fingerprint,
    spread,
)
from progan_jax.prepare.stacked_mnist import StackedMnistReader
from progan_jax.prepare.tfds_reader import TfdsReader
from progan_jax.prepare.unfinished import alone_in, begin, check_free, choose
from progan_jax.prepare.writing import (
    Settings,
    Shard,
    finish,
    write_pyramid,
    write_skipped,
)
from progan_jax.runtime.command_line import run_with_arguments
from progan_jax.runtime.preemption import ending_in_a_line

OUT = flags.DEFINE_string("out", None, "Folder of prepared sets.")

NAME = flags.DEFINE_string("name", None, "Name of the set; the source's by default.")

RESOLUTION = flags.DEFINE_integer("resolution", None, "Side of the largest level.")

CHANNELS = flags.DEFINE_integer("channels", 3, "1 (grey) or 3 (RGB).")

CROP = flags.DEFINE_enum(
    "crop", "centre", ["centre", "celeba", "none"], "How images become square."
)

PAD = flags.DEFINE_enum(
    "pad",
    "none",
    ["none", "black", "mirror"],
    "How smaller images are brought to size.",
)

LABELS = flags.DEFINE_string("labels", None, "CSV of file,class for folder: and zip:.")

LANDMARKS = flags.DEFINE_string(
    "landmarks", None, "CelebA's list_landmarks_celeba.txt, for celeba_hq:."
)

KEEP = flags.DEFINE_integer(
    "keep", None, "Take the best so many photographs of celeba_hq:, by their spectra."
)

EXPLAIN_IMAGE = flags.DEFINE_string(
    "explain_image", None, "Draw the steps of one photograph of celeba_hq: to --out."
)

DATA_DIR = flags.DEFINE_string("data_dir", "", "TFDS root for tfds:.")

SPLIT = flags.DEFINE_string("split", "train", "Split for tfds:.")

IMAGE_FEATURE = flags.DEFINE_string(
    "image_feature", "image", "Feature that holds the images of tfds:."
)

LABEL_FEATURE = flags.DEFINE_string(
    "label_feature", "label", "Feature that holds the classes of tfds:."
)

MAX_IMAGES = flags.DEFINE_integer(
    "max_images",
    None,
    "Take only so many: of all classes in turn, each time the first that is left; the "
    "first so many of tfds: and of sources without classes.",
)

RAW_UP_TO = flags.DEFINE_integer(
    "raw_up_to", 128, "Larger levels are stored as lossless WebP (grey ones as PNG)."
)

WORKERS = flags.DEFINE_integer("workers", os.cpu_count() or 1, "Processes.")

STRICT = flags.DEFINE_bool(
    "strict",
    False,
    "Let a bad image end the work, and any file that is neither an image nor text.",
)

DRY_RUN = flags.DEFINE_bool("dry_run", False, "Only tell what it would take.")

# Sources that a flag is for; all others refuse it.
_ONLY_FOR = {
    "labels": ("folder", "zip"),
    "landmarks": ("celeba_hq",),
    "keep": ("celeba_hq",),
    "explain_image": ("celeba_hq",),
    "data_dir": ("tfds",),
    "split": ("tfds",),
    "image_feature": ("tfds",),
    "label_feature": ("tfds",),
}


def read_settings(kind: str) -> Settings:
    """Returns how images are made, as the flags say it for sources of a kind.

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
        check_local(f"--{flag.name}", flag.value or "")
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
            f"--keep: spectra of {resolution} pixels tell little; raise --resolution "
            "to 64 at least"
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


_LARGE = 2**30  # Bytes of an LMDB.


def open_source(source: str, settings: Settings) -> Source:
    """Opens what the user calls SOURCE, as the flags say it, and prints its remarks.

    Raises:
      UserError: if it cannot be opened, or --strict is set and it holds files that
        cannot be read.
    """
    reader = _open(source, settings)
    if settings.strict and reader.unread:
        name, reason = reader.unread[0]
        raise UserError(
            f"--strict: {source} holds {counted(len(reader.unread), 'file')} of other "
            f"kinds than images and text, the first is {printable(name)} ({reason}); "
            "remove or convert what is not read, or leave --strict out"
        )
    for remark in reader.remarks:
        warn(remark)
    return reader


def _open(source: str, settings: Settings) -> Source:
    kind, _, rest = source.partition(":")
    if source == "digits":
        return DigitsReader(settings.resolution)
    if kind == "synthetic" and rest.isdigit() and int(rest):
        return SyntheticReader(int(rest), settings.resolution)
    if kind == "tfds" and rest:
        return _open_tfds(rest)
    if kind in ("folder", "zip", "lmdb", "celeba_hq", "stacked_mnist") and rest:
        check_local("SOURCE", rest)
        path = Path(rest)
        if not path.exists():
            raise UserError(f"{source}: there is no {path}; name another")
        return _open_path(kind, path, settings)
    raise UserError(
        f"{source!r} is no source; write tfds:NAME, lmdb:PATH, folder:PATH, zip:PATH, "
        "celeba_hq:PATH, stacked_mnist:PATH, digits or synthetic:N"
        + (f"; here {_kind_of(source)}:{source}" if Path(source).exists() else "")
    )


def _open_path(kind: str, path: Path, settings: Settings) -> Source:
    if kind == "lmdb":
        return _open_lmdb(path, settings.resolution)
    if kind == "celeba_hq":
        return _open_celeba_hq(path, settings)
    if kind != "stacked_mnist":
        return _open_files(path)
    if path.is_file():
        raise UserError(f"{kind}:{path} is a file; write {kind}:{path.parent}")
    return StackedMnistReader(path)


def _kind_of(path: Path | str) -> str:
    """Returns the word before the path of an LMDB, or of what else is there."""
    members = []
    with suppress(OSError, *BAD_ZIP):
        members = zipfile.ZipFile(path).namelist() if Path(path).is_file() else []
    there = (Path(path) / "data.mdb").is_file() or Path(path).name in LMDB_FILES
    inside = any(PurePosixPath(name).name in LMDB_FILES for name in members)
    return "lmdb" if there or inside else "folder"


def _open_files(path: Path) -> FileReader:
    try:
        labels = LABELS.value
        return FileReader(path, Path(labels) if labels else None)
    except UserError as error:
        if _kind_of(path) == "lmdb":
            raise UserError(f"{path} is an LMDB; write lmdb:{path}") from error
        raise


def _open_tfds(name: str) -> TfdsReader:
    try:
        return TfdsReader(
            name,
            DATA_DIR.value,
            SPLIT.value,
            IMAGE_FEATURE.value,
            LABEL_FEATURE.value,
        )
    except UserError as error:
        path = Path(name)
        if path.is_absolute() or any(path.rglob("features.json")):
            raise UserError(
                f"tfds:{name} is a path; write tfds:NAME --data_dir=DIR, or tfds:NAME/"
                "CONFIG, for a set whose folder is DIR/NAME"
            ) from error
        # It speaks of a run's fields: here they are flags.
        words = re.sub(r"config\.data\.name = '(.*?)'", r"tfds:\1", str(error))
        words = re.sub(r"config\.data\.(\w+) = ('.*?')", r"--\1=\2", words)
        raise UserError(words) from error


def _open_celeba_hq(path: Path, settings: Settings) -> AlignedReader:
    if not LANDMARKS.value:
        raise UserError(
            "--landmarks is missing: name CelebA's list_landmarks_celeba.txt"
        )
    return AlignedReader(path, Path(LANDMARKS.value), settings.resolution)


def _open_lmdb(path: Path, resolution: int) -> LmdbReader:
    if path.name in LMDB_FILES:
        path = path.absolute().parent
    if path.is_dir() or not (path.suffix == ".zip" or zipfile.is_zipfile(path)):
        _announce_check(path)
        return LmdbReader(path, resolution=resolution)
    if DRY_RUN.value:
        raise UserError(
            f"--dry_run: the images of {path} cannot be counted before it is unpacked; "
            "unpack it and name the folder, or leave --dry_run out"
        )
    name = lmdb_name(path)
    folder = Path(OUT.value or "") / (NAME.value or name)
    check_free(folder)
    checksum = check_archive(path)
    with alone_in(folder):
        unpacked = unpack_lmdb(path, folder / UNFINISHED / "lmdb")
    _announce_check(unpacked)
    return LmdbReader(unpacked, name, checksum, resolution)


def _announce_check(path: Path) -> None:
    """Prints that an LMDB is checked, if that takes more than a few seconds."""
    with suppress(OSError):  # The reader says what is wrong.
        size = data_file(path).stat().st_size
        if size >= _LARGE:
            print(f"checking lmdb:{path}, {size / 1e9:,.1f} GB", flush=True)


def main(source: str) -> None:
    """Reads the flags, writes the pyramid and tells of it."""
    try:
        with ending_in_a_line("the same command goes on"):
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
            f"--name={NAME.value} must be of letters, digits, _ and -; set another"
        )
    reader = open_source(source, settings)
    if isinstance(reader, AlignedReader) and EXPLAIN_IMAGE.value:
        _explain(reader, EXPLAIN_IMAGE.value)
        return
    if MAX_IMAGES.value is not None:
        reader = Subset(reader, spread(reader, MAX_IMAGES.value))
    reader.name = NAME.value or reader.name
    if not _is_name(reader.name):
        raise UserError(f"{source}: {reader.name!r} can be no set's name; set --name")
    folder = Path(OUT.value or "") / reader.name
    check_free(folder)
    if DRY_RUN.value:
        _tell_estimate(reader, folder, settings)
    else:
        with alone_in(folder):
            _prepare(source, reader, folder, settings)


def _prepare(source: str, reader: Source, folder: Path, settings: Settings) -> None:
    started = time.perf_counter()
    check_free(folder)  # Another process may have finished it just now.
    # --strict and --keep may change on the way: what is finished holds no bad image,
    # and scores are of all images.
    content = {k: v for k, v in asdict(settings).items() if k != "strict"}
    content |= {"max_images": MAX_IMAGES.value, "images": fingerprint(reader)}
    identity = content | {"times": digest_times(reader), "source": source}
    unfinished = begin(folder, identity)
    check_room(reader, folder, settings, KEEP.value)
    skipped = list(reader.unread)
    choose(folder, KEEP.value)
    if KEEP.value is not None:
        reader, unscored = _keep_best(reader, folder, unfinished / "scores")
        skipped += unscored
    num_unscored = len(skipped)
    with _bar("written", len(reader)) as bar:

        def report(shard: Shard) -> None:
            bar.update(shard.num_images + len(shard.skipped))

        shards = write_pyramid(
            reader, folder, settings, identity, WORKERS.value, report
        )
    skipped += [pair for shard in shards for pair in shard.skipped]
    write_skipped(folder, skipped)
    if not any(shard.num_images for shard in shards):
        raise UserError(
            f"{source}: none of the images can be used; see {folder / 'skipped.csv'}"
        )
    _check_classes(reader, shards)
    write_png(folder / "contact_sheet.png", contact_sheet(reader, settings))
    content |= {"keep": KEEP.value}
    finish(folder, reader, settings, content, shards, num_unscored, source)
    seconds = time.perf_counter() - started
    print(_summary(folder, reader, shards, len(skipped), seconds))


def _check_classes(reader: Source, shards: list[Shard]) -> None:
    """Warns of classes without images; takes all classes from a set with gaps."""
    labels = np.concatenate([np.array(shard.labels, np.int64) for shard in shards])
    if without := int((labels < 0).sum()):
        if reader.num_classes:
            have = "has" if without == 1 else "have"
            warn(
                f"{counted(without, 'image')} {have} no class, so that the set has no "
                "classes"
            )
        reader.num_classes, reader.class_names = 0, ()
    counts = np.bincount(labels[labels >= 0], minlength=reader.num_classes)
    empty = np.flatnonzero(counts[: reader.num_classes] == 0)
    if len(empty):
        names = [*(reader.class_names or map(str, range(reader.num_classes)))]
        have = "has" if len(empty) == 1 else "have"
        warn(
            f"{len(empty):,} of {reader.num_classes:,} classes {have} no images: "
            f"{first_few([names[k] for k in empty])}"
            + ("; raise --max_images" if MAX_IMAGES.value else "")
        )


def _keep_best(
    reader: Source, folder: Path, unfinished: Path
) -> tuple[Source, list[tuple[str, str]]]:
    """Scores all images; returns the best, and names and reasons of unusable ones."""
    with _bar("scored", len(reader)) as bar:

        def report(num_images: int) -> None:
            bar.update(num_images)

        scores = score_images(reader, unfinished, STRICT.value, WORKERS.value, report)
    best = keep_best(reader, scores, KEEP.value or len(reader))
    write_scores(folder / "scores.csv", scores, best)
    return best, [(s.name, s.reason) for s in scores if s.score is None]


def _bar(done: str, total: int) -> tqdm:
    hidden = not sys.stderr.isatty()
    return tqdm(desc=done, total=total, unit="img", disable=hidden, leave=False)


def _explain(reader: AlignedReader, name: str) -> None:
    path = Path(OUT.value or "") / f"{Path(name).stem}_steps.png"
    write_png(path, reader.draw(name))
    print(path)


def _is_name(name: str) -> bool:
    return bool(re.fullmatch(r"\w[\w-]*", name))


def _tell_estimate(reader: Source, folder: Path, settings: Settings) -> None:
    num_bytes, seconds = estimate(reader, settings, WORKERS.value, KEEP.value)
    free = free_bytes(folder)
    print(
        f"{folder}: {KEEP.value or len(reader):,} images, about "
        f"{num_bytes / 2**20:,.0f} MiB and {seconds:,.0f} s with "
        f"{counted(WORKERS.value, 'worker')}, {free / 2**20:,.0f} MiB are free"
        + (", which is TOO LITTLE" if num_bytes > free else "")
        + "; nothing was written"
    )


def _summary(
    folder: Path, reader: Source, shards: list[Shard], skipped: int, seconds: float
) -> str:
    images = sum(shard.num_images for shard in shards)
    num_bytes = sum(sum(shard.num_bytes.values()) for shard in shards)
    return (
        f"{folder}: {images:,} images, "
        f"{describe_classes(reader.num_classes, reader.class_names)}, "
        f"{num_bytes / 2**20:,.1f} MiB in {seconds:,.1f} s; {skipped:,} skipped"
        + (f" (see {folder / 'skipped.csv'})" if skipped else "")
        + f"; look at {folder / 'contact_sheet.png'}"
    )


if __name__ == "__main__":
    run_with_arguments(main, "SOURCE")
