"""What a trained generator may be asked for; else one line says what is wrong."""

import operator
import re
import unicodedata
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from progan_jax.errors import UserError
from progan_jax.networks.progan import stage_resolutions

Label = jax.typing.ArrayLike | str | Sequence[str]  # One or many, by number or name.


def read_latents(z: jax.typing.ArrayLike, width: int) -> np.ndarray:
    """Returns latents as float32 [N, width].

    Raises:
      UserError: if they are of another shape, none, not finite, or being traced.
    """
    _check_not_traced("z", z)
    try:
        latents = np.asarray(z, np.float32)
    except (TypeError, ValueError) as error:
        raise UserError(
            f"z must be an array of numbers [N, {width}]; pass latents"
        ) from error
    if latents.ndim != 2 or latents.shape[1] != width or not len(latents):
        raise UserError(
            f"z has the shape {list(latents.shape)} and must have [N, {width}], N from "
            f"1: draw it with numpy.random.default_rng(0).standard_normal((N, {width}))"
        )
    if not np.isfinite(latents).all():
        raise UserError("z has numbers that are not finite; draw it again")
    return latents


def read_labels(
    label: Label | None, count: int, num_classes: int, names: Sequence[str] = ()
) -> np.ndarray | None:
    """Returns classes int [count], or None where there are none.

    Args:
      label: One class for all, or classes [count], by number or by name; None for an
        unconditional generator.
      count: Number of latents.
      num_classes: The generator's.
      names: Of the classes, as far as they are known.

    Raises:
      UserError: if they are missing, of another shape, or not there.
    """
    if label is None:
        if num_classes:
            choice = list_classes(names) or f"a number from 0 to {num_classes - 1}"
            raise UserError(f"label is missing: give a class, {choice}")
        return None
    _check_not_traced("label", label)
    try:
        classes = np.asarray(label)
    except ValueError as error:
        raise UserError(
            f"label must be a class, or {count} of them, one for each image"
        ) from error
    if classes.dtype.kind == "U":
        found = [find_class("label", t, num_classes, names) for t in classes.flat]
        classes = np.array(found, np.int32).reshape(classes.shape)
    if classes.dtype.kind not in "iu" or classes.shape not in ((), (count,)):
        raise UserError(
            f"label must be a class, or {count} of them, one for each image; it is "
            f"{classes.dtype}{list(classes.shape)}"
        )
    for value in (classes.min(), classes.max()):
        find_class("label", int(value), num_classes, names)
    return np.broadcast_to(classes, count)


def read_side(resolution: int | None, largest: int) -> int:
    """Returns the side of the images that are asked for.

    Raises:
      UserError: if it is no power of two from 4 to the generator's.
    """
    sides = stage_resolutions(largest)
    if resolution is not None and resolution not in sides:
        choice = ", ".join(map(str, sides))
        raise UserError(f"resolution={resolution} must be one of {choice}; change it")
    return largest if resolution is None else int(resolution)


def check_sample(n: int, seed: int) -> None:
    """Raises UserError unless so many images of a seed can be drawn."""
    _check_whole("n", n)
    if n < 1:
        raise UserError(f"n={n} must be at least 1; raise it")
    _check_whole("seed", seed)
    check_seed("seed", seed)


def _check_not_traced(name: str, value: Any) -> None:
    if isinstance(value, jax.core.Tracer):
        raise UserError(
            f"{name} is traced, and a generator compiles its calls itself: call it "
            "outside jax.jit and jax.grad, or use g.network.apply({'params': "
            "g.params}, z, g.alpha) within"
        )


def _check_whole(name: str, value: Any) -> None:
    try:
        operator.index(value)
    except TypeError as error:
        raise UserError(
            f"{name}={value!r} must be a whole number; change it"
        ) from error


def check_seed(name: str, seed: int) -> None:
    """Raises UserError, by the name that the user knows, unless it is a seed."""
    if not 0 <= seed < 2**32:
        raise UserError(f"{name}={seed} must lie in [0, 2**32); change it")


def find_class(
    field: str, wanted: int | str, num_classes: int, names: Sequence[str] = ()
) -> int:
    """Returns the number of a class.

    Args:
      field: By which the user knows it, for the message.
      wanted: Its number, its name, or a text of its number, which "#" may precede.
      num_classes: The generator's.
      names: Of the classes, as far as they are known.

    Raises:
      UserError: if there is no such class, or a text is the name of one and the number
        of another.
    """
    if not num_classes:
        raise UserError(
            f"{field}={wanted}: this generator has no classes; leave it out"
        )
    number, named = _read_class(wanted, names)
    if number is not None and not 0 <= number < num_classes:
        number = None
    shown = one_line(str(wanted))
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
    """Returns a class in words: "3 (dog)", or "3" where names are not known."""
    return f"{label} ({names[label]})" if names else str(label)


def list_classes(names: Sequence[str], most: int = 30) -> str:
    """Returns names of classes with their numbers: "0 cat, 1 dog"."""
    listed = ", ".join(f"{n} {name}" for n, name in enumerate(names[:most]))
    rest = len(names) - most
    return f"{listed} and {rest} more" if rest > 0 else listed


def one_line(text: str) -> str:
    """Returns a text as one line; what cannot be printed becomes a space."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def _read_class(
    wanted: int | str, names: Sequence[str]
) -> tuple[int | None, int | None]:
    """Returns the number that is written, and that of the class so named, if any."""
    if not isinstance(wanted, str):
        return int(wanted), None
    text = one_line(unicodedata.normalize("NFC", wanted))
    number = re.fullmatch(r"#?(-?[0-9]{1,20})", text)
    named = names.index(text) if text in names else None
    return int(number[1]) if number else None, named
