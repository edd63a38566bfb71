"""Makes images ready for training: a resolution pyramid, as TFDS sets.

    python -m progan_jax.tools.prepare_data SOURCE --out=DIR --resolution=R

SOURCE is one of
    tfds:NAME[/CONFIG]     a prepared TFDS set in --data_dir
    lmdb:PATH              an LMDB as LSUN publishes it, or its zip file
    folder:PATH, zip:PATH  PNG, JPEG and WebP files; classes by folder or --labels
    celeba_hq:PATH         CelebA's photographs, aligned by --landmarks=FILE;
                           --keep=N takes the best
    digits                 scikit-learn's handwritten digits
    synthetic:N            noise, for benchmarks

The same command again goes on after a stop. Training then takes
    --config.data.data_dir=DIR --config.data.name=NAME
"""

import os
import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from absl import flags
from tqdm import tqdm

from progan_jax.data.celeba_hq_reader import AlignedReader
from progan_jax.data.checks import check_local
from progan_jax.data.file_reader import FileReader
from progan_jax.data.lmdb_reader import (
    LmdbReader,
    check_archive,
    lmdb_name,
    unpack_lmdb,
)
from progan_jax.data.preview import check_room, contact_sheet, estimate, free_bytes
from progan_jax.data.readers import (
    DigitsReader,
    Source,
    Subset,
    SyntheticReader,
    digest_times,
    fingerprint,
)
from progan_jax.data.scoring import keep_best, score_images, write_scores
from progan_jax.data.shards import Settings, Shard
from progan_jax.data.tfds_reader import TfdsReader
from progan_jax.data.unfinished import UNFINISHED, begin, check_free, choose
from progan_jax.data.writing import finish, write_pyramid, write_skipped
from progan_jax.errors import UserError
from progan_jax.files import lock_folder
from progan_jax.images import write_png
from progan_jax.runtime.command_line import run_with_argument
from progan_jax.runtime.preemption import ending_in_a_line
from progan_jax.tools import prepare_flags as given

flags.adopt_module_key_flags(given)


def main(source: str) -> None:
    """Reads the flags, writes the pyramid and tells of it."""
    try:
        with ending_in_a_line("the same command goes on"):
            _run(source)
    except OSError as error:  # A full disk, above all.
        raise UserError(
            f"{error.filename or '--out'}: {error.strerror or error}; mend that, and "
            "run the same command again"
        ) from error


def _run(source: str) -> None:
    settings = given.read_settings(source.partition(":")[0])
    if given.NAME.value and not _is_name(given.NAME.value):
        raise UserError(
            f"--name={given.NAME.value} must be of letters, digits, _ and -; set "
            "another"
        )
    reader = _open(source, settings)
    if isinstance(reader, AlignedReader) and given.EXPLAIN_IMAGE.value:
        _explain(reader, given.EXPLAIN_IMAGE.value)
        return
    if given.MAX_IMAGES.value is not None:
        reader = Subset(reader, range(min(given.MAX_IMAGES.value, len(reader))))
    reader.name = given.NAME.value or reader.name
    if not _is_name(reader.name):
        raise UserError(f"{source}: {reader.name!r} can be no set's name; set --name")
    folder = Path(given.OUT.value or "") / reader.name
    check_free(folder)
    if given.DRY_RUN.value:
        _tell_estimate(reader, folder, settings)
    else:
        with _alone_in(folder):
            _prepare(source, reader, folder, settings)


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Keeps others who would prepare the same set out."""
    try:
        held = lock_folder(folder)
    except BlockingIOError as error:
        raise UserError(
            f"--out: {folder}: another process prepares it; wait for that one, or "
            "choose another --name"
        ) from error
    except OSError as error:
        raise UserError(
            f"--out: {folder} cannot be made ({error.strerror}); choose another folder"
        ) from error
    try:
        yield
    finally:
        os.close(held)


def _prepare(source: str, reader: Source, folder: Path, settings: Settings) -> None:
    started = time.perf_counter()
    check_free(folder)  # Another process may have finished it just now.
    # --strict and --keep may change on the way: what is finished holds no bad image,
    # and scores are of all images.
    content = {k: v for k, v in asdict(settings).items() if k != "strict"}
    content |= {"max_images": given.MAX_IMAGES.value, "images": fingerprint(reader)}
    identity = content | {"times": digest_times(reader), "source": source}
    unfinished = begin(folder, identity)
    check_room(reader, folder, settings, given.KEEP.value)
    skipped: list[tuple[str, str]] = []
    choose(folder, given.KEEP.value)
    if given.KEEP.value is not None:
        reader, skipped = _keep_best(reader, folder, unfinished / "scores")
    num_unscored = len(skipped)
    with _bar("written", len(reader)) as bar:

        def report(shard: Shard) -> None:
            bar.update(shard.num_images + len(shard.skipped))

        shards = write_pyramid(
            reader, folder, settings, identity, given.WORKERS.value, report
        )
    skipped += [pair for shard in shards for pair in shard.skipped]
    write_skipped(folder, skipped)
    if not any(shard.num_images for shard in shards):
        raise UserError(
            f"{source}: none of the images can be used; see {folder / 'skipped.csv'}"
        )
    write_png(folder / "contact_sheet.png", contact_sheet(reader, settings))
    content |= {"keep": given.KEEP.value}
    finish(folder, reader, settings, content, shards, num_unscored, source)
    seconds = time.perf_counter() - started
    print(_summary(folder, reader, shards, len(skipped), seconds))


def _keep_best(
    reader: Source, folder: Path, unfinished: Path
) -> tuple[Source, list[tuple[str, str]]]:
    """Scores all images; returns the best, and names and reasons of unusable ones."""
    with _bar("scored", len(reader)) as bar:

        def report(num_images: int) -> None:
            bar.update(num_images)

        scores = score_images(
            reader, unfinished, given.STRICT.value, given.WORKERS.value, report
        )
    best = keep_best(reader, scores, given.KEEP.value or len(reader))
    write_scores(folder / "scores.csv", scores, best)
    return best, [(s.name, s.reason) for s in scores if s.score is None]


def _bar(done: str, total: int) -> tqdm:
    hidden = not sys.stderr.isatty()
    return tqdm(desc=done, total=total, unit="img", disable=hidden, leave=False)


def _explain(reader: AlignedReader, name: str) -> None:
    path = Path(given.OUT.value or "") / f"{Path(name).stem}_steps.png"
    write_png(path, reader.draw(name))
    print(path)


def _is_name(name: str) -> bool:
    return bool(re.fullmatch(r"\w[\w-]*", name))


def _open(source: str, settings: Settings) -> Source:
    kind, _, rest = source.partition(":")
    labels = Path(given.LABELS.value) if given.LABELS.value else None
    if source == "digits":
        return DigitsReader(settings.resolution)
    if kind == "synthetic" and rest.isdigit() and int(rest):
        return SyntheticReader(int(rest), settings.resolution)
    if kind == "tfds" and rest:
        return _open_tfds(rest)
    if kind in ("folder", "zip", "lmdb", "celeba_hq") and rest:
        check_local("SOURCE", rest)
        path = Path(rest)
        if not path.exists():
            raise UserError(f"{source}: there is no {path}; name another")
        if kind == "celeba_hq":
            return _open_celeba_hq(path, settings)
        return _open_lmdb(path) if kind == "lmdb" else _open_files(path, labels)
    raise UserError(
        f"{source!r} is no source; write tfds:NAME, lmdb:PATH, folder:PATH, zip:PATH, "
        "celeba_hq:PATH, digits or synthetic:N"
    )


def _open_tfds(name: str) -> TfdsReader:
    try:
        return TfdsReader(
            name,
            given.DATA_DIR.value,
            given.SPLIT.value,
            given.IMAGE_FEATURE.value,
            given.LABEL_FEATURE.value,
        )
    except UserError as error:  # It speaks of a run's fields: here they are flags.
        words = re.sub(r"config\.data\.name = '(.*?)'", r"tfds:\1", str(error))
        words = re.sub(r"config\.data\.(\w+) = ('.*?')", r"--\1=\2", words)
        raise UserError(words) from error


def _open_files(path: Path, labels: Path | None) -> FileReader:
    reader = FileReader(path, labels)
    if reader.is_mixed and labels is None:
        print(
            f"warning: {path}: images beside its folders belong to no class, so that "
            "the set has none; move them into folders, or give --labels",
            file=sys.stderr,
        )
    return reader


def _open_celeba_hq(path: Path, settings: Settings) -> AlignedReader:
    if not given.LANDMARKS.value:
        raise UserError(
            "--landmarks is missing: name CelebA's list_landmarks_celeba.txt"
        )
    return AlignedReader(path, Path(given.LANDMARKS.value), settings.resolution)


def _open_lmdb(path: Path) -> LmdbReader:
    if path.is_dir():
        return LmdbReader(path)
    if given.DRY_RUN.value:
        raise UserError(
            f"--dry_run: the images of {path} cannot be counted before it is unpacked; "
            "unpack it and name the folder, or leave --dry_run out"
        )
    name = lmdb_name(path)
    folder = Path(given.OUT.value or "") / (given.NAME.value or name)
    check_free(folder)
    checksum = check_archive(path)
    with _alone_in(folder):
        unpacked = unpack_lmdb(path, folder / UNFINISHED / "lmdb")
    return LmdbReader(unpacked, name, checksum)


def _tell_estimate(reader: Source, folder: Path, settings: Settings) -> None:
    num_bytes, seconds = estimate(
        reader, settings, given.WORKERS.value, given.KEEP.value
    )
    free = free_bytes(folder)
    print(
        f"{folder}: {given.KEEP.value or len(reader):,} images, about "
        f"{num_bytes / 2**20:,.0f} MiB and {seconds:,.0f} s with {given.WORKERS.value} "
        f"worker(s), {free / 2**20:,.0f} MiB are free"
        + (", which is TOO LITTLE" if num_bytes > free else "")
        + "; nothing was written"
    )


def _summary(
    folder: Path, reader: Source, shards: list[Shard], skipped: int, seconds: float
) -> str:
    images = sum(shard.num_images for shard in shards)
    num_bytes = sum(sum(shard.num_bytes.values()) for shard in shards)
    return (
        f"{folder}: {images:,} images, {reader.num_classes} classes, "
        f"{num_bytes / 2**20:,.1f} MiB in {seconds:,.1f} s; {skipped:,} skipped"
        + (f" (see {folder / 'skipped.csv'})" if skipped else "")
        + f"; look at {folder / 'contact_sheet.png'}"
    )


if __name__ == "__main__":
    run_with_argument(main, "SOURCE")
