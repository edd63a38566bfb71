"""Images of w whose noise is fixed, in float32: what projection and tuning compare."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jax
import numpy as np
from flax import traverse_util
from jax.tree_util import Partial, all_leaves

from progan_jax.models.layers import downscale2d

# Distance of two batches of images, float [n, h, w, C] in 0..255, as [n].
Distance = Callable[[jax.Array, jax.Array], jax.Array]

_LARGEST = 256  # Larger images are compared by the means over their blocks.


def as_argument(distance: Distance) -> Distance:
    """Returns a distance as a pytree, which compiled functions take."""
    return Partial(distance) if all_leaves([distance]) else distance


def fix_noise(network: Any) -> Any:
    """Returns a generator in float32 whose noise, if it has any, is the stored one."""
    exact = replace(network.options, dtype="float32")
    has_noise = getattr(network, "noise_mode", "none") != "none"
    return network.clone(
        options=exact, **({"noise_mode": "fixed"} if has_noise else {})
    )


def stored_noise(variables: dict[str, Any]) -> dict[str, jax.Array]:
    """Returns the maps of noise [H, W] of a generator by their paths in the stats."""
    stats: Any = traverse_util.flatten_dict(variables["stats"], sep="/")
    return {path: x for path, x in stats.items() if path.endswith("/noise")}


def with_noise(variables: dict[str, Any], noise: dict[str, Any]) -> dict[str, Any]:
    """Returns variables with other maps of noise in the place of those stored."""
    if not noise:
        return variables
    stats = traverse_util.flatten_dict(variables["stats"], sep="/")
    return variables | {"stats": traverse_util.unflatten_dict(stats | noise, sep="/")}


def draw(
    network: Any, variables: dict[str, Any], w: jax.Array, alpha: np.float32
) -> jax.Array:
    """Returns images [N, r, r, C], about 0..255, of w [N, w_size] or for each layer."""
    images: Any = network.apply(variables, w, alpha, method="synthesis")
    return (images + 1) * 127.5


def shrink(images: jax.Array) -> jax.Array:
    """Returns images [N, r, r, C], of 256x256 at most by means over blocks."""
    factor = images.shape[1] // _LARGEST
    return downscale2d(images, factor) if factor > 1 else images


def round_bytes(image: jax.Array) -> np.ndarray:
    """Rounds an image of 0..255, and clips what lies beyond, to uint8."""
    return np.clip(np.rint(np.asarray(image)), 0, 255).astype(np.uint8)
