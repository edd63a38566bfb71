"""A reader of pickles of arrays that imports and calls nothing that a file names.

Python's own unpickler imports and calls what a file asks for, which makes a pickle a
program. Here the standard library splits the file into its operations, and the small
machine below knows those of protocols 2 to 5 that make numbers, text, lists (and lists
of sets), tuples, dictionaries, arrays, and records: passive stand-ins for the objects
of the authors' program. A name in the file remains a name. Everything else is refused,
and so is a file whose content would take far more memory than the file has bytes.
"""

import os
import pickletools
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any

from progan_jax.errors import UserError
from progan_jax.weights.kinds import DNNLIB, PERSISTENT, PICKLES, check_kind
from progan_jax.weights.stored_arrays import CALLS, RefusedError, Stateful, StoredArray

ARRAYS = ("numpy.ndarray",)  # Names that arrays need besides their calls.

_LITERALS = {
    *("BININT", "BININT1", "BININT2", "LONG1", "LONG4", "BINFLOAT"),
    *("SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"),
    *("SHORT_BINBYTES", "BINBYTES", "BINBYTES8", "BYTEARRAY8"),
    *("SHORT_BINSTRING", "BINSTRING"),  # Text of Python 2, read as Latin-1.
}

_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}

_OBJECT = 128  # Bytes that an operation may take besides those in the file.

_TUPLES = {"EMPTY_TUPLE": 0, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


@dataclass(frozen=True)
class Name:
    """The name of a class or function in a file, such as "numpy.dtype"."""

    text: str


class Record(Stateful):
    """An object of an authors' class: its state, a dictionary, and no behaviour."""

    def __init__(self) -> None:
        self.state: Any = None

    def set_state(self, state: Any) -> None:
        """Keeps the state."""
        self.state = state


class Inert(Record):
    """What a call in a file would have made; a call or an item changes nothing."""


@dataclass(frozen=True)
class Dialect:
    """The names that the pickles of a program may contain.

    Attributes:
      calls: Functions that may be called, by name; they take any arguments.
      records: Classes whose objects become `Record`s, by name.
      dictionaries: Classes whose objects become dictionaries, by name.
      names: Other names that are allowed.
      persistent: Returns the value of a persistent id; None refuses these.
      inert: Beginnings of the names of classes and functions whose objects and results
        become `Inert`.
    """

    calls: Mapping[str, Callable[..., Any]]
    records: Collection[str] = ()
    dictionaries: Collection[str] = ()
    names: Collection[str] = ()
    persistent: Callable[[Any], Any] | None = None
    inert: tuple[str, ...] = ()


class Budget:
    """Bounds the memory that a file's content takes by the size of the file."""

    _FLOOR, _FACTOR = 2**24, 4

    def __init__(self, file_size: int) -> None:
        self._left = self._FLOOR + self._FACTOR * file_size

    def take(self, size: int) -> None:
        """Raises RefusedError once too many bytes have been taken in all."""
        self._left -= size
        if self._left < 0:
            raise RefusedError(f"unpacks to more than {self._FACTOR} times its size")


def read_pickle(path: Path, records: Collection[str]) -> Any:
    """Returns the content of a file: plain values, `Record`s and `StoredArray`s.

    Args:
      path: The file.
      records: Names of the classes whose objects become `Record`s.

    Raises:
      UserError: if it cannot be read, is damaged, or asks for anything else.
    """
    return read_dialect(path, lambda _: Dialect(CALLS, records, names=ARRAYS))


def read_dialect(path: Path, dialect: Callable[[Budget], Dialect]) -> Any:
    """Returns the content of a file, as `read_pickle`.

    Args:
      path: The file.
      dialect: Returns the names that it may contain, given its budget.

    Raises:
      UserError: as for `read_pickle`.
    """
    wanted = "a pickle of networks of Progressive GAN's, StyleGAN's or StyleGAN-XL's "
    wanted += "program"
    check = partial(check_kind, path, wanted, "name such a pickle, a run or a snapshot")
    check(allowed=PICKLES)
    try:
        with path.open("rb") as file:
            budget = Budget(os.fstat(file.fileno()).st_size)
            return run_pickle(file, dialect(budget), budget)
    except OSError as error:
        raise UserError(
            f"{path} cannot be read ({error.strerror}); name another file"
        ) from error
    except RefusedError as error:
        # Names the program that has written it, if it is known, and none of these.
        check(allowed={DNNLIB, PERSISTENT})
        raise UserError(
            f"{path} {error}, which a network pickle never contains; nothing in it was "
            "executed. Get the file from a source that you trust"
        ) from error
    except Exception as error:  # Damaged bytes fail in any operation.
        reason = shorten(str(error) or type(error).__name__)
        raise UserError(
            f"{path} is not a complete pickle of arrays ({reason}); download it again"
        ) from error


def run_pickle(file: IO[bytes], dialect: Dialect, budget: Budget) -> Any:
    """Returns the value of a pickle without running any of it.

    Args:
      file: At the pickle's start; afterwards, behind its end.
      dialect: The names that it may contain.
      budget: Budget of the file; the memory of the value is taken from it.

    Raises:
      RefusedError: if it asks for anything else, or for too much.
      Exception: of many kinds, if it is damaged.
    """
    return _Machine(dialect, budget).run(file)


def shorten(value: object) -> str:
    """Returns a text as one printable line of at most 100 characters."""
    line = ascii(" ".join(str(value).split()))[1:-1]
    return line if len(line) <= 100 else line[:97] + "..."


class _Machine:
    """Pickle's stack machine, of harmless operations."""

    def __init__(self, dialect: Dialect, budget: Budget) -> None:
        self._dialect, self._budget = dialect, budget
        self._stack: list[Any] = []
        self._below: list[list[Any]] = []  # The stacks below the marks.
        self._memo: dict[int, Any] = {}
        self._operations: dict[str, Callable[[Any], None]] = {
            "PROTO": lambda _: None,
            "FRAME": lambda _: None,
            "POP": lambda _: self._stack.pop(),
            "MARK": self._mark,
            "TUPLE": lambda _: self._push(tuple(self._pop_to_mark())),
            "EMPTY_LIST": lambda _: self._push([]),
            "EMPTY_SET": lambda _: self._push([]),
            "EMPTY_DICT": lambda _: self._push({}),
            "APPEND": lambda _: self._append(self._pop(1)),
            "APPENDS": lambda _: self._append(self._pop_to_mark()),
            "ADDITEMS": lambda _: self._append(self._pop_to_mark()),
            "SETITEM": lambda _: self._set_items(self._pop(2)),
            "SETITEMS": lambda _: self._set_items(self._pop_to_mark()),
            "MEMOIZE": lambda _: self._keep(len(self._memo)),
            "BINPUT": self._keep,
            "LONG_BINPUT": self._keep,
            "BINGET": lambda index: self._push(self._memo[index]),
            "LONG_BINGET": lambda index: self._push(self._memo[index]),
            "GLOBAL": lambda text: self._push_name(*text.split(" ", 1)),
            "STACK_GLOBAL": lambda _: self._push_name(*self._pop(2)),
            "NEWOBJ": lambda _: self._make_object(*self._pop(2)),
            "REDUCE": lambda _: self._call(*self._pop(2)),
            "BUILD": lambda _: self._set_state(self._stack.pop()),
        }
        if dialect.persistent is not None:
            persistent = dialect.persistent
            self._operations["BINPERSID"] = lambda _: self._push(
                persistent(self._stack.pop())
            )

    def run(self, file: IO[bytes]) -> Any:
        """Returns the value on the stack where the pickle ends."""
        for operation, argument, _ in pickletools.genops(file):
            if operation.name == "STOP":
                break
            self._budget.take(_OBJECT)
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

    def _push(self, value: Any) -> None:
        self._stack.append(value)

    def _pop(self, count: int) -> list[Any]:
        return [self._stack.pop() for _ in range(count)][::-1]

    def _mark(self, _: None) -> None:
        self._below.append(self._stack)
        self._stack = []

    def _pop_to_mark(self) -> list[Any]:
        values, self._stack = self._stack, self._below.pop()
        return values

    def _keep(self, index: int) -> None:
        self._memo[index] = self._stack[-1]

    def _append(self, values: list[Any]) -> None:
        target = self._stack[-1]
        if isinstance(target, Inert):
            return
        if not isinstance(target, list):
            raise ValueError("it appends to a value that is not a list")
        target.extend(values)

    def _set_items(self, items: list[Any]) -> None:
        keys, values, target = items[::2], items[1::2], self._stack[-1]
        if isinstance(target, Inert):
            return
        # Hashing a key of another type can overflow the stack.
        if not all(type(key) in (str, int) for key in keys):
            raise ValueError("a dictionary has keys that are neither text nor numbers")
        target.update(zip(keys, values, strict=True))

    def _push_name(self, module: Any, name: Any) -> None:
        if type(module) is not str or type(name) is not str:
            raise RefusedError("asks for a name that is not text")
        # NumPy 2 has renamed the modules that older files speak of.
        text = f"{module}.{name}".replace("numpy.core.", "numpy._core.", 1)
        name, of = Name(text), self._dialect
        known = of.calls, of.records, of.dictionaries, of.names
        if not any(text in names for names in known) and not self._is_inert(name):
            raise RefusedError(f"asks for {shorten(text)}")
        self._push(name)

    def _is_inert(self, value: Any) -> bool:
        if isinstance(value, Name):
            return value.text.startswith(self._dialect.inert)
        return isinstance(value, Inert)

    def _make_object(self, of: Any, arguments: Any) -> None:
        text = of.text if isinstance(of, Name) else None
        if text in self._dialect.records and arguments == ():
            self._push(Record())
        elif text in self._dialect.dictionaries and arguments == ():
            self._push({})
        elif self._is_inert(of):
            self._push(Inert())
        else:
            raise RefusedError(f"makes an object of {_describe(of)}")

    def _call(self, function: Any, arguments: Any) -> None:
        calls = self._dialect.calls
        if isinstance(function, Name) and function.text in calls:
            self._push(calls[function.text](*arguments))
            self._take_size_of(self._stack[-1])
        elif self._is_inert(function):
            self._push(Inert())
        else:
            raise RefusedError(f"calls {_describe(function)}")

    def _set_state(self, state: Any) -> None:
        target = self._stack[-1]
        if not isinstance(target, Stateful):
            raise RefusedError(f"sets the state of {_describe(target)}")
        target.set_state(state)
        self._take_size_of(target)

    def _take_size_of(self, value: Any) -> None:
        """Takes the size of a value, which a file may have made many times."""
        if isinstance(value, StoredArray):
            self._budget.take(value.nbytes)
        elif isinstance(value, bytes):
            self._budget.take(len(value))


def _describe(value: Any) -> str:
    return (
        value.text if isinstance(value, Name) else f"a value ({type(value).__name__})"
    )
