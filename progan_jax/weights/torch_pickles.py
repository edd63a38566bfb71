"""Pickles of PyTorch modules with their source code, read as data.

The programs of StyleGAN2-ADA, StyleGAN3 and StyleGAN-XL write a module as a call of
their `torch_utils.persistence` with the source text of its file, the name of its class
and its state: settings, parameters, buffers and modules. The text is not looked at.
Other modules, such as those of a discriminator's frozen networks, are objects of
PyTorch's and timm's classes, with functions that dill writes as calls; what these would
make is kept as `Inert`.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from progan_jax.weights.stored_arrays import CALLS, RefusedError, StoredArray
from progan_jax.weights.torch_files import (
    Tensor,
    make_dictionary,
    read_storage,
    rebuild_tensor,
)
from progan_jax.weights.unpickling import (
    ARRAYS,
    Budget,
    Dialect,
    Record,
    read_dialect,
)

_DICTIONARIES = ("dnnlib.util.EasyDict",)

# Packages whose objects are Inert, and what else pickles of these name.
_INERT = (
    *("torch.nn.", "torch.ao.nn.", "torch.Size", "timm."),
    *("pg_modules.", "feature_networks."),
    *("dill._dill", "builtins.getattr", "builtins.setattr", "functools.partial"),
)


class Module(Record):
    """A module of the authors' classes.

    Attributes:
      kind: Name of its class.
      state: Its settings by name, and "_parameters", "_buffers" and "_modules".
    """

    def __init__(self, kind: str, state: dict[str, Any]) -> None:
        """Takes the class's name and the state."""
        super().__init__()
        self.kind, self.state = kind, state

    def set_state(self, state: Any) -> None:
        """Refuses another state: the call that makes a module has all of it."""
        raise RefusedError("sets the state of a module again")


class StoredTensor:
    """A tensor, cut out of its storage when it is asked for."""

    def __init__(self, tensor: Tensor, budget: Budget) -> None:
        """Takes the tensor, and the budget of its file."""
        self._tensor, self._budget = tensor, budget

    @property
    def numbers(self) -> np.ndarray:
        """A copy of the numbers.

        Raises:
          ValueError: if they reach beyond the storage, or there are none.
          RefusedError: if they are more than the file allows.
        """
        return self._tensor.cut_from(self._tensor.storage, self._budget)


def read_modules(path: Path) -> Any:
    """Returns the content of a file: plain values, `Module`s and `StoredTensor`s.

    Raises:
      UserError: if it cannot be read, is damaged, or asks for anything else.
    """
    return read_dialect(path, _dialect)


def submodules(value: Any) -> dict[str, Any]:
    """Returns the modules within a module, by name; {} for any other value."""
    state = value.state if isinstance(value, Record) else None
    modules = state.get("_modules") if isinstance(state, dict) else None
    return modules if isinstance(modules, dict) else {}


def named_arrays(module: Record) -> Iterator[tuple[str, Any]]:
    """Yields the parameters and buffers of a module and of those within it.

    Args:
      module: A `Module`, or an `Inert` module of PyTorch's.

    Yields:
      Names, such as "mapping.fc0.weight", and `StoredTensor`s.

    Raises:
      ValueError: if a module is in two places.
    """
    return _walk(module, "", set())


def _walk(module: Record, prefix: str, seen: set[int]) -> Iterator[tuple[str, Any]]:
    if id(module) in seen:  # To follow modules of shared modules may never end.
        raise ValueError(f"a module is in two places: {prefix.rstrip('.')}")
    seen.add(id(module))
    for group in ("_parameters", "_buffers"):
        for name, tensor in module.state[group].items():
            if tensor is not None:
                yield f"{prefix}{name}", tensor
    for name, inner in module.state["_modules"].items():
        if inner is not None:
            yield from _walk(inner, f"{prefix}{name}.", seen)


def _dialect(budget: Budget) -> Dialect:
    calls = CALLS | {
        "collections.OrderedDict": make_dictionary,
        "dill._dill._create_array": _create_array,
        "torch._utils._rebuild_parameter": _rebuild_parameter,
        "torch._utils._rebuild_tensor_v2": partial(_rebuild_tensor, budget),
        "torch.storage._load_from_bytes": partial(_load_from_bytes, budget),
        "torch_utils.persistence._reconstruct_persistent_obj": _reconstruct,
    }
    return Dialect(calls, dictionaries=_DICTIONARIES, names=ARRAYS, inert=_INERT)


def _create_array(function: Any, arguments: Any, state: Any, *rest: Any) -> StoredArray:
    del function, arguments, rest  # Those of an empty array, and what it has besides.
    array = StoredArray()
    array.set_state(state)
    return array


def _load_from_bytes(budget: Budget, data: Any) -> np.ndarray:
    if not isinstance(data, bytes):
        raise ValueError("a storage is not made of bytes")
    return read_storage(data, budget)


def _rebuild_tensor(budget: Budget, storage: Any, *place: Any) -> StoredTensor:
    if not isinstance(storage, np.ndarray):
        raise ValueError("a tensor has no storage")
    return StoredTensor(rebuild_tensor(storage, *place), budget)


def _rebuild_parameter(tensor: Any, *rest: Any) -> Any:
    del rest  # Whether it has a gradient, and hooks.
    return tensor


def _reconstruct(meta: Any) -> Module:
    kind, state = meta["class_name"], meta["state"]
    if type(kind) is not str or type(state) is not dict:
        raise ValueError("a module has no class, or no state")
    return Module(kind, state)
