"""Arrays of .pth files in the form that PyTorch wrote before version 1.6.

Such a file is a row of pickles (a magic number, a version, facts of the machine, the
object, the keys of its storages), then the storages: for each, a 64-bit count and the
numbers. The pickles are read as data: they may contain dictionaries and arrays, and
nothing that they name is called. A storage within another pickle is such a file, too,
in all versions of PyTorch.
"""

import hashlib
import io
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from progan_jax.errors import UserError
from progan_jax.weights.kinds import PYTORCH, check_kind
from progan_jax.weights.stored_arrays import Stateful, check_shape
from progan_jax.weights.unpickling import Budget, Dialect, Name, run_pickle, shorten

# `torch.serialization`: MAGIC_NUMBER and PROTOCOL_VERSION.
_MAGIC, _VERSION = 0x1950A86A20F9469CFC6C, 1001

_NAMED_HASH = re.compile(r"-([0-9a-f]{8,64})\.pth$")

_TYPES = {
    "torch.DoubleStorage": "<f8",
    "torch.FloatStorage": "<f4",
    "torch.HalfStorage": "<f2",
    "torch.LongStorage": "<i8",
    "torch.IntStorage": "<i4",
    "torch.BoolStorage": "|b1",
    "torch.ByteStorage": "|u1",
}


def read_pth(path: Path, sha256: str = "") -> dict[str, np.ndarray]:
    """Returns the arrays of a state dictionary.

    Args:
      path: The file.
      sha256: The first digits of its SHA-256. By default those in its name, where
        PyTorch's hub puts them, as in vgg19-dcbb9e9d.pth; none if there are none.

    Raises:
      UserError: if it cannot be read, is damaged, or is not a state dictionary in this
        form.
    """
    check_kind(
        path,
        "PyTorch's state dictionary",
        "name a file that was saved with _use_new_zipfile_serialization=False",
        (PYTORCH,),
    )
    data = path.read_bytes()
    if not sha256 and (match := _NAMED_HASH.search(path.name)):
        sha256 = match[1]
    if not (found := hashlib.sha256(data).hexdigest()).startswith(sha256):
        raise UserError(
            f"{path} has the SHA-256 {found[:8]}... and must have {sha256[:8]}...; "
            "download it again"
        )
    try:
        return _read(data)
    except Exception as error:  # Damaged bytes fail in any operation.
        reason = shorten(str(error) or type(error).__name__)
        raise UserError(
            f"{path} is not a state dictionary of arrays ({reason}); download it again"
        ) from error


def read_storage(data: bytes, budget: Budget) -> np.ndarray:
    """Returns the numbers of a file whose object is a storage, [n].

    Args:
      data: The file's bytes.
      budget: Budget of the pickle that the file is in.

    Raises:
      RefusedError: if the file asks for anything else than numbers.
      Exception: of many kinds, if it is damaged.
    """
    storage, numbers = _read_object(data, budget, {})
    return numbers[storage.key]


def _read(data: bytes) -> dict[str, np.ndarray]:
    budget = Budget(len(data))
    tensors, numbers = _read_object(data, budget, _CALLS)
    return {
        name: tensor.cut_from(numbers[tensor.storage.key], budget)
        for name, tensor in tensors.items()
    }


def _read_object(
    data: bytes, budget: Budget, calls: Mapping[str, Callable[..., Any]]
) -> tuple[Any, dict[str, np.ndarray]]:
    """Returns a file's object, and the numbers of its storages by their keys."""
    stream, storages = io.BytesIO(data), dict[str, _Storage]()

    def open_storage(pid: Any) -> _Storage:
        _, of, key, _, count, _ = pid
        if not isinstance(of, Name) or of.text not in _TYPES or type(key) is not str:
            raise ValueError("it has a storage of an unknown kind")
        return storages.setdefault(key, _Storage(key, np.dtype(_TYPES[of.text]), count))

    dialect = Dialect(calls, names=tuple(_TYPES), persistent=open_storage)
    magic, version, machine, found, keys = (
        run_pickle(stream, dialect, budget) for _ in range(5)
    )
    if (magic, version) != (_MAGIC, _VERSION) or not machine["little_endian"]:
        raise ValueError("it is not in PyTorch's form")
    position, numbers = stream.tell(), {}
    for key in keys:
        storage = storages[key]
        if np.frombuffer(data, "<i8", 1, position)[0] != storage.count:
            raise ValueError(f"storage {key} has another size")
        numbers[key] = np.frombuffer(data, storage.dtype, storage.count, position + 8)
        position += 8 + numbers[key].nbytes
    return found, numbers


@dataclass(frozen=True)
class _Storage:
    """A row of numbers in the file."""

    key: str
    dtype: np.dtype
    count: int


@dataclass(frozen=True)
class Tensor:
    """The place of a tensor in a storage; counts are of numbers, not bytes."""

    storage: Any
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def cut_from(self, storage: np.ndarray, budget: Budget) -> np.ndarray:
        """Returns a copy of the tensor's numbers in a storage [n].

        Raises:
          ValueError: if it reaches beyond the storage, or is empty.
          RefusedError: if it is larger than its file allows.
        """
        steps = zip(self.shape, self.strides, strict=True)
        reach = self.offset + sum((n - 1) * step for n, step in steps)
        if reach >= storage.size:
            raise ValueError("a tensor reaches beyond its storage")
        if not math.prod(self.shape):
            raise ValueError("a tensor is empty")
        # Strides of 0, or many tensors of one storage, would make much of little.
        budget.take(math.prod(self.shape) * storage.itemsize)
        strides = [step * storage.itemsize for step in self.strides]
        return np.ndarray(
            self.shape,
            storage.dtype,
            storage.data,
            self.offset * storage.itemsize,
            strides,
        ).copy()


def rebuild_tensor(
    storage: Any, offset: Any, shape: Any, strides: Any, *rest: Any
) -> Tensor:
    """Returns a tensor, of the arguments that a file calls PyTorch's function with."""
    del rest  # Whether it has a gradient, and hooks.
    for counts in ((offset,), shape, strides):
        check_shape(counts)
    return Tensor(storage, offset, shape, strides)


class _Dictionary(dict, Stateful):
    """An OrderedDict, whose state is PyTorch's record of versions."""

    def set_state(self, state: Any) -> None:
        del state


def make_dictionary(pairs: Any = ()) -> _Dictionary:
    """Returns an OrderedDict; Python 2 wrote its items as a list of pairs."""
    if not all(type(pair) is list and type(pair[0]) is str for pair in pairs):
        raise ValueError("a dictionary has keys that are not text")
    return _Dictionary(pairs)


_CALLS = {
    "collections.OrderedDict": make_dictionary,
    "torch._utils._rebuild_tensor_v2": rebuild_tensor,
}
