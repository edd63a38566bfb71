"""The authors' variables in the places and the layout of ours.

What differs: level of detail counts from the final resolution, and our layers are named
by theirs; images are [N, C, H, W] there, which orders the inputs and outputs of dense
layers; kernels of fused upsampling are stored [kh, kw, out, in] and turned by 180
degrees, since they are those of a transposed convolution.
"""

from collections.abc import Callable, Mapping

import numpy as np

from progan_jax.networks.progan import Discriminator, Generator
from progan_jax.state import parameter_shapes

Place = tuple[str, ...]  # In our tree.
LEVEL = "lod"  # The variable that says how far the network has grown.


def convert_variables(
    network: Generator | Discriminator,
    variables: Mapping[str, np.ndarray],
    fused: bool,
) -> dict[Place, np.ndarray]:
    """Returns our parameters by their paths, float32.

    Args:
      network: Ours, of the final resolution.
      variables: Theirs by name, `LEVEL` among them.
      fused: Whether their resampling convolutions are fused, and named so.

    Raises:
      ValueError: if a variable is missing, left over, of another shape, or not finite.
    """
    ours = parameter_shapes(network)
    names = {their_name(network, path, fused): path for path in ours}
    if missing := sorted({*names, LEVEL} - variables.keys()):
        raise ValueError(f"{len(missing)} variables are missing, such as {missing[0]}")
    if left := sorted(variables.keys() - names.keys() - {LEVEL}):
        raise ValueError(f"{len(left)} variables have no place, such as {left[0]}")
    return {
        path: _convert(name, variables[name], network, ours[path])
        for name, path in names.items()
    }


def their_name(network: Generator | Discriminator, path: Place, fused: bool) -> str:
    """Returns their name of a parameter of ours."""
    block, *layers, kind = path
    side = int(block.rpartition("x")[2])
    kind = {"kernel": "weight", "bias": "bias"}[kind]
    if not layers:
        level = (network.resolution // side).bit_length() - 1
        return f"{'To' if block.startswith('to') else 'From'}RGB_lod{level}/{kind}"
    layer = layers[0].capitalize()
    if fused and isinstance(network, Generator) and layer == "Conv0":
        layer = "Conv0_up"
    if fused and isinstance(network, Discriminator) and layer == "Conv1":
        layer = "Conv1_down"
    return f"{side}x{side}/{layer}/{kind}"


def _convert(
    name: str,
    array: np.ndarray,
    network: Generator | Discriminator,
    shape: tuple[int, ...],
) -> np.ndarray:
    theirs = shape[:2] + shape[:1:-1] if name.endswith("Conv0_up/weight") else shape
    if array.shape != theirs:
        raise ValueError(f"{name} is of shape {array.shape}, not of {theirs}")
    with np.errstate(over="ignore"):
        array = array.astype(np.float32)
    if not np.isfinite(array).all():
        raise ValueError(f"{name} has numbers that are not finite")
    return np.ascontiguousarray(_layout(name, isinstance(network, Generator))(array))


def _layout(name: str, of_generator: bool) -> Callable[[np.ndarray], np.ndarray]:
    """Returns what brings a variable of theirs into our order."""
    if name.endswith("Conv0_up/weight"):
        return lambda array: array[::-1, ::-1].swapaxes(2, 3)
    if name == "4x4/Dense/weight" and of_generator:
        return _channels_last
    if name == "4x4/Dense0/weight":
        return lambda array: _channels_last(array.T).T
    return lambda array: array


def _channels_last(array: np.ndarray) -> np.ndarray:
    """Reorders the columns of [n, c * 4 * 4] as [n, 4 * 4 * c]."""
    pixels = array.reshape(len(array), -1, 4, 4)
    return pixels.transpose(0, 2, 3, 1).reshape(array.shape)
