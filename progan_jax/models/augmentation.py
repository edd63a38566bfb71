"""DiffAugment: random changes of colour, place and content that D sees all images with.

Draws are apart from their application, so that an image's do not depend on its batch.
All changes are differentiable in the image. Source: Zhao et al. 2020, "Differentiable
augmentation for data-efficient GAN training", and the authors' program.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from progan_jax.errors import UserError

POLICIES = ("color", "translation", "cutout")
"""Names of the changes, in the order in which they are applied."""

_LARGEST_SHIFT, _CUTOUT = 0.125, 0.2  # Parts of an image's side.


class Draws(NamedTuple):
    """The random numbers of N images; those of changes that are left out are None.

    Attributes:
      brightness: [N] in [0, 1).
      saturation: Likewise.
      contrast: Likewise.
      shift: int [N, 2], rows and columns by which the image moves up and left.
      cutout: int [N, 2], row and column about which a square is cut out.
    """

    brightness: jax.Array | None = None
    saturation: jax.Array | None = None
    contrast: jax.Array | None = None
    shift: jax.Array | None = None
    cutout: jax.Array | None = None


def parse_policy(field: str, text: str) -> tuple[str, ...]:
    """Returns the changes of a text such as "color,translation"; none of an empty one.

    Args:
      field: Where the text comes from, for the message.
      text: Names, separated by commas, in any order.

    Raises:
      UserError: if a name is unknown.
    """
    names = [name.strip() for name in text.split(",") if name.strip()]
    unknown = [name for name in names if name not in POLICIES]
    if unknown:
        raise UserError(
            f"{field} = {text!r}: {unknown[0]!r} must be one of {', '.join(POLICIES)}; "
            "remove it, or separate names by commas"
        )
    return tuple(name for name in POLICIES if name in names)


def draw(
    key: jax.Array, numbers: jax.Array, side: int, policy: tuple[str, ...] = POLICIES
) -> Draws:
    """Draws the random numbers of images.

    Args:
      key: Key of the step, and of whoever sees the images.
      numbers: int [N], the images' numbers; equal ones have equal draws.
      side: Side of the images in pixels.
      policy: The changes.
    """

    def of_image(number: jax.Array) -> Draws:
        keys = jax.random.split(jax.random.fold_in(key, number), 3)
        draws = Draws()
        if "color" in policy:
            draws = Draws(*jax.random.uniform(keys[0], (3,)))
        if "translation" in policy:
            most = _part(side, _LARGEST_SHIFT)
            shift = jax.random.randint(keys[1], (2,), -most, most + 1)
            draws = draws._replace(shift=shift)
        if "cutout" in policy:
            places = side + 1 - _part(side, _CUTOUT) % 2
            cutout = jax.random.randint(keys[2], (2,), 0, places)
            draws = draws._replace(cutout=cutout)
        return draws

    return jax.vmap(of_image)(numbers)


def augment(images: jax.Array, draws: Draws) -> jax.Array:
    """Changes images [N, side, side, C] as drawn: colour, then place, then content."""
    x = images
    if draws.brightness is not None:
        x = x + (_of_images(draws.brightness, x) - 0.5)
    if draws.saturation is not None:
        mean = jnp.mean(x, axis=3, keepdims=True)
        x = (x - mean) * (2 * _of_images(draws.saturation, x)) + mean
    if draws.contrast is not None:
        mean = jnp.mean(x, axis=(1, 2, 3), keepdims=True)
        x = (x - mean) * (_of_images(draws.contrast, x) + 0.5) + mean
    x = x if draws.shift is None else _move(x, draws.shift)
    return x if draws.cutout is None else _cut_out(x, draws.cutout)


def augment_sets(
    images: jax.Array,
    key: jax.Array,
    sets: Sequence[int],
    numbers: jax.Array,
    policy: tuple[str, ...],
) -> jax.Array:
    """Changes sets of images that take turns in a batch, each by draws of its own.

    Args:
      images: [N * len(sets), side, side, C].
      key: Key of the step.
      sets: What the sets are, to be folded into the key; equal ones have equal draws.
      numbers: int [N], the images' numbers, the same in all sets.
      policy: The changes.
    """
    keys = [jax.random.fold_in(key, what) for what in sets]
    each = [draw(key, numbers, images.shape[1], policy) for key in keys]
    turns = jax.tree.map(lambda *x: jnp.stack(x, axis=1), *each)
    return augment(images, jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), turns))


def _of_images(numbers: jax.Array, x: jax.Array) -> jax.Array:
    return numbers.astype(x.dtype).reshape(-1, 1, 1, 1)


@jax.custom_vjp
def _move(x: jax.Array, shift: jax.Array) -> jax.Array:
    """Takes pixel (i + rows, j + columns) to (i, j); zeros come in.

    Its gradient is the same by the opposite shift, and not the scatter that compilers
    would make of it. It has gradients of any order, in reverse mode alone.
    """
    most = _part(x.shape[1], _LARGEST_SHIFT)
    padded = jnp.pad(x, ((0, 0), (most, most), (most, most), (0, 0)))

    def of_image(image: jax.Array, at: jax.Array) -> jax.Array:
        start = (at[0] + most, at[1] + most, 0)
        return lax.dynamic_slice(image, start, x.shape[1:])

    return jax.vmap(of_image)(padded, shift)


_move.defvjp(
    lambda x, shift: (_move(x, shift), shift),
    lambda shift, g: (_move(g, -shift), None),
)


def _cut_out(x: jax.Array, about: jax.Array) -> jax.Array:
    """Sets a square to 0, or what of it lies within the image."""
    square = _part(x.shape[1], _CUTOUT)
    start = (about - square // 2)[:, :, None]

    def is_cut(side: int, start: jax.Array) -> jax.Array:
        pixels = jnp.arange(side).reshape(1, -1)
        return (start <= pixels) & (pixels < start + square)

    rows, columns = is_cut(x.shape[1], start[:, 0]), is_cut(x.shape[2], start[:, 1])
    is_kept = ~(rows[:, :, None] & columns[:, None])
    return x * is_kept[..., None].astype(x.dtype)


def _part(side: int, share: float) -> int:
    """Returns a share of a side, rounded to whole pixels."""
    return int(side * share + 0.5)
