"""What comes back from pickles, and what hostile ones cannot do."""

import codecs
import copyreg
import functools
import operator
import os
import pickle
import struct
import sys
import time
import tracemalloc
from contextlib import nullcontext

import numpy as np
import pytest

from progan_jax.errors import UserError
from progan_jax.models.families import FAMILIES, import_network
from progan_jax.weights.stored_arrays import StoredArray
from progan_jax.weights.torch_pickles import read_modules
from progan_jax.weights.unpickling import Record, read_pickle
from tests.pickles import (
    SPELLINGS,
    Network,
    StyleNetwork,
    dumps,
    golden_networks,
    style_networks,
)

RECORD_CLASSES = [
    name for family in FAMILIES.values() for name in family.RECORD_CLASSES
]
PROGRAMS = {"progan": Network.path, "stylegan": StyleNetwork.path}


@pytest.fixture
def read(tmp_path):
    def read_bytes(data):
        (tmp_path / "file.pkl").write_bytes(data)
        return read_pickle(tmp_path / "file.pkl", RECORD_CLASSES)

    return read_bytes


def plain(value):
    """Returns a value with arrays and states in the place of their holders."""
    if isinstance(value, StoredArray):
        return value.numbers
    if isinstance(value, Record):
        return plain(value.state)
    if isinstance(value, dict):
        return {name: plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(plain(item) for item in value)
    return value


@pytest.mark.parametrize(("protocol", "old"), SPELLINGS)
def test_every_protocol_and_spelling_restores_the_values(read, protocol, old):
    rng = np.random.default_rng(0)
    value = {
        "text": "ü" * 300,
        "numbers": [0, -1, 255, 65536, -(2**40), 0.5, True, False, None],
        "tuples": ((), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4)),
        "same": [{}] * 2,
    }
    arrays = [
        rng.standard_normal((2, 3, 4), np.float32),
        np.asfortranarray(rng.standard_normal((3, 5))),
        np.arange(6, dtype=">i2").reshape(2, 3),
        np.float16([1, 2]),
        np.float32(1.5),
        np.int64(-7),
    ]
    state = value | {"arrays": arrays, "again": arrays[0], "many": list(range(1500))}
    data = dumps((Network(**state), "end"), protocol, old)
    assert (b"numpy._core" in data) == (not old)
    found, end = plain(read(data))
    assert end == "end"
    assert {name: found[name] for name in value} == value
    assert found["many"] == state["many"]
    for array, expected in zip(found["arrays"], arrays, strict=True):
        np.testing.assert_array_equal(array, expected)
        assert array.dtype == np.asarray(expected).dtype.newbyteorder("=")
    np.testing.assert_array_equal(found["again"], arrays[0])


class Calls:
    """Pickled as a call."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


class SetsState:
    def __setstate__(self, state):
        os.system(state)

    def __reduce__(self):
        return copyreg._reconstructor, (SetsState, object, None), "true"


def text(value):
    """Returns the operation that pushes a short text."""
    return pickle.SHORT_BINUNICODE + bytes([len(value)]) + value.encode()


def name(module, attribute):
    return text(module) + text(attribute) + pickle.STACK_GLOBAL


def raw(*operations):
    return pickle.PROTO + b"\x04" + b"".join(operations) + pickle.STOP


NETWORK = name("tfutil", "Network")
SYSTEM = name("posix", "system")
MARK_IT = text("touch MARKER")
CALL = pickle.TUPLE1 + pickle.REDUCE
NEW = pickle.EMPTY_TUPLE + pickle.NEWOBJ


def object_array(value):
    array = np.empty(1, object)
    array[0] = value
    return array


def evil():
    return Calls(os.system, "touch MARKER")


def state_of_a_dtype(*state):
    dtype = name("numpy", "dtype") + pickle.MARK + text("f4") + pickle.NEWFALSE
    return dtype + pickle.NEWTRUE + pickle.TUPLE + pickle.REDUCE + b"".join(state)


HOSTILE = {
    "os.system": lambda: dumps(evil()),
    "os.system, protocol 2": lambda: dumps(evil(), 2),
    "protocol 0": lambda: pickle.dumps(evil(), 0),
    "eval": lambda: dumps(Calls(eval, "__import__('os').system('touch MARKER')")),
    "exec": lambda: dumps(Calls(exec, "import os; os.mkdir('MARKER')")),
    "open": lambda: dumps(Calls(open, "MARKER", "w")),
    "import": lambda: dumps(Calls(__import__, "antigravity")),
    "a name that is imported only": lambda: raw(name("antigravity", "webbrowser")),
    "within a network": lambda: dumps(Network(variables=[("lod", evil())])),
    "within an option": lambda: dumps(Network(static_kwargs={"resolution": evil()})),
    "within a component": lambda: dumps(
        Network(components={"synthesis": Network(variables=[("lod", evil())])})
    ),
    "in the place of a component": lambda: dumps(Network(components={"a": evil()})),
    "another function of the network's module": lambda: raw(
        name("dnnlib.tflib.network", "import_handler"), text("x"), CALL
    ),
    "another class of the network's program": lambda: raw(
        name("dnnlib.util", "EasyDict"), NEW
    ),
    "getattr": lambda: dumps(Calls(getattr, Calls(__import__, "os"), "system")),
    "attrgetter": lambda: dumps(Calls(operator.attrgetter, "__class__")),
    "partial": lambda: dumps(Calls(functools.partial, os.system, "touch MARKER")),
    "a dotted name": lambda: raw(
        name("tfutil", "Network.__init__.__globals__"), text("x"), CALL
    ),
    "a name below numpy.dtype": lambda: raw(name("numpy", "dtype.__class__")),
    "another module of numpy's": lambda: raw(
        name("numpy.core.multiarray", "load"), text("MARKER"), CALL
    ),
    "a call of the network's class": lambda: raw(NETWORK, text("x"), CALL),
    "an object with arguments": lambda: raw(
        NETWORK, text("x"), pickle.TUPLE1, pickle.NEWOBJ
    ),
    "an object of numpy.ndarray": lambda: raw(name("numpy", "ndarray"), NEW),
    "a state for a class": lambda: raw(
        NETWORK, pickle.EMPTY_DICT, text("__init__"), SYSTEM, pickle.SETITEM, b"b"
    ),
    "a state for a function": lambda: raw(
        name("numpy.core.multiarray", "scalar"), pickle.EMPTY_DICT, pickle.BUILD
    ),
    "a call of a record": lambda: raw(NETWORK, NEW, MARK_IT, CALL),
    "a call of a text": lambda: raw(text("posix.system"), MARK_IT, CALL),
    "__setstate__": lambda: dumps(SetsState()),
    "copyreg._reconstructor": lambda: dumps(
        Calls(copyreg._reconstructor, SetsState, object, None)
    ),
    "an array of objects": lambda: dumps(object_array(evil())),
    "an array of objects, protocol 5": lambda: dumps(object_array(evil()), 5, False),
    "a scalar of an object": lambda: dumps(
        Calls(np._core.multiarray.scalar, np.dtype("O"), pickle.dumps(evil()))
    ),
    "a type with parts": lambda: dumps(np.zeros(2, [("x", "f4")])),
    "a type with a state of parts": lambda: raw(
        state_of_a_dtype(
            *(pickle.MARK, b"K\x03", text("|"), pickle.NONE, text("x")),
            *(pickle.EMPTY_DICT, b"K\x04", b"K\x04", pickle.TUPLE, pickle.BUILD),
        )
    ),
    "bytes in another code": lambda: dumps(Calls(codecs.encode, "x", "rot13")),
    "a persistent id": lambda: raw(text("x"), pickle.BINPERSID),
    "a persistent id of protocol 0": lambda: raw(b"Px\n"),
    "an extension": lambda: raw(pickle.EXT1 + b"\x2a", MARK_IT, CALL),
    "INST": lambda: raw(pickle.MARK, MARK_IT, b"iposix\nsystem\n"),
    "OBJ": lambda: raw(pickle.MARK, SYSTEM, MARK_IT, pickle.OBJ),
    "NEWOBJ_EX": lambda: raw(
        NETWORK, pickle.EMPTY_TUPLE, pickle.EMPTY_DICT, pickle.NEWOBJ_EX
    ),
    "a buffer from outside": lambda: raw(pickle.NEXT_BUFFER),
    "a deep key": lambda: raw(
        pickle.EMPTY_DICT,
        *(pickle.EMPTY_TUPLE, pickle.TUPLE1 * 1_000_000, pickle.NONE, pickle.SETITEM),
    ),
}


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_pickle_is_refused_and_nothing_runs(
    read, kind, program, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    data = hostile(kind, PROGRAMS[program], monkeypatch)
    assert_nothing_runs(read, data, tmp_path)


def hostile(kind, path, monkeypatch):
    """Returns a hostile pickle of a program whose networks are of the class `path`."""
    monkeypatch.setattr(Network, "path", path)
    return HOSTILE[kind]().replace(text(PROGRAMS["progan"][0]), text(path[0]))


def assert_nothing_runs(read, data, tmp_path, refused=True):
    copyreg.add_extension("posix", "system", 42)
    copyreg._extension_cache[42] = os.system  # As if one had been read before.
    before = set(sys.modules)
    try:
        with pytest.raises(UserError) if refused else nullcontext() as caught:
            read(data)
    finally:
        copyreg.remove_extension("posix", "system", 42)
    if refused:
        assert "\n" not in str(caught.value)
    assert not (tmp_path / "MARKER").exists()
    assert "antigravity" not in set(sys.modules) - before


# To the reader of PyTorch's modules, these make objects of which nothing is known.
INERT = (
    *("another class of the network's program", "a dotted name"),
    *(
        "a call of the network's class",
        "an object with arguments",
        "a call of a record",
    ),
)


@pytest.mark.parametrize("kind", HOSTILE)
def test_the_reader_of_modules_runs_nothing_of_a_hostile_pickle(
    kind, tmp_path, monkeypatch
):
    def read_bytes(data):
        (tmp_path / "file.pkl").write_bytes(data)
        return read_modules(tmp_path / "file.pkl")

    monkeypatch.chdir(tmp_path)
    data = hostile(kind, ("torch.nn.modules.module", "Module"), monkeypatch)
    assert_nothing_runs(read_bytes, data, tmp_path, refused=kind not in INERT)


def test_the_pickles_are_hostile_indeed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for kind in ("os.system", "eval", "protocol 0", "an array of objects, protocol 5"):
        pickle.loads(HOSTILE[kind]())
        (tmp_path / "MARKER").unlink()


@pytest.mark.parametrize(
    ("kind", "deed"),
    [
        ("os.system", "asks for posix.system"),
        ("an array of objects", "has an array of type 'O8'"),
        ("a call of a text", r"calls a value \(str\)"),
        ("an extension", "has the operation EXT1"),
    ],
)
def test_the_message_says_what_a_pickle_does(read, kind, deed):
    with pytest.raises(
        UserError, match=f"{deed}, which a network pickle never contains"
    ):
        read(HOSTILE[kind]())


@pytest.mark.parametrize(
    "data",
    [
        b"\x80",
        b"\0\1\2\3",
        b"\x80\x04.",
        b"\x80\x063.",
    ],
)
def test_other_files_are_no_pickles_in_one_line(read, data):
    with pytest.raises(
        UserError, match=r"is not a complete pickle of arrays \(.*; download"
    ):
        read(data)


def test_lengths_beyond_the_file_are_refused(read):
    for length in (2**31, 2**40, 2**63):
        data = pickle.PROTO + b"\x04" + pickle.BINBYTES8 + struct.pack("<Q", length)
        with pytest.raises(
            UserError, match=r"is not a complete pickle of arrays \(.+\)"
        ):
            read(data + b"few")


@pytest.mark.parametrize("shape", [(10**100_000,) * 80, (1,) * 100_000])
def test_shapes_that_would_take_for_ever_are_refused_at_once(read, shape):
    start = time.monotonic()
    frombuffer = np._core.numeric._frombuffer
    with pytest.raises(UserError, match="an array has an invalid shape"):
        read(dumps(Calls(frombuffer, b"1234", np.dtype("f4"), shape, "C")))
    assert time.monotonic() - start < 10


def memoized(value, *, times, then=b""):
    """Returns a pickle of a list that gets a value again and again."""
    many = (pickle.BINGET + b"\0" + then) * times
    items = pickle.EMPTY_LIST + pickle.MARK + many + pickle.APPENDS
    return raw(value, pickle.MEMOIZE, items, pickle.TUPLE2)


def long_text(length):
    return pickle.BINUNICODE + struct.pack("<I", length) + b"x" * length


def many_arrays(times):
    """Makes arrays of the same 64 KiB again and again."""
    frombuffer = name("numpy.core.numeric", "_frombuffer")
    data = pickle.BINBYTES + struct.pack("<I", 2**16) + b"x" * 2**16
    of = name("numpy", "dtype") + text("f4") + pickle.TUPLE1 + pickle.REDUCE
    shape = pickle.BININT + struct.pack("<i", 2**14) + pickle.TUPLE1
    arguments = pickle.MARK + data + of + shape + text("C") + pickle.TUPLE
    call = pickle.BINGET + b"\0" + pickle.BINGET + b"\1" + pickle.REDUCE
    kept = frombuffer + pickle.MEMOIZE + arguments + pickle.MEMOIZE
    return raw(kept, pickle.EMPTY_LIST, pickle.MARK, call * times, pickle.APPENDS)


def many_encoded(times):
    """Calls _codecs.encode on one text again and again: 5 bytes for 64 KiB."""
    encode = name("_codecs", "encode") + pickle.MEMOIZE
    arguments = long_text(2**16) + text("latin1") + pickle.TUPLE2 + pickle.MEMOIZE
    call = pickle.BINGET + b"\0" + pickle.BINGET + b"\1" + pickle.REDUCE
    return raw(
        encode, arguments, pickle.EMPTY_LIST, pickle.MARK, call * times, pickle.APPENDS
    )


GROWING = {
    "encoded text": lambda: many_encoded(12_000),
    "arrays": lambda: many_arrays(12_000),
    "dictionaries": lambda: raw(pickle.MARK, pickle.EMPTY_DICT * 400_000, b"t"),
    "lists": lambda: raw(pickle.MARK, pickle.EMPTY_LIST * 400_000, b"t"),
    "marks": lambda: raw(pickle.MARK * 400_000),
    "records": lambda: raw(
        NETWORK + pickle.MEMOIZE, (pickle.BINGET + b"\0" + NEW) * 100_000
    ),
    "tuples": lambda: memoized(text("x"), times=200_000, then=pickle.TUPLE1),
}


@pytest.mark.parametrize("kind", GROWING)
def test_a_file_that_makes_much_of_little_is_refused_in_bounded_memory(read, kind):
    data = GROWING[kind]()
    assert len(data) < 2**20
    tracemalloc.start()
    try:
        with pytest.raises(UserError, match="unpacks to more than 4 times its size"):
            read(data)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 64 * 2**20


def test_what_is_only_shared_costs_little(read):
    found = read(memoized(long_text(2**20), times=10_000))
    value, many = found
    assert len(many) == 10_000
    assert all(one is value for one in many)


def test_one_array_under_many_names_is_turned_into_our_byte_order_once(read):
    shared = np.ones(3, ">f4")
    found = read(dumps([shared] * 100))
    numbers = [array.numbers for array in found]
    assert all(one is numbers[0] for one in numbers)


def test_nested_tuples_of_shared_tuples_are_refused_at_once(read, tmp_path):
    doubled = (pickle.BINPUT + b"\0" + (pickle.BINGET + b"\0") + pickle.TUPLE2) * 100
    path = tmp_path / "doubled.pkl"
    start = time.monotonic()
    for place in ("build_func_name", "variables", "static_kwargs"):
        state = {
            "build_func_name": text("G_paper"),
            "variables": pickle.EMPTY_LIST,
            "static_kwargs": pickle.EMPTY_DICT,
        } | {place: pickle.EMPTY_TUPLE + doubled}
        items = b"".join(text(name) + value for name, value in state.items())
        network = NETWORK + NEW + pickle.EMPTY_DICT + pickle.MARK + items + b"ub"
        path.write_bytes(raw(network, pickle.NONE, pickle.NONE, pickle.TUPLE3))
        with pytest.raises(UserError, match="does not hold the authors' networks"):
            import_network(path, "G")
    assert time.monotonic() - start < 10


def test_missing_files_and_folders_are_named(tmp_path):
    for path in (tmp_path, tmp_path / "none"):
        with pytest.raises(UserError, match="cannot be read"):
            read_pickle(path, RECORD_CLASSES)


@pytest.mark.parametrize("networks", [golden_networks, style_networks])
def test_a_pickle_that_is_cut_anywhere_is_refused(read, networks):
    data = dumps(networks("cond" if networks is golden_networks else "fused"))
    for end in (*range(0, 1000, 7), *range(1000, len(data), 4999), len(data) - 1):
        with pytest.raises(UserError, match=r"is not a complete pickle|is empty"):
            read(data[:end])


@pytest.mark.parametrize(("protocol", "old"), [(2, True), (4, True), (5, False)])
def test_a_changed_byte_harms_nothing(read, protocol, old):
    value = Network(variables=[("x", np.ones((2, 2), np.float32))], name="G")
    data, rng = dumps((value, 1.5), protocol, old), np.random.default_rng(0)
    for position in range(len(data)):
        changed = bytearray(data)
        changed[position] ^= rng.integers(1, 256)
        try:
            plain(read(bytes(changed)))
        except (UserError, ValueError) as error:
            assert "\n" not in str(error)
