"""The authors' pickled networks, as far as families' programs agree.

A TensorFlow program pickles G, D and Gs, the moving average of G. Each is stored with
the name of the function that builds it, that function's options, its variables and, in
StyleGAN's program, its components, which are such networks, too. The source text of the
function is stored too, but it is not read.
"""

import hashlib
import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from flax import traverse_util

from progan_jax.errors import UserError
from progan_jax.models.common import NETWORKS, Weights, stage_resolutions
from progan_jax.weights.stored_arrays import StoredArray
from progan_jax.weights.torch_pickles import Module, submodules
from progan_jax.weights.unpickling import Record, shorten

Place = tuple[str, ...]  # Path of a weight in our tree.

LEVEL = "lod"  # Name of the variable that holds a network's level of detail.

# Functions that build G in programs whose networks are none of ours.
_OTHERS = {
    "G_main": "StyleGAN2's or StyleGAN2-ADA's TensorFlow program",
}


@dataclass(frozen=True)
class OfficialNetwork:
    """A network as stored by the authors' program.

    Attributes:
      kind: "G", "D" or "Gs".
      options: Arguments of the function that differ from its defaults.
      variables: Arrays by their names, such as "8x8/Conv0_up/weight", or
        "synthesis/8x8/Conv0_up/weight" in a component of that name.
    """

    kind: str
    options: Mapping[str, Any]
    variables: Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Program:
    """The program of a family's authors.

    Attributes:
      family: The family's name.
      functions: Functions that build the networks, by kind.
      licence: Licence of the weights: name, url and holder.
      convert: Returns a network's options as ours, and its weights of the final
        resolution by their paths.
    """

    family: str
    functions: Mapping[str, str]
    licence: Mapping[str, str]
    convert: Callable[[OfficialNetwork], tuple[Any, dict[Place, np.ndarray]]]

    def recognises(self, value: Any) -> bool:
        """Returns whether a pickle's value is a tuple of this program's networks."""
        return _function_of_g(value) == self.functions["G"]

    def import_value(
        self, path: Path, value: Any, kind: str, level: float | None
    ) -> tuple[Weights, dict[str, Any]]:
        """Returns the weights and the description of one of a pickle's networks.

        Args:
          path: The pickle, for its name and its checksum.
          value: What `unpickling.read_pickle` read from it.
          kind: See `families.import_network`.
          level: Level of detail (their lod), 0 for the final resolution; by default the
            network's own. Layers of higher resolutions are checked, then dropped.

        Returns:
          Nested float32 NumPy arrays, and a snapshot's description with the licence.

        Raises:
          UserError: if there are no such networks, or their variables do not fit their
            options.
        """
        network = _find_network(path, value, kind, self.functions)
        try:
            weights, info = self._cut(network, level)
        except UserError:
            raise
        except Exception as error:  # Options of a wrong type may fail anywhere.
            functions = " or ".join(sorted(set(self.functions.values()), reverse=True))
            raise UserError(
                f"{path}: {kind} cannot be imported: {shorten(error)}; name a float32 "
                f"network of {functions} as their program wrote it"
            ) from error
        info["source"] |= describe_file(path)
        return weights, info

    def _cut(
        self, network: OfficialNetwork, level: float | None
    ) -> tuple[Weights, dict[str, Any]]:
        options, arrays = self.convert(network)
        own = float(network.variables[LEVEL])
        side, alpha = _stage(options.resolution, own, level)
        taken = {path: a for path, a in arrays.items() if _side(path) <= side}
        return nested(taken), {
            "family": self.family,
            "network": "D" if network.kind == "D" else "G",
            "options": asdict(options),
            "stage": {"resolution": side, "alpha": alpha},
            "licence": dict(self.licence),
            "source": {
                "network": network.kind,
                "function": self.functions[network.kind],
                "options": dict(network.options),
            },
        }


def refuse_others(path: Path, value: Any) -> None:
    """Raises UserError if a pickle's networks are those of a known other program."""
    function = _function_of_g(value)
    if function in _OTHERS:
        _refuse(path, f"{_OTHERS[function]} (its G is built by {function})")
    parts = value if isinstance(value, dict) else {"": value}
    modules = {name: of for name, of in parts.items() if isinstance(of, Module)}
    if g := modules.get("G_ema", next(iter(modules.values()), None)):
        _refuse(path, f"{_program_of(g)} (it holds a {shorten(g.kind)})")


def _refuse(path: Path, program: str) -> None:
    raise UserError(
        f"{path} is a pickle of {program}, whose networks are others; name one of "
        "Progressive GAN's, StyleGAN's or StyleGAN-XL's"
    )


def _program_of(g: Module) -> str:
    """Returns the program of a generator of PyTorch, by the modules it consists of."""
    layers = submodules(submodules(g).get("synthesis"))
    if "b4" in layers:
        return "StyleGAN2-ADA's PyTorch program, or of StyleGAN2 in another one"
    if "input" in layers:
        return "StyleGAN3's program"
    return "a PyTorch program that is not known here"


def nested(weights: Mapping[Place, np.ndarray]) -> Weights:
    """Returns weights by their paths as a tree."""
    tree: Weights = traverse_util.unflatten_dict(weights)
    return tree


def describe_file(path: Path) -> dict[str, str]:
    """Returns name and SHA-256 of a file, as snapshots record where they come from."""
    with path.open("rb") as file:
        checksum = hashlib.file_digest(file, "sha256").hexdigest()
    return {"file": path.name, "sha256": checksum}


def take_variables(
    variables: Mapping[str, np.ndarray],
    ours: Mapping[Place, tuple[int, ...]],
    their_name: Callable[[Place], str],
    convert: Callable[[str, np.ndarray, tuple[int, ...]], np.ndarray],
    unused: Iterable[str] = (),
) -> dict[Place, np.ndarray]:
    """Returns our weights by their paths, float32.

    Args:
      variables: Their variables by name.
      ours: Shapes of our weights, by path.
      their_name: Returns their name for one of our weights.
      convert: Brings a variable of a name into our layout, of the given shape; raises
        ValueError for one of another shape.
      unused: Names of the variables that have no place with us.

    Raises:
      ValueError: if a variable is missing, unknown, of another shape, or not finite.
    """
    names = {their_name(path): path for path in ours}
    unused = set(unused)
    if missing := sorted({*names, *unused} - variables.keys()):
        raise ValueError(f"{len(missing)} variables are missing, such as {missing[0]}")
    if left := sorted(variables.keys() - names.keys() - unused):
        raise ValueError(f"{len(left)} variables have no place, such as {left[0]}")
    found = {}
    for name, path in names.items():
        found[path] = convert(name, _to_float32(name, variables[name]), ours[path])
    return found


def check_shape(name: str, array: np.ndarray, shape: tuple[int, ...]) -> None:
    """Raises ValueError if a variable has another shape."""
    if array.shape != shape:
        raise ValueError(f"{name} is of shape {array.shape}, not of {shape}")


def channels_last(array: np.ndarray) -> np.ndarray:
    """Reorders the columns of [n, c * 4 * 4] as [n, 4 * 4 * c]."""
    pixels = array.reshape(len(array), -1, 4, 4)
    return pixels.transpose(0, 2, 3, 1).reshape(array.shape)


def check_resolution(side: Any) -> int:
    """Returns the option `resolution`; raises ValueError if it is not one of ours."""
    if type(side) is not int or side not in stage_resolutions(1024):
        raise ValueError(f"resolution = {side} must be a power of two from 4 to 1024")
    return side


def _to_float32(name: str, array: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        array = array.astype(np.float32)
    if not np.isfinite(array).all():
        raise ValueError(f"{name} has numbers that are not finite")
    return array


def _function_of_g(value: Any) -> str | None:
    """Returns the function that builds the first of a pickle's three networks."""
    if not isinstance(value, tuple) or len(value) != len(NETWORKS):
        return None
    state = value[0].state if isinstance(value[0], Record) else None
    function = state.get("build_func_name") if isinstance(state, dict) else None
    # Comparing other types, such as deeply nested tuples, may never end.
    return function if type(function) is str else None


def _find_network(
    path: Path, value: Any, kind: str, functions: Mapping[str, str]
) -> OfficialNetwork:
    try:
        if len(value) != len(NETWORKS):
            raise ValueError(f"{len(value)} values instead of three")
        record = value[NETWORKS.index(kind)]
        _check_function(kind, record, functions[kind])
        variables, options = _contents(kind, record)
        return OfficialNetwork(kind, options, variables)
    except Exception as error:  # A file may hold a value of any type anywhere.
        raise UserError(
            f"{path} does not hold the authors' networks (G, D, Gs): "
            f"{shorten(error)}; name one that their program wrote"
        ) from error


def _check_function(kind: str, record: Any, wanted: str) -> None:
    if not isinstance(record, Record):
        raise ValueError(f"{kind} is not a network")
    for field in ("build_func_name", "static_kwargs", "variables"):
        if field not in record.state:
            raise ValueError(f"{kind} has no {field}")
    function = record.state["build_func_name"]
    # Printing or hashing other types, such as deeply nested tuples, may never end.
    if type(function) is not str or function != wanted:
        built = function if type(function) is str else "what is no function"
        raise ValueError(f"{kind} is built by {built}, not by {wanted}")


def _contents(
    kind: str, record: Record, nested: bool = False
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Returns the variables and options of a network and of its components."""
    state = record.state
    names = [name for name, _ in state["variables"]]
    if any(type(name) is not str for name in names):
        raise ValueError(f"{kind} has a variable without a name")
    if len(set(names)) < len(names):
        raise ValueError(f"{kind} has two variables of one name")
    variables = {name: array.numbers for name, array in state["variables"]}
    options = {name: plain(value) for name, value in state["static_kwargs"].items()}
    components = state.get("components", {})
    if nested and components:
        raise ValueError(f"{kind} has components of its own")
    for name, component in components.items():
        inner, theirs = _contents(f"{kind}'s {name}", component, nested=True)
        variables |= {f"{name}/{key}": array for key, array in inner.items()}
        options = theirs | options
    return variables, options


def plain(value: Any) -> Any:
    """Returns an option as a Python number, a string, or a list of numbers.

    Raises:
      ValueError: if it is anything else.
    """
    if isinstance(value, StoredArray):
        return value.numbers.item()
    if type(value) is list and all(type(item) in (int, float) for item in value):
        return list(value)
    if type(value) is int and abs(value) >= 2**63:
        raise ValueError("an option is out of range")
    if value is not None and type(value) not in (str, bool, int, float):
        raise ValueError("an option is neither a number nor a text")
    return value


def _side(path: Place) -> int:
    """Returns the resolution that a weight belongs to; 0 for those of all."""
    found = re.search(r"_(\d+)x\1\b", "/".join(path))
    return int(found[1]) if found else 0


def _stage(final: int, own: float, wanted: float | None) -> tuple[int, float]:
    """Returns the resolution and alpha of a level of detail."""
    most, level = math.log2(final / 4), own if wanted is None else wanted
    if not 0 <= level <= most:
        rule = f"must lie in [0, {most:g}]"
        if wanted is None:
            raise ValueError(f"{LEVEL} = {level:g} {rule}")
        raise UserError(
            f"--lod={level:g} {rule} for a network of {final}x{final}; change it"
        )
    # The fraction of their lod is the weight of the old layers, alpha that of the new.
    return final >> math.floor(level), 1 - level % 1
