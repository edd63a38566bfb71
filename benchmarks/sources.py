"""The speed of preparing photographs of 178x218 at 128x128, by the kind of source.

They are cut from scikit-learn's two photographs (`pip install scikit-learn`);
`benchmarks.data` prints the rows.
"""

import hashlib
import io
import tempfile
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lmdb
import numpy as np
from PIL import Image

from progan_jax.prepare.file_reader import FileReader
from progan_jax.prepare.lmdb_reader import LmdbReader
from progan_jax.prepare.readers import Reader
from progan_jax.prepare.tfds_reader import TfdsReader
from progan_jax.prepare.writing import Settings, file_template, write_pyramid

_NUM_IMAGES, _H, _W, _SIDE = 300, 218, 178, 128


def source_rows() -> Iterator[str]:
    """Yields a row of the table for every kind of source."""
    images = list(_photographs())
    jpegs = [_encode(image, "jpeg", quality=90) for image in images]
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        for source, files, reader in (
            ("folder", "JPEG, quality 90", _folder(root / "folder", jpegs)),
            ("zip", "JPEG, quality 90", _zip(root / "photographs.zip", jpegs)),
            ("lmdb", "WebP, quality 90", _lmdb(root / "lmdb", images)),
            ("tfds", "PNG in ArrayRecord", _tfds(root, images)),
        ):
            rate = _rate(reader, root / f"of_{source}")
            yield f"| {source} | {files} | {rate:,.0f} |"


def _rate(reader: Reader, folder: Path) -> float:
    """Returns images prepared, at all levels, for each second of a core."""
    reader[0]  # Opens the files.
    started = time.process_time()
    shards = write_pyramid(reader, folder, Settings(_SIDE), {}, 1, lambda shard: None)
    seconds = time.process_time() - started
    return sum(shard.num_images for shard in shards) / seconds


def _photographs() -> Iterator[np.ndarray]:
    from sklearn.datasets import load_sample_images

    generator = np.random.default_rng(0)
    for i in range(_NUM_IMAGES):
        photograph = load_sample_images().images[i % 2]
        y = generator.integers(photograph.shape[0] - _H)
        x = generator.integers(photograph.shape[1] - _W)
        yield photograph[y : y + _H, x : x + _W]


def _encode(image: np.ndarray, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, kind, **options)
    return buffer.getvalue()


def _folder(path: Path, files: list[bytes]) -> Reader:
    path.mkdir()
    for i, data in enumerate(files):
        (path / f"{i:03d}.jpg").write_bytes(data)
    return FileReader(path)


def _zip(path: Path, files: list[bytes]) -> Reader:
    with zipfile.ZipFile(path, "w") as archive:
        for i, data in enumerate(files):
            archive.writestr(f"{i:03d}.jpg", data)
    return FileReader(path)


def _lmdb(path: Path, images: list[np.ndarray]) -> Reader:
    with (
        lmdb.open(str(path), map_size=2**28) as environment,
        environment.begin(write=True) as transaction,
    ):
        for image in images:
            data = _encode(image, "webp", quality=90)
            transaction.put(hashlib.sha1(data).hexdigest().encode(), data)
    return LmdbReader(path)


def _tfds(root: Path, images: list[np.ndarray]) -> Reader:
    """Writes a set as TFDS does, and opens it."""
    import tensorflow_datasets as tfds
    from array_record.python.array_record_module import ArrayRecordWriter

    folder = root / "photographs" / "1.0.0"
    folder.mkdir(parents=True)
    features = tfds.features.FeaturesDict(
        {"image": tfds.features.Image(shape=(_H, _W, 3))}
    )
    template = file_template(folder, "photographs")
    writer = ArrayRecordWriter(
        str(template.sharded_filepath(shard_index=0, num_shards=1)), "group_size:1"
    )
    for image in images:
        example = {"image": io.BytesIO(_encode(image, "png"))}
        writer.write(features.serialize_example(example))
    writer.close()
    identity = tfds.core.DatasetIdentity(
        name="photographs", version="1.0.0", data_dir=str(folder), module_name=""
    )
    info = tfds.core.DatasetInfo(builder=identity, features=features)
    info.set_file_format("array_record")
    split = tfds.core.SplitInfo(
        name="train",
        shard_lengths=[len(images)],
        num_bytes=0,
        filename_template=template,
    )
    info.set_splits(tfds.core.splits.SplitDict([split]))
    info.write_to_directory(folder)
    return TfdsReader("photographs", str(root), "train")
