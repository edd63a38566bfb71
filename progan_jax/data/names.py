"""Names of files and classes: how they are ordered, compared and printed."""

import re
import unicodedata
from collections.abc import Sequence

# A part of a path that is a whole number, apart from a suffix: "7", "7.png".
_NUMBER = re.compile(r"(?<![^/])[0-9]{1,18}(?=[./]|$)")


def in_order(name: str) -> tuple[str, str]:
    """Returns a key that sorts paths: whole numbers by their value, the rest as text.

    So 2 comes before 10, and 2.png before 10.png; class_10 comes before class_2.
    """
    return _NUMBER.sub(lambda match: match[0].zfill(18), name), name


def normal(name: str) -> str:
    """Returns a name in Unicode's composed form (NFC).

    macOS stores an accent as a character of its own; other systems, and people who type
    lists, do not.
    """
    return unicodedata.normalize("NFC", name)


def printable(name: str) -> str:
    r"""Returns a name as one line of valid text.

    Control characters, and bytes that are not UTF-8, which Python keeps as lone
    surrogates, become backslash escapes such as \n and \udcff.
    """
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode()
        for c in normal(name)
    )


def counted(number: int, noun: str) -> str:
    """Returns for example "1 file" or "2,000 files"."""
    return f"{number:,} {noun}" + "s" * (number != 1)


def describe_classes(num_classes: int, names: Sequence[str]) -> str:
    """Returns for example "2 classes (cat, dog)"; of many names the first few."""
    return ("1 class" if num_classes == 1 else f"{num_classes} classes") + (
        f" ({first_few(names)})" if names else ""
    )


def first_few(names: Sequence[str], most: int = 5) -> str:
    """Returns the first names in a line, and how many more there are."""
    shown = ", ".join(map(printable, names[:most]))
    rest = len(names) - most
    return shown + (f" and {rest:,} more" if rest > 0 else "")
