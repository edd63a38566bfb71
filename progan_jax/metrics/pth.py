"""Reads the arrays of a .pth file as PyTorch wrote it before version 1.6.

Such a file is a row of pickles (a magic number, a version, facts of the machine, the
object, the keys of its storages), then the storages: for each, a 64-bit count and the
numbers. A pickle can name any function to be called; this reader lets through those
that make dictionaries and arrays, and nothing else.
"""

import io
import math
import pickle
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from progan_jax.errors import UserError

_MAGIC = 0x1950A86A20F9469CFC6C
_VERSION = 1001
_TYPES = {
    "DoubleStorage": "<f8",
    "FloatStorage": "<f4",
    "HalfStorage": "<f2",
    "LongStorage": "<i8",
}


def read_pth(path: Path, data: bytes) -> dict[str, np.ndarray]:
    """Returns the arrays of a state dictionary.

    Args:
      path: For messages.
      data: Content of the file.

    Raises:
      UserError: if it holds anything else, is damaged, or of the later zip form.
    """
    if data.startswith(b"PK"):
        raise UserError(
            f"{path} has PyTorch's zip form; save it with "
            "_use_new_zipfile_serialization=False, or as safetensors"
        )
    try:
        return _read(data)
    except Exception as error:  # Pickle's operations fail with many types.
        raise UserError(
            f"{path} is no state dictionary of arrays ({error}); fetch it anew"
        ) from error


def _read(data: bytes) -> dict[str, np.ndarray]:
    stream = io.BytesIO(data)
    magic, version, machine = (_Unpickler(stream).load() for _ in range(3))
    if (magic, version) != (_MAGIC, _VERSION) or not machine["little_endian"]:
        raise ValueError("not PyTorch's form")
    unpickler = _Unpickler(stream)
    tensors, keys = unpickler.load(), _Unpickler(stream).load()
    position, numbers = stream.tell(), {}
    for key in keys:
        dtype, count = unpickler.storages[key]
        if np.frombuffer(data, "<i8", 1, position)[0] != count:
            raise ValueError(f"storage {key} has another size")
        numbers[key] = np.frombuffer(data, dtype, count, position + 8)
        position += 8 + numbers[key].nbytes
    return {name: tensor.cut_from(numbers) for name, tensor in tensors.items()}


@dataclass(frozen=True)
class _Tensor:
    """Where a tensor lies in a storage; counts are of numbers, not bytes."""

    key: str
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def cut_from(self, numbers: dict[str, np.ndarray]) -> np.ndarray:
        storage = numbers[self.key]
        steps = zip(self.shape, self.strides, strict=True)
        reach = self.offset + sum((n - 1) * step for n, step in steps)
        if min(*self.shape, *self.strides, self.offset, 0) < 0 or reach >= storage.size:
            raise ValueError("a tensor reaches beyond its storage")
        if not math.prod(self.shape):
            raise ValueError("a tensor is empty")
        strides = [step * storage.itemsize for step in self.strides]
        return np.ndarray(
            self.shape,
            storage.dtype,
            storage.data,
            self.offset * storage.itemsize,
            strides,
        ).copy()


def _rebuild_tensor(key: str, offset: int, shape: tuple, strides: tuple, *rest: Any):
    del rest  # Whether it has a gradient, and hooks.
    return _Tensor(key, offset, tuple(shape), tuple(strides))


class _Unpickler(pickle.Unpickler):
    """Knows dictionaries, tensors and storages only."""

    def __init__(self, stream: io.BytesIO):
        super().__init__(stream)
        self.storages: dict[str, tuple[str, int]] = {}

    def find_class(self, module_name: str, global_name: str, /) -> Any:
        if (module_name, global_name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module_name, global_name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _rebuild_tensor
        if module_name == "torch" and global_name in _TYPES:
            return _TYPES[global_name]
        raise ValueError(f"it calls {module_name}.{global_name}")

    def persistent_load(self, pid: Any) -> str:
        _, dtype, key, _, count, _ = pid
        self.storages[key] = (dtype, count)
        return key
