"""Trained generators for use: called with latents, sampled by seed.

Nothing here needs what training needs: no data sets, checkpoints or configurations.
"""

import operator
import re
import unicodedata
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from progan_jax import images as pixels
from progan_jax.errors import UserError
from progan_jax.inference.sampling import (
    BATCH_SIZE,
    Sampler,
    check_parameters,
    draw_inputs,
    generator_from_snapshot,
)
from progan_jax.inference.snapshot import read_snapshot
from progan_jax.models.common import Params, stage_resolutions
from progan_jax.models.layers import downscale2d
from progan_jax.runtime.backend import check_devices

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
            "g.params}, z, alpha=g.alpha) within"
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


_BATCH_PIXELS = 2**22  # At most in a batch: 64 images of 256x256, 4 of 1024x1024.

_quantise = jax.jit(pixels.to_uint8)


class TrainedGenerator:
    """A trained generator: latents in, images out.

    It is compiled at its first call, and for each power of two images up to a batch.

    Attributes:
      name: Of its snapshot, for messages.
      info: The snapshot's description; see docs/using.md.
      network: The Flax module.
      params: Its parameters, on the device.
      alpha: Weight of its newest block, in [0, 1]; 1 once that has been faded in.
    """

    def __init__(self, params: Params, info: Mapping[str, Any], name: str) -> None:
        """Takes what `read_snapshot` returns.

        Raises:
          UserError: if parameters and description do not belong together.
        """
        self.name, self.info = name, info
        self.network = generator_from_snapshot(info)
        check_parameters(self.network, params)
        self.params = jax.device_put(params)
        self.alpha = _check_alpha(info)
        self._samplers: dict[tuple[int, int, bool], Sampler] = {}

    @property
    def latent_dim(self) -> int:
        """Width of the latents."""
        return self.network.latent_size

    @property
    def resolution(self) -> int:
        """Side of the images in pixels."""
        return self.network.resolution

    @property
    def num_classes(self) -> int:
        """Number of classes; 0 for an unconditional generator."""
        return self.network.num_classes

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes, in the order of their numbers; () if not known."""
        dataset = self.info.get("dataset") or {}
        names = dataset.get("class_names")
        if not isinstance(names, list) or len(names) < self.num_classes:
            return ()
        # It may have been trained on the first classes of a set alone.
        return tuple(one_line(str(name)) for name in names[: self.num_classes])

    @property
    def channels(self) -> int:
        """1 (grey) or 3 (RGB)."""
        return self.network.options.channels

    def __call__(
        self,
        z: jax.typing.ArrayLike,
        label: Label | None = None,
        *,
        resolution: int | None = None,
        stale_rgb: bool = False,
    ) -> np.ndarray:
        """Returns the images of latents.

        Args:
          z: Latents [N, latent_dim], standard normal.
          label: Class of all images, or classes [N], by number from 0 to
            num_classes - 1 or by name; needed if there are classes, refused if there
            are none.
          resolution: Side r of the images, a power of two from 4 to the generator's
            own, which is the default. A smaller one is the mean over blocks of pixels.
          stale_rgb: Whether a smaller image is instead what the RGB layer of that
            resolution makes. It was last trained when the network had that resolution,
            and the layers before it have been trained on since.

        Returns:
          float32 [N, r, r, channels], about [-1, 1]: not clipped, which `to_uint8`
          does.

        Raises:
          UserError: if an argument does not fit, or images are not finite.
        """
        latents = read_latents(z, self.latent_dim)
        labels = read_labels(label, len(latents), self.num_classes, self.class_names)
        return self._draw(latents, labels, resolution, stale_rgb)

    def sample(
        self,
        n: int,
        seed: int,
        label: Label | None = None,
        *,
        resolution: int | None = None,
        stale_rgb: bool = False,
    ) -> np.ndarray:
        """Returns n images of a seed; more of them begin with the same, to rounding.

        Args:
          n: Number of images, from 1.
          seed: Of the latents, and of the classes where `label` is None; in [0, 2**32).
          label: Class of all images, or classes [n], by number or by name; None for
            random ones.
          resolution: See `__call__`.
          stale_rgb: See `__call__`.

        Returns:
          As `__call__`.

        Raises:
          UserError: if an argument does not fit, or images are not finite.
        """
        check_sample(n, seed)
        # With batch norm, an image depends on the rest of its batch.
        whole = BATCH_SIZE if self.network.sees_batch else 1
        drawn = -(-n // whole) * whole
        latents, labels = draw_inputs(self.network, drawn, seed)
        if label is not None:
            wanted = read_labels(label, n, self.num_classes, self.class_names)
            labels = np.resize(np.asarray(wanted), drawn)
        return self._draw(latents, labels, resolution, stale_rgb)[:n]

    def _draw(
        self,
        latents: np.ndarray,
        labels: np.ndarray | None,
        resolution: int | None,
        stale_rgb: bool,
    ) -> np.ndarray:
        side = read_side(resolution, self.resolution)
        stale = stale_rgb and side < self.resolution
        sampler = self._sampler(len(latents), side, stale)
        alpha = 1.0 if stale else self.alpha
        return sampler.sample(self.params, alpha, latents, labels, self.name)

    def _sampler(self, count: int, side: int, stale: bool) -> Sampler:
        made = side if stale else self.resolution
        most = max(min(BATCH_SIZE, _BATCH_PIXELS // made**2), 1)
        # A program for each number would take long to compile; batches are filled up,
        # which batch norm, that sees them whole, does not allow.
        filled = min(1 << (count - 1).bit_length(), most)
        batch = min(count, BATCH_SIZE) if self.network.sees_batch else filled
        if (batch, side, stale) not in self._samplers:
            network = self.network.clone(resolution=made)
            finish = partial(_pool, made // side)
            sampler = Sampler(network, batch_size=batch, finish=finish)
            self._samplers[batch, side, stale] = sampler
        return self._samplers[batch, side, stale]

    def __getstate__(self) -> dict[str, Any]:
        """Leaves out the compiled programs, which no other process can use."""
        return self.__dict__ | {"params": jax.device_get(self.params), "_samplers": {}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__ |= state | {"params": jax.device_put(state["params"])}

    def __repr__(self) -> str:
        side, classes = self.resolution, self.num_classes or "no"
        return (
            f"<generator {self.name}: {side}x{side}x{self.channels} from "
            f"{self.latent_dim} latents, {classes} classes>"
        )


def open_snapshot(folder: Path, name: str | None = None) -> TrainedGenerator:
    """Returns the generator of a snapshot's folder.

    Args:
      folder: The snapshot's.
      name: By which messages call it; that of the folder by default.

    Raises:
      UserError: if the folder holds no whole snapshot of a generator, or JAX finds no
        device for it.
    """
    params, info = read_snapshot(folder)
    if info.get("network", "G") != "G":
        raise UserError(
            f"snapshot {folder} is of a discriminator, which makes no images; name a "
            "generator's"
        )
    check_devices()
    try:
        return TrainedGenerator(params, info, name or folder.absolute().name)
    except UserError as error:
        raise UserError(f"snapshot {folder}: {error}") from error


def to_uint8(images: jax.typing.ArrayLike) -> np.ndarray:
    """Maps images of any shape from [-1, 1] to uint8 0..255, rounded and clipped."""
    return np.asarray(_quantise(jnp.asarray(images)))


def _check_alpha(info: Mapping[str, Any]) -> float:
    alpha = info["stage"].get("alpha")
    if not isinstance(alpha, int | float) or not 0 <= alpha <= 1:
        raise UserError(
            f"the snapshot's description has alpha = {alpha!r}, which must lie in "
            "[0, 1]; name a whole snapshot"
        )
    return float(alpha)


def _pool(factor: int, images: jax.Array) -> jax.Array:
    pooled = downscale2d(images, factor) if factor > 1 else images
    return pooled.astype(jnp.float32)
