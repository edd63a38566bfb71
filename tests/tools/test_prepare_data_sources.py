"""What the word before a path may be given, and what is said when it is another's."""

import os
import subprocess
import sys
import zipfile

import lmdb
import pytest

SCRIPT = """
import sys
from absl import flags
from progan_jax.prepare.writing import Settings
from progan_jax.errors import UserError
from progan_jax.tools.prepare_data import open_source
flags.FLAGS(["x", "--out=out"])
def describe(reader):
    return f"{len(reader)} of {reader.name}"
for source in sys.argv[1:]:
    try:
        print(describe(open_source(source, Settings(8))), end="\\0")
    except UserError as error:
        print(error, end="\\0")
"""

EXPECTED = {
    # A file of the folder stands for the folder, and a folder for the file.
    "lmdb:tower": "2 of tower",
    "lmdb:tower/data.mdb": "2 of tower",
    "lmdb:tower/lock.mdb": "2 of tower",
    "lmdb:alone.mdb": "2 of alone",
    "lmdb:huge.mdb": "checking lmdb:huge.mdb, 5.0 GB\n2 of huge",
    "lmdb:bedroom_train_lmdb.zip": "2 of bedroom",
    "folder:images": "1 of images",
    "zip:images": "1 of images",
    "zip:images.zip": "1 of images",
    "folder:images.zip": "1 of images",
    # Or the line says what to write.
    "folder:tower": "tower is an LMDB; write lmdb:tower",
    "zip:tower/data.mdb": "tower/data.mdb is an LMDB; write lmdb:tower/data.mdb",
    "zip:bedroom_train_lmdb.zip": (
        "bedroom_train_lmdb.zip is an LMDB; write lmdb:bedroom_train_lmdb.zip"
    ),
    "lmdb:images": (
        "lmdb:images: data.mdb cannot be read (No such file or directory); name the "
        "folder that holds data.mdb, or the zip file of it"
    ),
    "lmdb:images/1.png": (
        "lmdb:images/1.png: not an LMDB data file (MDB_MAGIC not found in first page), "
        "or an unsupported 32-bit / foreign-endian file; download it again, or name an "
        "LMDB"
    ),
    "lmdb:images.zip": (
        "lmdb:images.zip: it holds no data.mdb, and must hold one; name the zip file "
        "of one LMDB"
    ),
    "folder:images/1.png": (
        "images/1.png: cannot be read (File is not a zip file); name a folder or a zip "
        "file of images that can"
    ),
    "stacked_mnist:mnist/train-images-idx3-ubyte.gz": (
        "stacked_mnist:mnist/train-images-idx3-ubyte.gz is a file; write "
        "stacked_mnist:mnist"
    ),
    "tfds:tfds/bugs/1.0.0": (
        "tfds:tfds/bugs/1.0.0 is a path; write tfds:NAME --data_dir=DIR, or "
        "tfds:NAME/CONFIG, for a set whose folder is DIR/NAME"
    ),
    "images": "'images' is no source; write tfds:NAME, [...]; here folder:images",
    "tower": "'tower' is no source; write tfds:NAME, [...]; here lmdb:tower",
}


@pytest.fixture
def sources(tmp_path):
    """Returns a folder of sources of each kind."""
    (tmp_path / "tfds" / "bugs" / "1.0.0").mkdir(parents=True)
    (tmp_path / "tfds" / "bugs" / "1.0.0" / "features.json").touch()
    for name in ("images/1.png", "mnist/train-images-idx3-ubyte.gz"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_bytes(
            b"neither an image nor a database, nor an archive"
        )
    with (
        lmdb.open(str(tmp_path / "tower"), map_size=2**20) as environment,
        environment.begin(write=True) as transaction,
    ):
        transaction.put(b"0", b"x")
        transaction.put(b"1", b"x")
    data = (tmp_path / "tower" / "data.mdb").read_bytes()
    (tmp_path / "alone.mdb").write_bytes(data)
    (tmp_path / "huge.mdb").write_bytes(data)
    os.truncate(tmp_path / "huge.mdb", 5 * 10**9)
    with zipfile.ZipFile(tmp_path / "bedroom_train_lmdb.zip", "w") as archive:
        archive.writestr("bedroom_train_lmdb/data.mdb", data)
    with zipfile.ZipFile(tmp_path / "images.zip", "w") as archive:
        archive.writestr("1.png", b"x")
    return tmp_path


def test_each_source_works_or_ends_in_a_line_that_says_what_to_write(sources):
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *EXPECTED],
        capture_output=True,
        text=True,
        cwd=sources,
        env=os.environ | {"JAX_PLATFORMS": "cpu"},
    )
    assert not done.returncode, done.stderr
    listed = "lmdb:PATH, folder:PATH, zip:PATH, celeba_hq:PATH, stacked_mnist:PATH, "
    listed += "digits or synthetic:N"
    *answers, _ = done.stdout.replace(listed, "[...]").split("\0")
    assert dict(zip(EXPECTED, answers, strict=True)) == EXPECTED
