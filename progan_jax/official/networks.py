"""The three networks of a file of the authors': G, D, and Gs, the average of G.

Their program pickles each as its name, the name of the function that builds it, that
function's options and its variables; the source of the function lies there, too, and is
not looked at.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from progan_jax.errors import UserError
from progan_jax.official.stored_arrays import StoredArray
from progan_jax.official.unpickling import Record, read_pickle, shorten

NETWORKS = ("G", "D", "Gs")  # In the file's order.
_FUNCTIONS = {"G": "G_paper", "D": "D_paper", "Gs": "G_paper"}


@dataclass(frozen=True)
class OfficialNetwork:
    """A network as its authors' program knows it.

    Attributes:
      kind: "G", "D" or "Gs".
      function: Name of the function that builds it.
      options: Its arguments, where they are not its defaults.
      variables: Arrays by their names there, such as "8x8/Conv0_up/weight".
    """

    kind: str
    function: str
    options: Mapping[str, Any]
    variables: Mapping[str, np.ndarray]


def read_network(path: Path, kind: str) -> OfficialNetwork:
    """Returns one of the networks of a file.

    Args:
      path: A pickle of (G, D, Gs).
      kind: "G", "D" or "Gs".

    Raises:
      UserError: if the file cannot be read, asks for code to be run, or holds no such
        networks.
    """
    value = read_pickle(path)
    try:
        if len(value) != len(NETWORKS):
            raise ValueError(f"{len(value)} values instead of three")
        return _to_network(kind, value[NETWORKS.index(kind)])
    except Exception as error:  # A file may hold anything in the place of anything.
        raise UserError(
            f"{path} does not hold the authors' networks (G, D, Gs): "
            f"{shorten(error)}; name one that their program wrote"
        ) from error


def _to_network(kind: str, record: Any) -> OfficialNetwork:
    if not isinstance(record, Record):
        raise ValueError(f"{kind} is no network")
    for field in ("build_func_name", "static_kwargs", "variables"):
        if field not in record.state:
            raise ValueError(f"{kind} has no {field}")
    state, function = record.state, record.state["build_func_name"]
    # To print or to hash what is no text can take for ever.
    if type(function) is not str or function != _FUNCTIONS[kind]:
        built = function if type(function) is str else "what is no function"
        raise ValueError(f"{kind} is built by {built}, not by {_FUNCTIONS[kind]}")
    names = [name for name, _ in state["variables"]]
    if any(type(name) is not str for name in names):
        raise ValueError(f"{kind} has a variable without a name")
    if len(set(names)) < len(names):
        raise ValueError(f"{kind} has two variables of one name")
    variables = {name: array.numbers for name, array in state["variables"]}
    options = {name: _plain(value) for name, value in state["static_kwargs"].items()}
    return OfficialNetwork(kind, function, options, variables)


def _plain(value: Any) -> Any:
    """Returns an option, which is a number or a text, as Python's own."""
    if isinstance(value, StoredArray):
        return value.numbers.item()
    if type(value) is int and abs(value) >= 2**63:
        raise ValueError("an option is out of range")
    if value is not None and type(value) not in (str, bool, int, float):
        raise ValueError("an option is neither a number nor a text")
    return value
