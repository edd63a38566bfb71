"""Reads pickles of arrays as data; nothing that a file names is imported or called.

Python's own unpickler imports and calls what a file asks for, which makes a pickle a
program. Here the standard library splits the file into its operations, and the small
machine below knows those of protocols 2 to 5 that make numbers, text, lists, tuples,
dictionaries, arrays, and records: passive stand-ins for the objects of one class of the
authors' program. A name in the file is a name, never a thing. All else is refused.
"""

import pickletools
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from progan_jax.errors import UserError
from progan_jax.official.stored_arrays import (
    CALLS,
    RefusedError,
    StoredArray,
    StoredType,
)

RECORD_CLASS = "tfutil.Network"
_GLOBALS = {RECORD_CLASS, "numpy.ndarray", *CALLS}
_PROTOCOLS = range(2, 6)
_LITERALS = {
    *("BININT", "BININT1", "BININT2", "LONG1", "LONG4", "BINFLOAT"),
    *("SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"),
    *("SHORT_BINBYTES", "BINBYTES", "BINBYTES8", "BYTEARRAY8"),
}
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_TUPLES = {"EMPTY_TUPLE": 0, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


@dataclass(frozen=True)
class Name:
    """What a file calls by its name, such as "numpy.dtype"."""

    text: str


class Record:
    """An object of the authors' class: its state, a dictionary, and no behaviour."""

    def __init__(self) -> None:
        self.state: Any = None

    def set_state(self, state: Any) -> None:
        """Keeps what the file says of the object."""
        self.state = state


def read_pickle(path: Path) -> Any:
    """Returns what a file holds: plain values, `Record`s and `StoredArray`s.

    Raises:
      UserError: if it cannot be read, is damaged, or asks for anything else.
    """
    try:
        with path.open("rb") as file:
            return _Machine().run(pickletools.genops(file))
    except OSError as error:
        raise UserError(
            f"{path} cannot be read ({error.strerror}); name another file"
        ) from error
    except RefusedError as error:
        raise UserError(
            f"{path} {error}, as no file of the authors' does; nothing of it was run: "
            "take it from a source that you trust"
        ) from error
    except Exception as error:  # Damaged bytes fail in any operation.
        reason = shorten(str(error) or type(error).__name__)
        raise UserError(
            f"{path} is no whole pickle of arrays ({reason}); fetch it anew"
        ) from error


def shorten(value: object) -> str:
    """Returns a text as one printable line of at most 100 characters."""
    line = ascii(" ".join(str(value).split()))[1:-1]
    return line if len(line) <= 100 else line[:97] + "..."


class _Machine:
    """Pickle's stack machine, of harmless operations."""

    def __init__(self) -> None:
        self._stack: list[Any] = []
        self._below: list[list[Any]] = []  # The stacks below the marks.
        self._memo: dict[int, Any] = {}
        self._operations: dict[str, Callable[[Any], None]] = {
            "PROTO": self._check_protocol,
            "FRAME": lambda _: None,
            "MARK": self._mark,
            "TUPLE": lambda _: self._push(tuple(self._pop_to_mark())),
            "EMPTY_LIST": lambda _: self._push([]),
            "EMPTY_DICT": lambda _: self._push({}),
            "APPEND": lambda _: self._extend([self._stack.pop()]),
            "APPENDS": lambda _: self._extend(self._pop_to_mark()),
            "SETITEM": lambda _: self._set_items(self._pop(2)),
            "SETITEMS": lambda _: self._set_items(self._pop_to_mark()),
            "MEMOIZE": lambda _: self._keep(len(self._memo)),
            "BINPUT": self._keep,
            "LONG_BINPUT": self._keep,
            "BINGET": lambda index: self._push(self._memo[index]),
            "LONG_BINGET": lambda index: self._push(self._memo[index]),
            "GLOBAL": lambda text: self._push_name(*text.split(" ", 1)),
            "STACK_GLOBAL": lambda _: self._push_name(*self._pop(2)),
            "NEWOBJ": lambda _: self._make_record(*self._pop(2)),
            "REDUCE": lambda _: self._call(*self._pop(2)),
            "BUILD": lambda _: self._set_state(self._stack.pop()),
        }

    def run(self, operations: Iterable[tuple[Any, Any, Any]]) -> Any:
        """Returns what is on the stack where the file ends."""
        for number, (operation, argument, _) in enumerate(operations):
            if number == 0 and operation.name != "PROTO":
                raise ValueError("it does not begin as one of protocols 2 to 5")
            if operation.name == "STOP":
                break
            self._step(operation.name, argument)
        (value,) = self._stack
        return value

    def _step(self, name: str, argument: Any) -> None:
        if name in _LITERALS:
            self._push(argument)
        elif name in _CONSTANTS:
            self._push(_CONSTANTS[name])
        elif name in _TUPLES:
            self._push(tuple(self._pop(_TUPLES[name])))
        elif name in self._operations:
            self._operations[name](argument)
        else:
            raise RefusedError(f"has the operation {name}")

    def _check_protocol(self, protocol: int) -> None:
        if protocol not in _PROTOCOLS:
            raise ValueError(f"it is of protocol {protocol}, not of 2 to 5")

    def _push(self, value: Any) -> None:
        self._stack.append(value)

    def _pop(self, count: int) -> list[Any]:
        if len(self._stack) < count:
            raise ValueError("its stack runs empty")
        rest = len(self._stack) - count
        values, self._stack[rest:] = self._stack[rest:], []
        return values

    def _mark(self, _: None) -> None:
        self._below.append(self._stack)
        self._stack = []

    def _pop_to_mark(self) -> list[Any]:
        values, self._stack = self._stack, self._below.pop()
        return values

    def _keep(self, index: int) -> None:
        self._memo[index] = self._stack[-1]

    def _extend(self, values: list[Any]) -> None:
        if not isinstance(self._stack[-1], list):
            raise ValueError("it appends to what is no list")
        self._stack[-1].extend(values)

    def _set_items(self, items: list[Any]) -> None:
        keys, values = items[::2], items[1::2]
        # To hash a key of another type can exhaust the stack.
        if not all(type(key) is str for key in keys):
            raise ValueError("a dictionary has keys that are no text")
        if not isinstance(self._stack[-1], dict):
            raise ValueError("it sets items of what is no dictionary")
        self._stack[-1].update(zip(keys, values, strict=True))

    def _push_name(self, module: Any, name: Any) -> None:
        if type(module) is not str or type(name) is not str:
            raise RefusedError("asks for a name that is no text")
        # NumPy 2 has renamed the modules that older files speak of.
        text = f"{module}.{name}".replace("numpy.core.", "numpy._core.", 1)
        if text not in _GLOBALS:
            raise RefusedError(f"asks for {shorten(text)}")
        self._push(Name(text))

    def _make_record(self, of: Any, arguments: Any) -> None:
        if not isinstance(of, Name) or of.text != RECORD_CLASS or arguments != ():
            raise RefusedError(f"makes an object of {_describe(of)}")
        self._push(Record())

    def _call(self, function: Any, arguments: Any) -> None:
        if not isinstance(function, Name) or function.text not in CALLS:
            raise RefusedError(f"calls {_describe(function)}")
        if type(arguments) is not tuple:
            raise ValueError(f"{function.text} has no tuple of arguments")
        self._push(CALLS[function.text](*arguments))

    def _set_state(self, state: Any) -> None:
        target = self._stack[-1]
        if not isinstance(target, Record | StoredArray | StoredType):
            raise RefusedError(f"sets the state of {_describe(target)}")
        target.set_state(state)


def _describe(value: Any) -> str:
    return (
        value.text if isinstance(value, Name) else f"a value ({type(value).__name__})"
    )
