import io
import os
import pickle
import shutil
import struct
import zipfile
from collections import namedtuple

import lmdb
import pytest
from PIL import Image

from progan_jax.configs.lsun import CATEGORIES, get_config
from progan_jax.data import lmdb_reader
from progan_jax.data.decoding import BadImage
from progan_jax.data.lmdb_reader import LmdbReader, lmdb_name, unpack_lmdb
from progan_jax.data.shards import Settings
from progan_jax.data.sources import load
from progan_jax.data.writing import finish, write_pyramid
from progan_jax.errors import UserError
from tests.data.memory import allocating_at_most

ITEMS = {b"ff": b"two", b"0a": b"one"}


def make_lmdb(path, items):
    with (
        lmdb.open(str(path), map_size=2**24) as environment,
        environment.begin(write=True) as transaction,
    ):
        for key, value in items.items():
            transaction.put(key, value)
    return path


def pack(folder, archive, prefix=None, method=zipfile.ZIP_DEFLATED):
    """Zips an LMDB as LSUN does: the folder with data.mdb and lock.mdb in it."""
    prefix = f"{folder.name}/" if prefix is None else prefix
    with zipfile.ZipFile(archive, "w", method) as opened:
        for name in ("data.mdb", "lock.mdb"):
            opened.write(folder / name, prefix + name)
    return archive


def contents(path):
    reader = LmdbReader(path)
    return [(reader[i].name, reader[i].data) for i in range(len(reader))]


def test_an_lmdb_is_read_in_the_order_of_its_keys(tmp_path):
    reader = LmdbReader(make_lmdb(tmp_path / "tower_lmdb", ITEMS))
    items = [reader[i] for i in range(2)]
    assert [(i.name, i.data, i.label) for i in items] == [
        ("0a", b"one", 0),
        ("ff", b"two", 0),
    ]
    assert reader.name == "tower"
    assert pickle.loads(pickle.dumps(reader))[0] == items[0]


@pytest.mark.parametrize("category", CATEGORIES)
def test_names_are_those_of_the_recipe(tmp_path, category):
    # Scenes come as NAME_train_lmdb.zip, objects as NAME.zip.
    for name in (f"{category}_train_lmdb.zip", f"{category}.zip", f"{category}_lmdb"):
        assert lmdb_name(tmp_path / name) == category
    assert lmdb_name(tmp_path / f"{category}_val_lmdb.zip") == f"{category}_val"


def test_every_category_is_found_by_its_recipe(tmp_path):
    image = io.BytesIO()
    Image.new("RGB", (8, 8)).save(image, "WEBP")
    source = make_lmdb(tmp_path / "any", {b"0": image.getvalue()})
    archive = pack(source, tmp_path / "any.zip")
    for category in CATEGORIES:
        scene = tmp_path / f"{category}_train_lmdb.zip"
        folder = tmp_path / "lsun" / lmdb_name(scene)
        unpacked = unpack_lmdb(archive, folder / ".partial" / "lmdb")
        reader = LmdbReader(unpacked, lmdb_name(scene))
        shards = write_pyramid(reader, folder, Settings(8), {}, 1, lambda shard: None)
        finish(folder, reader, Settings(8), {}, shards)
        name = get_config(category).data.name
        assert load(name, str(tmp_path), "train", 8, 1).num_images == 1
        assert not (folder / ".partial").exists()


def test_what_is_no_lmdb_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"name the folder that holds data\.mdb"):
        LmdbReader(tmp_path)
    with pytest.raises(UserError, match=r"none cannot be read \(No such file"):
        LmdbReader(tmp_path / "none")
    with pytest.raises(UserError, match="the LMDB is empty"):
        LmdbReader(make_lmdb(tmp_path / "empty", {}))
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "data.mdb").write_bytes(b"no database" * 1000)
    with pytest.raises(UserError, match="it is no LMDB, or not one of a 64-bit"):
        LmdbReader(tmp_path / "text")


def test_an_lmdb_cut_short_is_refused_before_it_is_read(tmp_path):
    folder = make_lmdb(tmp_path / "x", {b"%d" % i: bytes(5000) for i in range(9)})
    size = (folder / "data.mdb").stat().st_size
    os.truncate(folder / "data.mdb", size - 4096)
    with pytest.raises(UserError, match=f"has {size - 4096:,} of its {size:,} bytes"):
        LmdbReader(folder)


def test_an_image_whose_pages_are_damaged_is_left_out_with_a_reason(tmp_path):
    folder = make_lmdb(tmp_path / "x", {b"%d" % i: bytes([i]) * 9000 for i in range(3)})
    data = (folder / "data.mdb").read_bytes()
    # The pages of a value begin with their number: 4096 is that of none.
    page = data.index(bytes([1]) * 100) - 16
    (folder / "data.mdb").write_bytes(data[:page] + b"\0\x10" + data[page + 2 :])
    reader = LmdbReader(folder)
    assert [reader[i].data[:1] for i in (0, 2)] == [b"\0", b"\2"]
    with pytest.raises(BadImage, match="its pages hold something else"):
        reader[1]


def test_a_value_larger_than_a_photograph_is_left_out_unread(tmp_path):
    folder = make_lmdb(tmp_path / "x", {b"0": b"", b"1": bytes(1_234_567)})
    path = folder / "data.mdb"
    data, size = path.read_bytes(), struct.pack("<I", 1_234_567)
    assert data.count(size) == 1
    path.write_bytes(data.replace(size, struct.pack("<I", 2**28 + 1)))
    with allocating_at_most(2**20), pytest.raises(BadImage, match="are more than"):
        LmdbReader(folder)[1]


def test_a_file_with_the_data_may_have_any_name(tmp_path):
    folder = make_lmdb(tmp_path / "x", ITEMS)
    path = (folder / "data.mdb").rename(tmp_path / "faces.lmdb")
    assert contents(path) == [("0a", b"one"), ("ff", b"two")]
    assert LmdbReader(path).name == "faces"


def test_a_zipped_lmdb_is_unpacked_once(tmp_path, monkeypatch):
    archive = pack(make_lmdb(tmp_path / "tower", ITEMS), tmp_path / "tower.zip")
    folder = unpack_lmdb(archive, tmp_path / "out")
    assert contents(folder) == [("0a", b"one"), ("ff", b"two")]
    monkeypatch.setattr(lmdb_reader, "_unpack", None)
    assert unpack_lmdb(archive, tmp_path / "out") == folder


def test_what_was_unpacked_by_half_or_of_another_archive_is_not_taken(tmp_path):
    out = tmp_path / "out"
    first = pack(make_lmdb(tmp_path / "a", ITEMS), tmp_path / "a.zip")
    folder = unpack_lmdb(first, out)
    (folder / "data.mdb").rename(folder / ".data.mdb.partial")
    os.truncate(folder / ".data.mdb.partial", 100)
    assert contents(unpack_lmdb(first, out)) == [("0a", b"one"), ("ff", b"two")]
    second = pack(make_lmdb(tmp_path / "b", {b"0": b"three"}), tmp_path / "b.zip")
    assert contents(unpack_lmdb(second, out)) == [("0", b"three")]
    assert len(list(out.iterdir())) == 1


def test_paths_within_a_zip_lead_nowhere(tmp_path):
    source = make_lmdb(tmp_path / "tower", ITEMS)
    for prefix in ("../../", "/"):
        archive = pack(source, tmp_path / "evil.zip", prefix)
        shutil.rmtree(tmp_path / "deep", ignore_errors=True)
        folder = unpack_lmdb(archive, tmp_path / "deep" / "out")
        assert contents(folder) == [("0a", b"one"), ("ff", b"two")]
        files = {p for p in tmp_path.rglob("*.mdb") if p.parent != source}
        assert files == {folder / "data.mdb"}


def refuse(archive, tmp_path):
    """Returns why an archive is refused; nothing of it may stay."""
    with pytest.raises(UserError) as caught:
        unpack_lmdb(archive, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    return str(caught.value)


def test_a_zip_without_one_lmdb_is_refused(tmp_path):
    source = make_lmdb(tmp_path / "tower", ITEMS)
    archive = tmp_path / "x.zip"
    archive.write_bytes(b"no zip")
    assert "cannot be unpacked (File is not a zip file)" in refuse(archive, tmp_path)
    with zipfile.ZipFile(archive, "w") as opened:
        opened.writestr("a.png", b"")
    assert "it holds no data.mdb, and must hold one" in refuse(archive, tmp_path)
    pack(source, archive)
    with zipfile.ZipFile(archive, "a") as opened:
        opened.write(source / "data.mdb", "val/data.mdb")
    assert "it holds 2 data.mdb, and must hold one" in refuse(archive, tmp_path)


def test_a_damaged_or_encrypted_zip_is_refused(tmp_path):
    source = make_lmdb(tmp_path / "tower", ITEMS)
    archive = pack(source, tmp_path / "x.zip", method=zipfile.ZIP_STORED)
    whole = archive.read_bytes()
    archive.write_bytes(whole.replace(b"three", b"seven").replace(b"two", b"six"))
    assert "Bad CRC-32" in refuse(archive, tmp_path)
    # The bit that says that a member is encrypted: in its header and the directory.
    encrypted = bytearray(whole)
    encrypted[6] |= 1
    encrypted[whole.index(b"PK\x01\x02") + 8] |= 1
    archive.write_bytes(encrypted)
    assert "password required" in refuse(archive, tmp_path)
    pack(source, archive, method=zipfile.ZIP_BZIP2)
    assert "packed by another method than deflate" in refuse(archive, tmp_path)


def test_a_full_disk_is_noticed_before_anything_is_unpacked(tmp_path, monkeypatch):
    archive = pack(make_lmdb(tmp_path / "tower", ITEMS), tmp_path / "tower.zip")
    usage = namedtuple("usage", "free")(free=100)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    assert "make room, or choose another" in refuse(archive, tmp_path)
