"""Weights of published networks: arrays with a name, a fingerprint and a file.

The files are safetensors whose header has the weights' name and the fingerprint of
their arrays, by which damage is noticed.
"""

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import linen as nn
from flax import traverse_util
from safetensors import safe_open
from safetensors.numpy import save

from progan_jax.errors import UserError
from progan_jax.files import is_intact, seal, user_cache, write_whole
from progan_jax.weights.kinds import SAFETENSORS, check_kind


@dataclass(frozen=True)
class Weights:
    """Weights of a network.

    Attributes:
      name: Written with every value that was measured with them.
      arrays: By "<layer>/kernel" and "<layer>/bias", kernels HWIO.
    """

    name: str
    arrays: Mapping[str, np.ndarray]

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over the names, types, shapes and bytes of the arrays, in hex."""
        digest = hashlib.sha256()
        for name in sorted(self.arrays):
            array = np.ascontiguousarray(self.arrays[name])
            digest.update(f"{name} {array.dtype} {array.shape} ".encode())
            digest.update(array.data)
        return digest.hexdigest()

    def variables(self) -> dict[str, Any]:
        """Returns the arrays as linen's variables, in float32."""
        flat = {
            tuple(name.rsplit("/", 1)): np.asarray(array, np.float32)
            for name, array in self.arrays.items()
        }
        return {"params": traverse_util.unflatten_dict(flat)}


def layer_shapes(network: nn.Module, *inputs: Any) -> dict[str, tuple[int, ...]]:
    """Returns the shapes of a network's parameters by "<layer>/kernel" and so on.

    Args:
      network: Called with the inputs alone.
      inputs: Arrays, or `jax.ShapeDtypeStruct`.
    """
    variables = jax.eval_shape(network.init, jax.random.key(0), *inputs)
    flat = traverse_util.flatten_dict(variables["params"], sep="/")
    return {name: array.shape for name, array in flat.items()}


def write_weights(path: Path, weights: Weights) -> None:
    """Writes a safetensors file; a kill leaves the old one or the new one."""
    header = seal({"name": weights.name, "fingerprint": weights.fingerprint})
    arrays = {k: np.ascontiguousarray(v) for k, v in weights.arrays.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, save(arrays, header))


def read_weights(path: Path) -> Weights:
    """Reads a file of `write_weights`.

    Raises:
      UserError: if the file is damaged or of another program.
    """
    arrays, header = read_safetensors(path)
    weights = Weights(header.get("name", ""), arrays)
    if header.get("fingerprint") != weights.fingerprint or not is_intact(header):
        raise UserError(
            f"{path} is damaged, or not a file of our converters; convert it again"
        )
    return weights


def read_safetensors(path: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Returns the arrays of any safetensors file, and its header.

    Raises:
      UserError: if it cannot be read.
    """
    check_kind(path, "safetensors", "name a file of that format", (SAFETENSORS,))
    try:
        with safe_open(path, framework="numpy") as file:
            names = file.keys()
            arrays = {name: file.get_tensor(name) for name in names}
            return arrays, file.metadata() or {}
    except Exception as error:  # safetensors has its own exception type.
        raise UserError(
            f"{path} cannot be read as safetensors ({error}); download it again"
        ) from error


def check_shapes(
    arrays: Mapping[str, np.ndarray], expected: Mapping[str, tuple], source: str
) -> None:
    """Raises UserError unless names and shapes are as expected and numbers are finite.

    Args:
      arrays: By name.
      expected: Shapes by name.
      source: The file, for the message.
    """
    missing = sorted(expected.keys() - arrays.keys())
    superfluous = sorted(arrays.keys() - expected.keys())
    for word, names in (("lacks", missing), ("must not have", superfluous)):
        if names:
            raise UserError(
                f"{source} {word} {names[0]}"
                + (f" and {len(names) - 1} more" if names[1:] else "")
                + "; these are weights of another network, or a part of them: name the "
                "file of this one"
            )
    for name, shape in expected.items():
        if arrays[name].shape != shape:
            raise UserError(
                f"{source}: {name} is {arrays[name].shape} and must be {shape}; these "
                "are weights of another network: name the file of this one"
            )
        if not np.isfinite(arrays[name]).all():
            raise UserError(f"{source}: {name} is not finite; download the file again")


CACHE_VARIABLE = "PROGAN_JAX_CACHE"


def cache_dir() -> Path:
    """Returns the user's folder for weights and statistics.

    PROGAN_JAX_CACHE names it; else it is in XDG_CACHE_HOME or in ~/.cache.
    """
    if own := os.environ.get(CACHE_VARIABLE):
        return Path(own).expanduser()
    return user_cache()
