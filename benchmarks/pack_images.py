"""A small file of a TFDS set's images: `python -m benchmarks.pack_images NAME`.

Writes the first images of each class as lossless WebP into a zip file, classes as
folders, which `progan_jax prepare_data zip:FILE` reads on a machine without the set.

    --data_dir=DIR         TFDS root
    --out=FILE             the zip file
    --max_images=10000     equally many of each class
"""

import io
import zipfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from absl import flags
from PIL import Image

from progan_jax.data.decoding import decode
from progan_jax.errors import UserError
from progan_jax.files import writing_to
from progan_jax.prepare.readers import Item, Reader
from progan_jax.prepare.tfds_reader import TfdsReader
from progan_jax.runtime.command_line import run

DATA_DIR = flags.DEFINE_string("data_dir", "", "TFDS root.")
SPLIT = flags.DEFINE_string("split", "train", "Split of the set.")
OUT = flags.DEFINE_string("out", None, "The zip file.")
MAX_IMAGES = flags.DEFINE_integer("max_images", 10_000, "Number of images.")


def main(name: str) -> None:
    """Writes the file and prints what it holds."""
    if not OUT.value:
        raise UserError("--out is missing: name the zip file")
    reader = TfdsReader(name, DATA_DIR.value, SPLIT.value)
    per_class = MAX_IMAGES.value // max(reader.num_classes, 1)
    if per_class < 1:
        raise UserError(
            f"--max_images={MAX_IMAGES.value} must be at least 1 for each of "
            f"{max(reader.num_classes, 1)} classes; raise it"
        )
    count = 0
    with writing_to("--out", OUT.value), zipfile.ZipFile(OUT.value, "w") as archive:
        for item in first_of_classes(reader, per_class):
            folder = (reader.class_names or ("images",))[item.label]
            # A ZipInfo has no date of its own, so that the same images give one file.
            member = zipfile.ZipInfo(f"{folder}/{item.name:0>6}.webp")
            archive.writestr(member, _webp(item))
            count += 1
    mib = Path(OUT.value).stat().st_size / 2**20
    print(
        f"{OUT.value}: {count:,} of {len(reader):,} images, at most {per_class:,} of "
        f"each class, {mib:.1f} MiB"
    )


def first_of_classes(reader: Reader, per_class: int) -> Iterator[Item]:
    """Yields at most `per_class` images of each class, in the order of the set."""
    taken = Counter[int]()
    for index in range(len(reader)):
        item = reader[index]
        if taken[item.label] < per_class:
            taken[item.label] += 1
            yield item
        if taken.total() == per_class * max(reader.num_classes, 1):
            return


def _webp(item: Item) -> bytes:
    buffer = io.BytesIO()
    pixels = decode(item.data, 3) if isinstance(item.data, bytes) else item.data
    Image.fromarray(pixels).save(buffer, "WEBP", lossless=True, method=4)
    return buffer.getvalue()


if __name__ == "__main__":
    run(main, "NAME")
