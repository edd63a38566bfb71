"""What a call of a style-based generator takes: truncation, noise, layers and w.

Only what users give is read here; the networks do the rest.
"""

import re
from collections.abc import Sequence
from inspect import signature
from typing import Any, NamedTuple

import numpy as np

from progan_jax.errors import UserError
from progan_jax.inference.inputs import is_whole, read_array

NOISES = ("random", "fixed", "none")

MOST_PSI = 2.0

OR_LOAD = "leave it out, or load a StyleGAN"  # Fix of an option that needs styles.

Layers = str | int | Sequence[int]  # As "coarse", "4-7", a number, or numbers.


class Style(NamedTuple):
    """Settings of a call, all of them None for networks without styles.

    Attributes:
      truncation_psi: Weight of w against its average, in [-2, 2]; 1 truncates nothing.
      truncation_cutoff: Number of layers that are truncated, the coarsest first.
      noise: "random" for noise of each image's own, by seed and number; "fixed" for
        the arrays that are stored with the weights; "none".
    """

    truncation_psi: float | None = None
    truncation_cutoff: int | None = None
    noise: str | None = None

    def __str__(self) -> str:
        if self.noise is None:
            return ""
        layers = f"psi {self.truncation_psi:g} on {self.truncation_cutoff} layers"
        return f"{layers}, {self.noise_in_words}"

    @property
    def noise_in_words(self) -> str:
        """The noise, if the settings are complete."""
        return f"{'no' if self.noise == 'none' else self.noise} noise"


def is_style_based(network: Any) -> bool:
    """Returns whether a generator maps latents to styles of its layers."""
    return hasattr(network, "num_layers")


def takes_transform(network: Any) -> bool:
    """Returns whether the input of a generator's synthesis can be moved and turned."""
    return is_style_based(network) and (
        "transform" in signature(network.synthesis).parameters
    )


def check_style_based(
    network: Any, model: str, asked: str, fix: str = "load a StyleGAN"
) -> None:
    """Raises UserError for a generator without styles.

    Args:
      network: The generator.
      model: Name of its family's model.
      asked: What the user asked for.
      fix: What to do instead, for the message.
    """
    if not is_style_based(network):
        raise not_style_based(model, asked, fix)


def not_style_based(model: str, asked: str, fix: str = "load a StyleGAN") -> UserError:
    """Returns the error of a generator without styles; see `check_style_based`."""
    return UserError(
        f"{asked} is for style-based generators, and this one is a {model}; {fix}"
    )


def read_style(network: Any, model: str, given: Style, prefix: str = "") -> Style:
    """Returns complete settings: those given, or else those of the generator's options.

    Args:
      network: The generator.
      model: Name of its family's model.
      given: Settings, None where the user gave none.
      prefix: Of the settings' names in messages: "--" for flags.

    Raises:
      UserError: if a setting is invalid, or the generator has no styles.
    """
    for field, value in given._asdict().items():
        if value is not None:
            check_style_based(network, model, f"{prefix}{field}={value}", OR_LOAD)
    if not is_style_based(network):
        return Style()
    psi, cutoff, noise = given
    options, layers = network.options, network.num_layers
    if psi is None:
        psi = options.truncation_psi
    if cutoff is None:
        cutoff = min(options.truncation_cutoff, layers)
    psi = check_psi(f"{prefix}truncation_psi", psi)
    if not is_whole(cutoff) or not 0 <= cutoff <= layers:
        raise UserError(
            f"{prefix}truncation_cutoff={cutoff} must be a whole number from 0 to "
            f"{layers}, the number of this generator's layers; change it"
        )
    noise = network.noise_mode if noise is None else noise
    if noise not in NOISES:
        raise UserError(
            f"{prefix}noise={noise} must be one of {', '.join(NOISES)}; choose one"
        )
    if network.noise_mode == "none" != noise:
        raise UserError(
            f"{prefix}noise={noise} is for generators with noise, and a {model} has "
            "none; leave it out"
        )
    return Style(psi, int(cutoff), noise)


def check_psi(field: str, psi: Any) -> float:
    """Returns psi as a float; raises UserError unless it is a number in [-2, 2]."""
    kind = np.asarray(psi).dtype.kind
    if np.ndim(psi) or kind not in "iuf" or not abs(psi) <= MOST_PSI:  # NaN is not.
        raise UserError(
            f"{field}={psi} must be a number in [-{MOST_PSI:g}, {MOST_PSI:g}]; change "
            "it"
        )
    return float(psi)


def layer_ranges(num_layers: int) -> dict[str, range]:
    """Returns the coarse, middle and fine layers; of small generators some are empty.

    From 128x128 on coarse layers are those at 4x4 and 8x8, middle ones those at 16x16
    and 32x32, as in the paper's figure of 1024x1024. Below, the resolutions are divided
    by three.

    Source: Karras et al. 2019, figure 3.

    Examples:
      >>> layer_ranges(18)  # 1024x1024
      {'coarse': range(0, 4), 'middle': range(4, 8), 'fine': range(8, 18)}
    """
    resolutions = num_layers // 2
    coarse = min(2, max(1, resolutions // 3))
    middle = coarse + min(2, max(0, resolutions - coarse) // 2)
    # Without styles for each layer there is one.
    first, second = (min(2 * end, num_layers) for end in (coarse, middle))
    return {
        "coarse": range(first),
        "middle": range(first, second),
        "fine": range(second, num_layers),
    }


def read_layers(field: str, layers: Layers, num_layers: int) -> list[int]:
    """Returns the numbers of layers that a user names, in their order.

    Args:
      field: Name by which they were given, for the message.
      layers: "coarse", "middle" or "fine", see `layer_ranges`; "5", or "4-7" with both
        ends; or a number, or several.
      num_layers: Of the generator.

    Raises:
      UserError: if a layer is out of range, or there is none.
    """
    ranges = layer_ranges(num_layers)
    numbers: Sequence[Any] = ()
    if is_whole(layers):
        numbers = [layers]
    elif not isinstance(layers, str):
        numbers = list(layers) if np.iterable(layers) else ()
    elif layers in ranges:
        numbers = ranges[layers]
    elif ends := re.fullmatch(r"(\d{1,4})(?:-(\d{1,4}))?", layers.strip()):
        numbers = range(int(ends[1]), int(ends[2] or ends[1]) + 1)
    known = all(is_whole(n) and 0 <= n < num_layers for n in numbers)
    if not known or not len(numbers):
        raise UserError(
            f"{field}={layers}: layers are numbered from 0 to {num_layers - 1} in this "
            f"generator; give some, as {_example(ranges)}"
        )
    return sorted({int(n) for n in numbers})


def _example(ranges: dict[str, range]) -> str:
    names = [f"{name} ({show_layers(r)})" for name, r in ranges.items() if r]
    return f"{', '.join(names)}, or first-last"


def show_layers(layers: Sequence[int]) -> str:
    """Returns layers, sorted, in a few characters: "0-3, 6"."""
    starts = [n for n in layers if n - 1 not in layers]
    ends = [n for n in layers if n + 1 not in layers]
    pairs = zip(starts, ends, strict=True)
    return ", ".join(f"{a}" if a == b else f"{a}-{b}" for a, b in pairs)


def read_w(network: Any, w: Any) -> np.ndarray:
    """Returns w for each layer, float32 [N, num_layers, w_size].

    Args:
      network: The generator.
      w: [N, w_size], the same for all layers, or [N, num_layers, w_size].

    Raises:
      UserError: if it has another shape, or is not finite.
    """
    values = read_array("w", w)
    layers, width = network.num_layers, network.options.w_size
    if values.shape[1:] not in ((width,), (layers, width)) or not len(values):
        raise UserError(
            f"w has the shape {list(values.shape)} and must have [N, {width}] or "
            f"[N, {layers}, {width}] with N at least 1, as mapping and truncate return "
            "it"
        )
    if not np.isfinite(values).all():
        raise UserError("w has numbers that are not finite; map latents again")
    if values.ndim == 2:
        values = np.repeat(values[:, None], layers, axis=1)
    return values


def read_centres(network: Any, centres: Any) -> np.ndarray:
    """Returns centres of truncation, float32 [K, w_size].

    Raises:
      UserError: if they have another shape, or are not finite.
    """
    values, width = read_array("centres", centres), network.options.w_size
    if values.ndim != 2 or values.shape[1] != width or not len(values):
        raise UserError(
            f"centres has the shape {list(values.shape)} and must have [K, {width}] "
            "with K at least 1, as means of what mapping returns; change it"
        )
    if not np.isfinite(values).all():
        raise UserError("centres has numbers that are not finite; compute them again")
    return values


def truncate_to_nearest(w: np.ndarray, centres: np.ndarray, style: Style) -> np.ndarray:
    """Moves w towards the nearest of several centres: multi-modal truncation.

    Args:
      w: float32 [N, num_layers, w_size].
      centres: float32 [K, w_size].
      style: Truncation and cutoff.

    Returns:
      As w: c + psi (w - c) in the first layers, with c the centre that is nearest to
      the w of the layer by the Euclidean distance; w in the others.

    Source: Mokady et al. 2022, "Self-Distilled StyleGAN", section 3.3; as in the
    program of StyleGAN-XL's authors.
    """
    assert style.truncation_psi is not None, "read before"
    truncated = w[:, : style.truncation_cutoff]
    squares = np.sum(np.square(centres, dtype=np.float64), axis=1)
    distances = squares - 2 * (np.float64(truncated) @ centres.T)  # Less that of w.
    nearest = centres[np.argmin(distances, axis=2)]
    moved = nearest + np.float32(style.truncation_psi) * (truncated - nearest)
    return np.concatenate([moved, w[:, style.truncation_cutoff :]], axis=1)
