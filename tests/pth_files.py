"""Writes files as PyTorch did before version 1.6, without PyTorch."""

import pickle
import struct
import sys
import types
from collections import OrderedDict

import numpy as np
import pytest


class Tensor:
    def __init__(self, key, array):
        self.key, self.array = key, array


class Storage:
    def __init__(self, tensor):
        self.key, self.count, self.kind = tensor.key, tensor.array.size, tensor.array


def rebuild(*arguments):
    raise AssertionError("only its name is written")


class Pairs:
    """A dictionary as Python 2 wrote it: made of a list of pairs."""

    def __init__(self, items):
        self.items = items

    def __reduce__(self):
        return OrderedDict, ([[name, value] for name, value in self.items.items()],)


class Pickler(pickle.Pickler):
    def persistent_id(self, obj):
        if not isinstance(obj, Storage):
            return None
        kinds = {"f4": "FloatStorage", "i8": "LongStorage", "f2": "HalfStorage"}
        kind = getattr(sys.modules["torch"], kinds[obj.kind.dtype.str[1:]])
        return ("storage", kind, obj.key, "cpu", obj.count, None)

    def reducer_override(self, obj):
        if not isinstance(obj, Tensor):
            return NotImplemented
        strides = tuple(s // obj.array.itemsize for s in obj.array.strides)
        place = (Storage(obj), 0, obj.array.shape, strides, False, OrderedDict())
        return rebuild, place


@pytest.fixture
def write_pth(monkeypatch):
    """Returns a function (path, arrays by name) that writes a .pth file.

    What is there under several names is stored once. With `pairs` the dictionary is
    made of a list of pairs.
    """
    torch, inner = types.ModuleType("torch"), types.ModuleType("torch._utils")
    for kind in ("FloatStorage", "LongStorage", "HalfStorage"):
        setattr(torch, kind, type(kind, (), {"__module__": "torch"}))
    monkeypatch.setattr(rebuild, "__module__", "torch._utils")
    monkeypatch.setattr(rebuild, "__qualname__", "_rebuild_tensor_v2")
    monkeypatch.setattr(rebuild, "__name__", "_rebuild_tensor_v2")
    inner._rebuild_tensor_v2, torch._utils = rebuild, inner
    monkeypatch.setitem(sys.modules, "torch", torch)
    monkeypatch.setitem(sys.modules, "torch._utils", inner)

    def write(path, arrays, pairs=False):
        machine = {"protocol_version": 1001, "little_endian": True, "type_sizes": {}}
        stored = {id(array): array for array in arrays.values()}
        made = {of: Tensor(str(i), a) for i, (of, a) in enumerate(stored.items())}
        tensors = {name: made[id(array)] for name, array in arrays.items()}
        tensors = (Pairs if pairs else OrderedDict)(tensors)
        with path.open("wb") as file:
            for value in (0x1950A86A20F9469CFC6C, 1001, machine, tensors):
                Pickler(file, 2).dump(value)
            Pickler(file, 2).dump([t.key for t in made.values()])
            for array in stored.values():
                file.write(struct.pack("<q", array.size))
                # As it lies in memory, whatever the order of its axes.
                file.write(np.ravel(array, order="K").tobytes())
        return path

    return write
