import io
import os
import pickle
import random
import shutil
import struct
import subprocess
import sys
import zipfile
from collections import namedtuple
from functools import partial

import lmdb
import numpy as np
import pytest
from PIL import Image

from progan_jax.configs.lsun import CATEGORIES, get_config
from progan_jax.data.decoding import BadImage, check_bytes, decode
from progan_jax.data.sources import load
from progan_jax.errors import UserError
from progan_jax.prepare import lmdb_reader
from progan_jax.prepare.lmdb_reader import LmdbReader, lmdb_name, unpack_lmdb
from progan_jax.prepare.writing import Settings, finish, write_pyramid
from tests.memory import allocating_at_most

ITEMS = {b"ff": b"two", b"0a": b"one"}
PAGE = 4096
ENGINES = pytest.mark.parametrize("engine", [0, 1])  # LMDB 0.9 and 1.0.


def make_lmdb(path, *transactions, engine=0):
    """Writes an LMDB by transactions of keys and values; None deletes a key."""
    with lmdb.open(str(path), map_size=2**24, lib_version=engine) as environment:
        for items in transactions:
            with environment.begin(write=True) as transaction:
                for key, value in items.items():
                    if value is None:
                        transaction.delete(key)
                    else:
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


@ENGINES
def test_what_transactions_replaced_and_deleted_is_not_read(tmp_path, engine):
    rng = random.Random(engine)
    sizes = [1, 500, 2038, 4080, 9000]
    first = {b"%03d" % i: rng.randbytes(rng.choice(sizes)) for i in range(400)}
    second = {key: rng.randbytes(rng.choice(sizes)) for key in list(first)[::7]}
    third = dict.fromkeys(list(first)[1::5])
    folder = make_lmdb(tmp_path / "x", first, second, third, engine=engine)
    expected = first | second | third
    assert contents(folder) == [
        (key.decode(), value) for key, value in expected.items() if value is not None
    ]


def test_a_worker_reads_without_checking_the_file_again(tmp_path, monkeypatch):
    reader = LmdbReader(make_lmdb(tmp_path / "x", ITEMS))
    assert reader[0].data == b"one"
    sent = pickle.dumps(reader)
    del reader
    monkeypatch.setattr(lmdb_reader, "verify", None)
    assert pickle.loads(sent)[1].data == b"two"


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
        shards = write_pyramid(
            reader, folder, Settings(8), {}, 1, lambda num_images: None
        )
        finish(folder, reader, Settings(8), {}, shards)
        name = get_config(category).data.name
        assert load(name, str(tmp_path), "train", 8, 1).num_images == 1
        assert not (folder / ".partial").exists()


def test_what_is_no_lmdb_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"name the folder of data\.mdb"):
        LmdbReader(tmp_path)
    with pytest.raises(UserError, match=r"none cannot be read \(No such file"):
        LmdbReader(tmp_path / "none")
    with pytest.raises(UserError, match="the LMDB is empty"):
        LmdbReader(make_lmdb(tmp_path / "empty", {}))
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "data.mdb").write_bytes(b"no database" * 1000)
    with pytest.raises(UserError, match=r"text: not an LMDB data file \("):
        LmdbReader(tmp_path / "text")


def test_an_lmdb_cut_short_is_refused_before_it_is_read(tmp_path):
    folder = make_lmdb(tmp_path / "x", {b"%d" % i: bytes(5000) for i in range(9)})
    size = (folder / "data.mdb").stat().st_size
    os.truncate(folder / "data.mdb", size - 4096)
    with pytest.raises(UserError, match=f"has {size - 4096:,} of its {size:,} bytes"):
        LmdbReader(folder)


def test_a_value_that_is_cut_short_is_noticed_by_the_size_of_the_file(tmp_path):
    """The verifier looks at the first page of a value alone."""
    folder = make_lmdb(tmp_path / "x", {b"1": bytes(9000)})
    environment = lmdb.open(str(folder), readonly=True, lock=False)
    needed = (environment.info()["last_pgno"] + 1) * PAGE
    environment.close()
    data = (folder / "data.mdb").read_bytes()
    value = data.index(bytes(9000)) // PAGE
    assert value + 3 == needed // PAGE
    os.truncate(folder / "data.mdb", (value + 1) * PAGE)
    assert not lmdb_reader.verify(str(folder))
    with pytest.raises(UserError, match=f"of its {needed:,} bytes; download it again"):
        LmdbReader(folder)


def test_an_lmdb_whose_pages_are_damaged_is_refused_with_the_first_finding(tmp_path):
    folder = make_lmdb(tmp_path / "x", {b"%d" % i: bytes([i]) * 9000 for i in range(3)})
    data = (folder / "data.mdb").read_bytes()
    # The pages of a value begin with their number: 4096 is that of none.
    page = data.index(bytes([1]) * 100) - 16
    (folder / "data.mdb").write_bytes(data[:page] + b"\0\x10" + data[page + 2 :])
    finding = f"page {page // PAGE} stores mp_pgno 4096"
    with pytest.raises(UserError, match=rf"it is damaged \(main.*{finding}\); downl"):
        LmdbReader(folder)


@ENGINES
@pytest.mark.parametrize("size", [1_234_568 + PAGE, 2**23, 2**28])
def test_a_damaged_size_of_a_value_does_not_end_the_process(tmp_path, engine, size):
    """It leads beyond the end of the file, where the library would read on."""
    folder = make_lmdb(tmp_path / "x", {b"1": bytes(1_234_567)}, engine=engine)
    path = folder / "data.mdb"
    data, written = path.read_bytes(), struct.pack("<I", 1_234_567)
    assert data.count(written) == 1
    path.write_bytes(data.replace(written, struct.pack("<I", size)))
    with pytest.raises(UserError, match="it is damaged"):
        LmdbReader(folder)


@ENGINES
@pytest.mark.parametrize("alone", [False, True])
def test_a_sound_lmdb_that_is_refused_is_read_after_the_command_in_the_line(
    tmp_path, engine, alone
):
    path = tmp_path / "my photographs"
    with (
        lmdb.open(str(path), lib_version=engine, subdir=not alone) as environment,
        environment.begin(write=True) as transaction,
    ):
        transaction.put(b"a", bytes(13000))
        transaction.put(b"b", b"y" * 9000)
        transaction.put(b"a", b"x" * 5000)
    with pytest.raises(UserError, match="copy your own by: python -m lmdb -r -e OLD"):
        LmdbReader(path)
    flags = ["-r", "-e", path, "-E", tmp_path / "new", *(["-s"] * alone)]
    subprocess.run([sys.executable, "-m", "lmdb", *flags, "rewrite"], check=True)
    assert contents(tmp_path / "new") == [("a", b"x" * 5000), ("b", b"y" * 9000)]


def test_named_databases_are_refused(tmp_path):
    with lmdb.open(str(tmp_path / "x"), max_dbs=2) as environment:
        inner = environment.open_db(b"images")
        with environment.begin(write=True, db=inner) as transaction:
            transaction.put(b"0", b"x")
    with pytest.raises(UserError, match="has named databases"):
        LmdbReader(tmp_path / "x")


def test_a_thousand_databases_within_one_another_are_refused(tmp_path):
    with lmdb.open(str(tmp_path / "x"), max_dbs=1, lib_version=0) as environment:
        environment.open_db(b"ab")
    path = tmp_path / "x" / "data.mdb"
    data = path.read_bytes()
    trees = 16 + 24, 16 + 24 + 48  # Of free pages and of keys, on the second page.
    (root,) = struct.unpack_from("<Q", data, PAGE + trees[1] + 40)
    page = bytearray(data[root * PAGE : (root + 1) * PAGE])
    file = bytearray(data[: 2 * PAGE])
    for number in range(2, 1002):  # Each holds one database, which is the next page.
        struct.pack_into("<Q", page, 0, number)
        tree = struct.pack("<IHHQQQQQ", 0, 0, 1, 0, 1, 0, 1, number + 1)
        page[-48:] = tree
        file += page
    struct.pack_into("<Q", file, PAGE + trees[1] + 40, 2)
    struct.pack_into("<Q", file, PAGE + trees[1] + 48, 1001)
    path.write_bytes(file)
    with pytest.raises(UserError, match="maximum recursion depth exceeded"):
        LmdbReader(tmp_path / "x")


def test_a_value_larger_than_a_photograph_is_left_out_unread(tmp_path, monkeypatch):
    folder = make_lmdb(tmp_path / "x", {b"0": b"", b"1": bytes(3 * 2**20)})
    limited = partial(check_bytes, most=2**21)
    monkeypatch.setattr(lmdb_reader, "check_bytes", limited)
    with (
        allocating_at_most(2**20),
        pytest.raises(BadImage, match="it has more than 2 MiB"),
    ):
        LmdbReader(folder)[1]


def test_an_image_whose_key_is_not_found_is_left_out_with_a_reason(tmp_path):
    """The verifier does not compare the keys of branch pages with those of leaves."""
    items = {b"%03d" % i: bytes([i]) * 400 for i in range(100)}
    folder = make_lmdb(tmp_path / "x", items)
    data = bytearray((folder / "data.mdb").read_bytes())
    pages = range(2 * PAGE, len(data), PAGE)
    branch = next(p for p in pages if struct.unpack_from("<H", data, p + 10)[0] == 1)
    (second,) = struct.unpack_from("<H", data, branch + 18)
    place = branch + second + 8  # Of the first key of the second leaf.
    key = bytes(data[place : place + 3])
    data[place : place + 3] = b"%03d" % (int(key) + 1)
    (folder / "data.mdb").write_bytes(data)
    reader = LmdbReader(folder)
    assert reader[int(key) + 1].data == items[b"%03d" % (int(key) + 1)]
    with pytest.raises(BadImage, match="does not find its key"):
        reader[int(key)]


@pytest.fixture(scope="module", params=[0, 1])
def images(request, tmp_path_factory):
    """Returns an LMDB's bytes, its images in order, and places to damage it."""
    rng, noise = random.Random(0), np.random.default_rng(0)
    files = {}
    for side in [4] * 40 + [32] * 5 + [60] * 15:
        buffer = io.BytesIO()
        pixels = noise.integers(0, 256, (side, side, 3), np.uint8)
        Image.fromarray(pixels).save(buffer, "PNG")
        files[b"%040x" % rng.getrandbits(160)] = buffer.getvalue()
    items = sorted(files.items(), key=lambda item: item[1])
    folder = tmp_path_factory.mktemp("lmdb")
    make_lmdb(folder, dict(items[::2]), dict(items[1::2]), engine=request.param)
    data = (folder / "data.mdb").read_bytes()
    pages = range(0, len(data), PAGE)
    kind_at = 18 if request.param else 10
    heads = [page + k for page in pages for k in range(32)]
    trees = [
        page + k
        for page in pages
        if struct.unpack_from("<H", data, page + kind_at)[0] in (1, 2, 8)
        for k in (*range(200), *range(PAGE - 3000, PAGE))
    ]
    # The first two pages end in the number of a transaction, by which the newer one is
    # found. The older one is complete, too: nothing shows that it is not the newer.
    numbers = {p + kind_at + 6 + 128 + k for p in (0, PAGE) for k in range(8)}
    places = [sorted({*range(len(data))} - numbers), heads]
    places.append(sorted({*trees} - numbers))
    return data, [decode(files[key], 3) for key in sorted(files)], places


def outcome(path, expected):
    """Reads all images; each must be as expected, or be left out."""
    try:
        reader = LmdbReader(path)
    except UserError as error:
        assert "\n" not in str(error)
        return "refused"
    result = "same"
    for index, image in enumerate(expected):
        try:
            assert np.array_equal(decode(bytes(reader[index].data), 3), image)
        except BadImage:
            result = "left out"
    assert len(reader) == len(expected)
    return result


def test_a_damaged_byte_never_ends_the_process_nor_shows_another_image(
    images, tmp_path
):
    data, expected, places = images
    rng, path = random.Random(1), tmp_path / "data.mdb"
    path.write_bytes(data)
    assert outcome(path, expected) == "same"
    outcomes = []
    for trial in range(90):
        damaged = bytearray(data)
        position = rng.choice(places[trial % 3])
        damaged[position] ^= rng.choice([1 << rng.randrange(8), 255])
        path.write_bytes(damaged)
        outcomes.append(outcome(path, expected))
    assert {"left out", "refused"} <= set(outcomes)


def test_a_file_cut_anywhere_is_refused(images, tmp_path):
    data, expected, _ = images
    rng, path = random.Random(2), tmp_path / "data.mdb"
    for size in [0, 1, 20, PAGE, *rng.sample(range(len(data)), 20), len(data) - 1]:
        path.write_bytes(data[:size])
        assert outcome(path, expected) == "refused"


def test_a_file_with_the_data_may_have_any_name(tmp_path):
    folder = make_lmdb(tmp_path / "x", ITEMS)
    path = (folder / "data.mdb").rename(tmp_path / "faces.lmdb")
    assert contents(path) == [("0a", b"one"), ("ff", b"two")]
    assert LmdbReader(path).name == "faces"
    path = path.rename(tmp_path / os.fsdecode(b"\xff.lmdb"))
    assert contents(path) == [("0a", b"one"), ("ff", b"two")]


def test_a_zipped_lmdb_is_unpacked_once(tmp_path, monkeypatch):
    archive = pack(make_lmdb(tmp_path / "tower", ITEMS), tmp_path / "tower.zip")
    folder = unpack_lmdb(archive, tmp_path / "out")
    assert contents(folder) == [("0a", b"one"), ("ff", b"two")]
    monkeypatch.setattr(shutil, "copyfileobj", None)
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
    assert "it has no data.mdb, and must have one" in refuse(archive, tmp_path)
    pack(source, archive)
    with zipfile.ZipFile(archive, "a") as opened:
        opened.write(source / "data.mdb", "val/data.mdb")
    assert "it has 2 data.mdb, and must have one" in refuse(archive, tmp_path)


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
    monkeypatch.setattr(shutil, "copyfileobj", None)
    assert "make room, or choose another" in refuse(archive, tmp_path)
