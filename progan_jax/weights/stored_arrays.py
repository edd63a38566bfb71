"""Arrays as pickles write them, built from their bytes and nothing else.

NumPy writes an array as a call of `_reconstruct` and a state (protocols 2 to 4) or as
a call of `_frombuffer` (protocol 5), a scalar as a call of `scalar`, and a type as a
call of `dtype` and a state. The functions here take the same arguments. Only arrays of
numbers are built: an array of objects would contain another pickle.
"""

import math
import re
from functools import cached_property
from typing import Any

import numpy as np

_MAX_AXES = 32

_NUMBERS = re.compile(r"[<>|=]?([fiu][1248]|b1)")


class RefusedError(Exception):
    """An operation that no file of arrays needs; the message says which."""


class Stateful:
    """An object that a pickle creates first and gives its state later."""

    def set_state(self, state: Any) -> None:
        """Sets the state."""
        raise NotImplementedError


class StoredType(Stateful):
    """A type of numbers or truth values; its byte order comes later, as a state."""

    def __init__(self, code: Any, align: Any = False, copy: Any = True) -> None:
        """Takes the arguments of `numpy.dtype` in a pickle, such as "f4"."""
        del align, copy
        if type(code) is not str or not _NUMBERS.fullmatch(code):
            found = code[:20] if type(code) is str else "no name"
            raise RefusedError(f"has an array of type {found!a}")
        self.dtype = np.dtype(code)

    def set_state(self, state: Any) -> None:
        """Sets the byte order of a state (version, order, no subtype, ...)."""
        order, *parts = state[1:5]
        if order not in ("<", ">", "|", "=") or parts != [None, None, None]:
            raise RefusedError("has an array of a type that has parts")
        self.dtype = self.dtype.newbyteorder(order)


class StoredArray(Stateful):
    """An array, which a pickle may name before it fills it."""

    def __init__(self, numbers: np.ndarray | None = None) -> None:
        self._numbers = numbers

    @property
    def nbytes(self) -> int:
        """Size of the numbers in bytes; 0 before they are set."""
        return 0 if self._numbers is None else self._numbers.nbytes

    @cached_property
    def numbers(self) -> np.ndarray:
        """The numbers, in the machine's byte order; converted once."""
        if self._numbers is None:
            raise ValueError("an array was left empty")
        return self._numbers.astype(self._numbers.dtype.newbyteorder("="), copy=False)

    def set_state(self, state: Any) -> None:
        """Takes (version, shape, type, whether columns come first, bytes)."""
        _, shape, of, columns_first, data = state
        order = "F" if columns_first else "C"
        self._numbers = _from_bytes(data, of, shape, order)


def check_shape(shape: Any) -> None:
    """Raises ValueError unless a value is a tuple of few numbers below 2**40.

    To multiply numbers of a million digits would take forever.
    """
    if (
        type(shape) is not tuple
        or len(shape) > _MAX_AXES
        or any(type(n) is not int or not 0 <= n < 2**40 for n in shape)
    ):
        raise ValueError("an array has an invalid shape")


def _begin_array(of: Any, shape: Any, code: Any) -> StoredArray:
    del of, shape, code  # All of it comes again with the state.
    return StoredArray()


def _make_scalar(of: Any, data: Any) -> StoredArray:
    return StoredArray(_from_bytes(data, of, (), "C"))


def _make_from_buffer(data: Any, of: Any, shape: Any, order: Any) -> StoredArray:
    return StoredArray(_from_bytes(data, of, shape, order))


def _from_bytes(data: Any, of: Any, shape: Any, order: Any) -> np.ndarray:
    if not isinstance(of, StoredType) or not isinstance(data, bytes | bytearray):
        raise ValueError("an array is not made of bytes and their type")
    check_shape(shape)
    if len(data) != math.prod(shape) * of.dtype.itemsize or order not in ("C", "F"):
        raise ValueError("an array is shorter or longer than its shape")
    return np.frombuffer(data, of.dtype).reshape(shape, order=order)


def _encode(text: Any, codec: Any) -> bytes:
    # Protocol 2 writes bytes as text of the same numbers.
    if type(text) is not str or codec != "latin1":
        raise RefusedError("has bytes in an encoding other than latin1")
    return text.encode("latin1")


# The functions that a file may call, by the names that NumPy 2 writes.
CALLS = {
    "numpy.dtype": StoredType,
    "numpy._core.multiarray._reconstruct": _begin_array,
    "numpy._core.multiarray.scalar": _make_scalar,
    "numpy._core.numeric._frombuffer": _make_from_buffer,
    "_codecs.encode": _encode,
}
