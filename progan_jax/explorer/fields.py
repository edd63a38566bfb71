"""What is typed in the page's fields; else one line says what is wrong."""

import re
from collections.abc import Sequence

from progan_jax.errors import UserError
from progan_jax.trained_inputs import check_seed, find_class

_LONGEST = 40  # Characters that a message repeats.


def read_seed(field: str, text: str) -> int:
    """Returns a seed.

    Args:
      field: Its name on the page.
      text: As typed.

    Raises:
      UserError: if it is no whole number in [0, 2**32).
    """
    seed = _read_number(field, text, "a whole number in [0, 2**32)")
    check_seed(field, seed)
    return seed


def read_class(
    field: str,
    text: str,
    num_classes: int,
    optional: bool,
    names: Sequence[str] = (),
) -> int | None:
    """Returns a class; None where there are none, or for random ones.

    Args:
      field: Its name on the page.
      text: As typed.
      num_classes: The generator's.
      optional: Whether an empty field stands for random classes.
      names: Of the classes, as far as they are known.

    Raises:
      UserError: if there is no such class.
    """
    if not text.strip() and (optional or not num_classes):
        return None
    if names:
        return find_class(field, text.strip()[:_LONGEST], num_classes, names)
    rule = f"a whole number from 0 to {num_classes - 1}"
    if not num_classes:
        rule = "empty: this generator has no classes"
    return find_class(field, _read_number(field, text, rule), num_classes)


def _read_number(field: str, text: str, rule: str) -> int:
    number = text.strip()
    if not re.fullmatch(r"[0-9]{1,20}", number):
        told = repr(number[:_LONGEST]) if number else "nothing"
        raise UserError(f"{field} is {told} and must be {rule}; change it")
    return int(number)
