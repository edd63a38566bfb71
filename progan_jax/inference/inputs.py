"""Numbers that users give to a generator."""

import operator
from typing import Any

import numpy as np

from progan_jax.errors import UserError, reason

_NO_NUMBERS = "OSUcmMT"  # Kinds of types: objects, texts, complex numbers and times.


def is_whole(number: Any) -> bool:
    """Returns whether something is an integer, of Python, NumPy or JAX."""
    try:
        operator.index(number)
    except TypeError:
        return False
    return not isinstance(number, bool)


def read_array(name: str, values: Any) -> np.ndarray:
    """Returns values as float32, of any shape.

    Args:
      name: Of the argument, for the message.
      values: Anything that NumPy makes an array of: nested lists, arrays of JAX.

    Raises:
      UserError: if it is ragged, or of anything but real numbers.
    """
    try:
        array = np.asarray(values)
    except (TypeError, ValueError) as error:
        raise UserError(
            f"{name} is no array of numbers ({reason(error)}); change it"
        ) from error
    if array.dtype.kind in _NO_NUMBERS:
        raise UserError(
            f"{name} is no array of numbers, but of {array.dtype}; give real numbers"
        )
    return array.astype(np.float32)


def check_seed(name: str, seed: int) -> None:
    """Raises UserError unless a seed, which the user gave by a name, is valid."""
    if not is_whole(seed):
        raise UserError(
            f"{name}={seed} must be a whole number in [0, 2**32); change it"
        )
    if not 0 <= seed < 2**32:
        raise UserError(f"{name}={seed} must lie in [0, 2**32); change it")
