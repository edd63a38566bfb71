"""ImageNet's thousand classes, by the names that ship in imagenet.txt."""

import re
from functools import cache
from pathlib import Path

NUM_CLASSES = 1000

_FILE = Path(__file__).with_name("imagenet.txt")


def all_names() -> tuple[str, ...]:
    """Returns the names of all classes, in the order of their numbers."""
    return tuple(_read().values())


def name_synset(name: str) -> str:
    """Returns a class's name for its synset, "tabby" for "n02123045".

    Any other text is returned as it is.
    """
    return _read().get(name, name) if re.fullmatch(r"n\d{8}", name) else name


def class_number(name: str) -> int | None:
    """Returns the number of the class of a synset or name; None if there is none.

    "_" is a space, and upper case counts only for "Cardigan", the dog.
    """
    text = name.replace("_", " ")
    return _numbers().get(text, _numbers().get(text.lower()))


@cache
def _numbers() -> dict[str, int]:
    pairs = enumerate(_read().items())
    exact = {text: number for number, pair in pairs for text in pair}
    return {text.lower(): number for text, number in exact.items()} | exact


@cache
def _read() -> dict[str, str]:
    """Returns names by synset, in the order of the classes' numbers."""
    lines = _FILE.read_text("utf-8").splitlines()
    pairs = (line.split(" ", 1) for line in lines if not line.startswith("#"))
    return dict(pairs)
