"""Classes of a generator, by number and by name, as users give and see them."""

import re
import unicodedata
from collections.abc import Sequence

from progan_jax.errors import UserError
from progan_jax.inference.imagenet import name_synset


def find_class(
    field: str, wanted: int | str, num_classes: int, names: Sequence[str] = ()
) -> int:
    """Returns the number of a class.

    Args:
      field: Name by which the user gave the class, for the message.
      wanted: Its number, its name, or its number as text, optionally after "#"; of
        ImageNet also the synset, as n02123045.
      num_classes: Number of classes of the generator.
      names: Names of the classes, if known.

    Raises:
      UserError: if there is no such class, or a text is the name of one class and the
        number of another.
    """
    shown = one_line(unicodedata.normalize("NFC", str(wanted)))
    if not num_classes:
        raise UserError(f"{field}={shown}: this generator has no classes; leave it out")
    name = shown if shown in names else name_synset(shown)
    named = names.index(name) if isinstance(wanted, str) and name in names else None
    number = int(shown.lstrip("#")) if re.fullmatch("#?[0-9]{1,9}", shown) else None
    if number is not None and number >= num_classes:
        number = None
    if number is not None and named not in (None, number):
        raise UserError(
            f"{field}={shown} is the name of class {named} and the number of class "
            f"{names[number]!r}; write #{named} or #{number}"
        )
    found = named if number is None else number
    if found is not None:
        return found
    rule = f" must be from 0 to {num_classes - 1} for this generator; change it"
    if names:
        rule = f": there is no such class; choose from {list_classes(names)}"
    raise UserError(f"{field}={shown}{rule}")


def name_class(label: int, names: Sequence[str]) -> str:
    """Returns a class in words: "3 (dog)", or "3" if names are unknown."""
    return f"{label} ({names[label]})" if names else str(label)


def list_classes(names: Sequence[str], most: int = 30) -> str:
    """Returns names of classes with their numbers: "0 cat, 1 dog"."""
    listed = ", ".join(f"{n} {name}" for n, name in enumerate(names[:most]))
    rest = len(names) - most
    return f"{listed} and {rest} more" if rest > 0 else listed


def one_line(text: str) -> str:
    """Returns a text as one line; unprintable characters become spaces."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())
