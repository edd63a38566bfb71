"""The reader of LMDB's file, against LMDB itself and against damage."""

import io
import pickle
import random
import struct

import lmdb
import numpy as np
import pytest
from PIL import Image

from progan_jax.data.decoding import BadImage, decode
from progan_jax.data.lmdb_file import DamagedLmdb, LmdbFile

PAGE = 4096
MOST = 2**20
ENGINES = pytest.mark.parametrize("engine", [0, 1])  # LMDB 0.9 and 1.0.


def write(folder, engine, *transactions):
    """Writes an LMDB by transactions of keys and values; None deletes a key."""
    with lmdb.open(str(folder), map_size=2**30, lib_version=engine) as environment:
        for items in transactions:
            with environment.begin(write=True) as transaction:
                for key, value in items.items():
                    if value is None:
                        transaction.delete(key)
                    else:
                        transaction.put(key, value)
    return folder / "data.mdb"


def contents(path):
    file = LmdbFile(path)
    return {key: file.read(i, MOST) for i, key in enumerate(file.keys)}


@ENGINES
@pytest.mark.parametrize("number", [1, 3, 100, 4000])
def test_what_lmdb_wrote_is_read(tmp_path, engine, number):
    rng = random.Random(number)
    sizes = [0, 1, 10, 500, 2000, 2037, 2038, 4000, 4080, 4081, 9000]
    first = {
        b"%0*x" % (rng.choice([1, 40, 400]), i): rng.randbytes(rng.choice(sizes))
        for i in range(number)
    }
    second = {key: rng.randbytes(rng.choice(sizes)) for key in list(first)[::7]}
    third = dict.fromkeys(list(first)[1::5])
    path = write(tmp_path / "x", engine, first, second, third)
    expected = {k: v for k, v in (first | second | third).items() if v is not None}
    assert contents(path) == expected
    assert LmdbFile(path).keys == sorted(expected)
    file = pickle.loads(pickle.dumps(LmdbFile(path)))
    assert file.read(0, MOST) == expected[min(expected)]


@ENGINES
def test_a_value_that_its_transaction_replaced_by_a_shorter_one_is_read(
    tmp_path, engine
):
    with (
        lmdb.open(str(tmp_path / "x"), lib_version=engine) as environment,
        environment.begin(write=True) as transaction,
    ):
        transaction.put(b"a", bytes(13000))
        transaction.put(b"b", b"y" * 9000)
        transaction.put(b"a", b"x" * 5000)
    expected = {b"a": b"x" * 5000, b"b": b"y" * 9000}
    assert contents(tmp_path / "x" / "data.mdb") == expected


@ENGINES
def test_an_empty_one_has_no_keys(tmp_path, engine):
    assert not LmdbFile(write(tmp_path / "x", engine)).keys
    assert not LmdbFile(write(tmp_path / "y", engine, {b"1": b""}, {b"1": None})).keys


@ENGINES
def test_values_are_no_larger_than_asked_for(tmp_path, engine):
    file = LmdbFile(write(tmp_path / "x", engine, {b"1": bytes(9000)}))
    assert len(file.read(0, 9000)) == 9000
    with pytest.raises(DamagedLmdb, match="9,000 bytes are more than 8,999"):
        file.read(0, 8999)


@ENGINES
def test_a_key_that_leads_to_the_value_of_another_is_noticed(tmp_path, engine):
    items = {bytes([65 + i]) * 40: bytes([i]) * 9000 for i in range(4)}
    path = write(tmp_path / "x", engine, items)
    data = bytearray(path.read_bytes())
    place = data.index(b"B" * 40) + 40  # Of the number of the value's first page.
    for other in (b"\0", b"\2"):
        page = data.index(other * 4000) // PAGE
        path.write_bytes(data[:place] + struct.pack("<Q", page) + data[place + 8 :])
        with pytest.raises(DamagedLmdb, match="two of its values lie in the same"):
            LmdbFile(path)
        path.write_bytes(data[:place] + struct.pack("<Q", page + 1) + data[place + 8 :])
        file = LmdbFile(path)
        with pytest.raises(DamagedLmdb, match="its pages hold something else"):
            file.read(1, MOST)
        assert file.read(3, MOST) == items[b"D" * 40]


def test_databases_within_a_database_are_refused(tmp_path):
    with lmdb.open(str(tmp_path / "x"), max_dbs=2) as environment:
        inner = environment.open_db(b"images")
        with environment.begin(write=True, db=inner) as transaction:
            transaction.put(b"0", b"x")
    with pytest.raises(DamagedLmdb, match="holds a database"):
        LmdbFile(tmp_path / "x" / "data.mdb")


@pytest.fixture(scope="module", params=[0, 1])
def images(request, tmp_path_factory):
    """Returns an LMDB's bytes, its images by key, and where its structure lies."""
    rng, noise = random.Random(0), np.random.default_rng(0)
    files = {}
    for side in [4] * 40 + [32] * 5 + [60] * 15:
        buffer = io.BytesIO()
        pixels = noise.integers(0, 256, (side, side, 3), np.uint8)
        Image.fromarray(pixels).save(buffer, "PNG")
        files[b"%040x" % rng.getrandbits(160)] = buffer.getvalue()
    items = sorted(files.items(), key=lambda item: item[1])
    folder = tmp_path_factory.mktemp("lmdb")
    data = write(
        folder, request.param, dict(items[::2]), dict(items[1::2])
    ).read_bytes()
    heads = [p + k for p in range(0, len(data), PAGE) for k in range(32)]
    kind_at = 18 if request.param else 10
    trees = [
        page + k
        for page in range(0, len(data), PAGE)
        if struct.unpack_from("<H", data, page + kind_at)[0] in (1, 2, 8)
        for k in (*range(200), *range(PAGE - 3000, PAGE))
    ]
    places = (range(len(data)), heads, trees)
    return data, {key: decode(file, 3) for key, file in files.items()}, places


def outcome(path, expected):
    """Reads all images; each must be as expected, or be left out."""
    try:
        file = LmdbFile(path)
    except DamagedLmdb as error:
        assert str(error) and "\n" not in str(error)
        return "refused"
    assert len(file.keys) == len(expected)
    result = "same"
    for index, key in enumerate(sorted(expected)):
        try:
            image = decode(file.read(index, MOST), 3)
        except (DamagedLmdb, BadImage):
            result = "left out"
        else:
            np.testing.assert_array_equal(image, expected[key])
    return result


def test_a_damaged_byte_never_ends_the_process_nor_shows_another_image(
    images, tmp_path
):
    data, expected, places = images
    rng, path = random.Random(1), tmp_path / "data.mdb"
    path.write_bytes(data)
    assert outcome(path, expected) == "same"
    outcomes = []
    for trial in range(200):
        damaged = bytearray(data)
        position = rng.choice(places[trial % 3])
        damaged[position] ^= rng.choice([1 << rng.randrange(8), 255])
        path.write_bytes(damaged)
        outcomes.append(outcome(path, expected))
    assert set(outcomes) == {"same", "left out", "refused"}


def test_a_file_cut_anywhere_is_refused(images, tmp_path):
    data, expected, _ = images
    rng, path = random.Random(2), tmp_path / "data.mdb"
    for size in [0, 1, 20, PAGE, *rng.sample(range(len(data)), 20), len(data) - 1]:
        path.write_bytes(data[:size])
        assert outcome(path, expected) == "refused"


def test_an_older_state_does_not_pass_for_the_newest(images, tmp_path):
    """Both are whole: only their numbers tell, of which each byte may be damaged."""
    data, expected, _ = images
    header = 16 if data[16:20] == struct.pack("<I", 0xBEEFC0DE) else 24
    path = tmp_path / "data.mdb"
    for page in (0, PAGE):
        place = page + header + 128
        for byte, value in ((0, 0), (0, 255), (1, 1), (7, 1)):
            damaged = bytearray(data)
            assert damaged[place + byte] != value
            damaged[place + byte] = value
            path.write_bytes(damaged)
            assert outcome(path, expected) == "refused", (page, byte, value)


@pytest.mark.parametrize("depth", [3, 30, 65535])
def test_pages_that_lead_to_themselves_end_at_once(images, tmp_path, depth):
    data, _, _ = images
    header = 16 if data[16:20] == struct.pack("<I", 0xBEEFC0DE) else 24
    damaged = bytearray(data)
    for page in (0, PAGE):
        tree = page + header + 24 + 48
        root = struct.unpack_from("<Q", damaged, tree + 40)[0]
        struct.pack_into("<H", damaged, tree + 6, depth)
    # Every node of the root leads to the root.
    start = root * PAGE
    lower = struct.unpack_from("<H", data, start + header - 4)[0]
    base = 24 if header == 24 else 0
    for k in range((lower + base - header) // 2):
        (offset,) = struct.unpack_from("<H", damaged, start + header + 2 * k)
        struct.pack_into("<IH", damaged, start + base + offset, root, 0)
    path = tmp_path / "data.mdb"
    path.write_bytes(damaged)
    with pytest.raises(DamagedLmdb):
        LmdbFile(path)
