"""The multiplications and additions of a program, by the resolution of its layers.

Only convolutions and matrix products count, as they are in the program before it is
compiled for this platform. Taps on padding and on the zeros of a dilation do not count,
as in XLA's own count.
"""

import math
import re
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.interpreters import partial_eval

from progan_jax.training.config import Controls
from progan_jax.training.stage import StageProgram

# The names of all layers end in their resolution; the innermost counts.
_LAYER = re.compile(r"_(\d+)x\d+")


class _OnePair(NamedTuple):
    """The real images of a pair, in the form that the steps take."""

    images: jax.Array
    labels: jax.Array
    mirror: jax.Array

    def take(self, pair: jax.Array, repeat: jax.Array) -> tuple[jax.Array, ...]:
        """Returns the only batch."""
        del pair, repeat
        return tuple(self)


def pair_flops(program: StageProgram, batch: int, channels: int) -> Counter[int]:
    """Counts one (D, G) pair of a stage, whose D steps and parts all count.

    Args:
      program: The stage's program; nothing is compiled.
      batch: Images of a step.
      channels: Channels of the images.
    """
    shape, r = jax.ShapeDtypeStruct, program.resolution
    pair = _OnePair(
        shape((batch, r, r, channels), jnp.uint8),
        shape((batch,), jnp.int32),
        shape((batch,), jnp.bool_),
    )
    rates: Any = shape((1,), jnp.float32)
    number: Any = shape((), jnp.int32)
    controls = Controls(number, rates, rates, rates, rates)
    state = program.abstract_state()
    return flops_by_resolution(program.steps.pair, state, pair, controls, number)


def flops_by_resolution(run: Callable[..., Any], *arguments: Any) -> Counter[int]:
    """Counts a function of arrays.

    The body of a scan counts as often as it runs, and that of a while-loop, whose
    number of turns is unknown, once.

    Args:
      run: The function.
      arguments: Its arguments, or their shapes.

    Returns:
      Multiplications and additions by resolution; 0 is for those outside of any layer.
    """
    found: Counter[int] = Counter()
    jaxpr = jax.make_jaxpr(run)(*arguments).jaxpr
    # The derivatives by all inputs of a layer are there; not all are used.
    needed, _ = partial_eval.dce_jaxpr(jaxpr, [True] * len(jaxpr.outvars))
    _count(needed, "", 1, found)
    return found


def _count(jaxpr: Any, stack: str, times: int, found: Counter[int]) -> None:
    branches: dict[Any, int] = {}
    for eqn in jaxpr.eqns:
        kind, name = eqn.primitive.name, f"{stack}/{eqn.source_info.name_stack}"
        if kind == "platform_index":
            branches[eqn.outvars[0]] = _branch(eqn.params["platforms"])
        elif kind in _FLOPS:
            layers = _LAYER.findall(name)
            resolution = int(layers[-1]) if layers else 0
            found[resolution] += times * _FLOPS[kind](eqn)
        elif kind == "cond" and eqn.invars[0] in branches:
            taken = eqn.params["branches"][branches[eqn.invars[0]]]
            _count(taken.jaxpr, name, times, found)
        else:
            turns = eqn.params["length"] if kind == "scan" else 1
            for inner in _inner(eqn.params):
                _count(inner, name, times * turns, found)


def _branch(platforms: tuple[tuple[str, ...] | None, ...]) -> int:
    here = jax.default_backend()
    return next(
        i for i, names in enumerate(platforms) if names is None or here in names
    )


def _inner(params: dict[str, Any]) -> Iterator[Any]:
    for value in params.values():
        for item in value if isinstance(value, tuple | list) else (value,):
            item = getattr(item, "jaxpr", item)
            if hasattr(item, "eqns"):
                yield item


def _product_flops(eqn: Any) -> int:
    (contracted, _), _ = eqn.params["dimension_numbers"]
    lhs = eqn.invars[0].aval.shape
    terms = math.prod(lhs[axis] for axis in contracted)
    return 2 * math.prod(eqn.outvars[0].aval.shape) * terms


def _convolution_flops(eqn: Any) -> int:
    lhs, rhs = (v.aval.shape for v in eqn.invars)
    out, params = eqn.outvars[0].aval.shape, eqn.params
    lhs_spec, rhs_spec, out_spec = params["dimension_numbers"]
    flops = 2 * out[out_spec[0]] * out[out_spec[1]] * rhs[rhs_spec[1]]
    for axis in range(len(params["window_strides"])):
        flops *= _taps(
            lhs[lhs_spec[2 + axis]],
            rhs[rhs_spec[2 + axis]],
            out[out_spec[2 + axis]],
            stride=params["window_strides"][axis],
            pad=params["padding"][axis][0],
            lhs_dilation=params["lhs_dilation"][axis],
            rhs_dilation=params["rhs_dilation"][axis],
        )
    return flops


def _taps(
    size: int,
    kernel: int,
    out: int,
    *,
    stride: int,
    pad: int,
    lhs_dilation: int,
    rhs_dilation: int,
) -> int:
    """Returns how often, along one axis, a weight meets a value that is no padding."""
    starts = np.arange(out)[:, None] * stride - pad
    places = starts + np.arange(kernel)[None, :] * rhs_dilation
    inside = (places >= 0) & (places < (size - 1) * lhs_dilation + 1)
    return int(np.sum(inside & (places % lhs_dilation == 0)))


_FLOPS: dict[str, Callable[[Any], int]] = {
    "dot_general": _product_flops,
    "conv_general_dilated": _convolution_flops,
}
