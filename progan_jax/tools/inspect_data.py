"""Counts, checks and draws an image set on disk, or compares two.

    python -m progan_jax.tools.inspect_data DIR [--max_images=N] [--out=FOLDER]
    python -m progan_jax.tools.inspect_data DIR --compare=OTHER [--max_images=N]

DIR is DIR/NAME of a set that prepare_data has written, or a TFDS set. Every level is
counted, checked against the one above it and drawn to FOLDER/rNNN.png (FOLDER is
DIR_inspection by default). The exit code is 0 if nothing is wrong, or the two sets are
equal, 1 if not, and 2 if a file cannot be read.
"""

import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

from absl import flags
from tqdm import tqdm

from progan_jax.data.names import counted, describe_classes
from progan_jax.data.prepared import level_name
from progan_jax.errors import UserError
from progan_jax.files import check_utf_8, local_folder, writing_to
from progan_jax.images import write_png
from progan_jax.prepare.inspection import (
    Comparison,
    Difference,
    StoredSet,
    Summary,
    compare,
    contact_sheet,
    inspect,
    open_stored,
)
from progan_jax.runtime.command_line import run

OUT = flags.DEFINE_string("out", None, "Folder for the contact sheets.")

MAX_IMAGES = flags.DEFINE_integer("max_images", None, "Read at most this many.")

COMPARE = flags.DEFINE_string("compare", None, "Another set to compare with.")

SPLIT = flags.DEFINE_string("split", "train", "Split of a TFDS set.")


def main(folder: str) -> None:
    """Inspects the set, or compares it with another."""
    if MAX_IMAGES.value is not None and MAX_IMAGES.value < 1:
        raise UserError(f"--max_images={MAX_IMAGES.value} must be at least 1; raise it")
    images = _open("DIR", folder)
    fine = _compare(images) if COMPARE.value else _inspect(images)
    sys.exit(0 if fine else 1)


def _open(field: str, folder: str) -> StoredSet:
    check_utf_8(field, folder)
    return open_stored(local_folder(field, folder), SPLIT.value)


def _inspect(images: StoredSet) -> bool:
    with _bar(len(images.largest)) as bar:
        summary = inspect(images, MAX_IMAGES.value, bar.update)
    print("\n".join(_summary_lines(images, summary)))
    print(_draw(images))
    faults = list(summary.faults())
    for fault in faults:
        print(f"fault: {fault}")
    return not faults


def _compare(images: StoredSet) -> bool:
    other = _open("--compare", COMPARE.value or "")
    with _bar(min(len(images.largest), len(other.largest))) as bar:
        comparison = compare(images, other, MAX_IMAGES.value, bar.update)
    print("\n".join(_comparison_lines(images, other, comparison)))
    return comparison.equal


def _bar(num_images: int) -> tqdm:
    total = min(num_images, MAX_IMAGES.value or num_images)
    return tqdm(total=total, unit="img", disable=not sys.stderr.isatty(), leave=False)


def _summary_lines(images: StoredSet, summary: Summary) -> Iterator[str]:
    num_images, *_, channels = images.largest.shape
    num_bytes = sum(level.num_bytes for level in summary.levels.values())
    yield (
        f"{images.folder}: {counted(num_images, 'image')}, "
        f"{counted(channels, 'channel')}, {describe_classes(images.num_classes, ())}, "
        f"{num_bytes / 2**20:,.1f} MiB; {summary.num_inspected:,} read"
    )
    width = 7 * channels - 1
    yield (
        f"{'level':>5}  {'images':>10}  {'MiB':>10}  {'not mean':>8}  "
        f"{'mean':{width}}  {'stddev':{width}}"
    )
    for side, level in summary.levels.items():
        not_mean = "-" if level.num_not_mean is None else f"{level.num_not_mean:,}"
        means, stddevs = (
            " ".join(f"{value:.4f}" for value in values)
            for values in (level.mean, level.stddev)
        )
        yield (
            f"{side:>5}  {level.num_images:>10,}  {level.num_bytes / 2**20:>10,.1f}  "
            f"{not_mean:>8}  {means}  {stddevs}"
        )
    if images.num_classes:
        names = images.class_names or range(images.num_classes)
        counts = [
            f"{name}={count:,}"
            for name, count in zip(names, summary.label_counts, strict=True)
        ]
        counts += [f"none={summary.num_unlabelled:,}"] * bool(summary.num_unlabelled)
        yield textwrap.fill("images of each class: " + ", ".join(counts), 88)


def _draw(images: StoredSet) -> str:
    folder = images.folder.resolve()
    out = (
        Path(OUT.value) if OUT.value else folder.with_name(f"{folder.name}_inspection")
    )
    with writing_to("--out", out):
        for side, level in images.levels.items():
            write_png(out / f"{level_name(side)}.png", contact_sheet(level))
    return f"look at the contact sheets in {out}"


def _comparison_lines(
    one: StoredSet, other: StoredSet, comparison: Comparison
) -> Iterator[str]:
    yield (
        f"{one.folder} and {other.folder}: {comparison.num_compared:,} images compared"
    )
    yield from comparison.notes
    for side, difference in comparison.levels.items():
        yield f"level {side}: {_describe(difference, 'images')}"
    if comparison.levels:
        yield f"labels: {_describe(comparison.labels, 'labels')}"
    yield "the sets are equal" if comparison.equal else "the sets differ"


def _describe(difference: Difference, what: str) -> str:
    if difference.first is None:
        return "equal"
    return (
        f"{difference.num_differ:,} {what} differ, by at most {difference.largest}; "
        f"the first is {difference.first}"
    )


if __name__ == "__main__":
    run(main, "DIR")
