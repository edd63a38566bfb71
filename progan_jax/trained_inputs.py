"""What a trained generator may be asked for; else one line says what is wrong."""

import operator
from typing import Any

import jax
import numpy as np

from progan_jax.errors import UserError
from progan_jax.networks.progan import stage_resolutions


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
        raise UserError("z has numbers that are not finite; draw it anew")
    return latents


def read_labels(
    label: jax.typing.ArrayLike | None, count: int, num_classes: int
) -> np.ndarray | None:
    """Returns classes int [count], or None where there are none.

    Args:
      label: One class for all, or classes [count]; None for an unconditional generator.
      count: Number of latents.
      num_classes: The generator's.

    Raises:
      UserError: if they are missing, of another shape, or not there.
    """
    if label is None:
        if num_classes:
            last = num_classes - 1
            raise UserError(f"label is missing: give a class from 0 to {last}")
        return None
    _check_not_traced("label", label)
    try:
        classes = np.asarray(label)
    except ValueError as error:
        raise UserError(
            f"label must be a whole number, or {count} of them, one for each row of z"
        ) from error
    if classes.dtype.kind not in "iu" or classes.shape not in ((), (count,)):
        raise UserError(
            f"label must be a whole number, or {count} of them, one for each row of z; "
            f"it is {classes.dtype}{list(classes.shape)}"
        )
    for value in (classes.min(), classes.max()):
        check_label("label", int(value), num_classes)
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


def check_sample(n: int, seed: int, label: int | None, num_classes: int) -> None:
    """Raises UserError unless so many images of a seed, and a class, can be drawn."""
    _check_whole("n", n)
    if n < 1:
        raise UserError(f"n={n} must be at least 1; raise it")
    _check_whole("seed", seed)
    check_seed("seed", seed)
    if label is not None:
        _check_whole("label", label)
        check_label("label", label, num_classes)


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


def check_label(name: str, label: int, num_classes: int) -> None:
    """Raises UserError, by the name that the user knows, unless there is that class."""
    if not num_classes:
        raise UserError(f"{name}={label}: this generator has no classes; leave it out")
    if not 0 <= label < num_classes:
        raise UserError(
            f"{name}={label} must be from 0 to {num_classes - 1} for this generator; "
            "change it"
        )
