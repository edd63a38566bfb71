"""The kernels of a program, as it is lowered and as it is compiled."""

import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

import jax
from jax.extend.mlir.passmanager import PassManager

from benchmarks.profiles import instructions

LOWERED = ("stablehlo.convolution", "stablehlo.dot_general")
COMPILED = ("fusion", "convolution", "dot", "custom-call")


def count_lowered(lowered: jax.stages.Lowered) -> Counter[str]:
    """Returns the operations of a lowered program, equal ones once, by their names.

    The program is changed: functions are in the place of their calls.
    """
    module: Any = lowered.compiler_ir()
    with module.context:
        _inline(module)
        PassManager.parse("builtin.module(cse)").run(module.operation)
    return Counter(operation.name for operation in _operations(module.operation))


def _inline(module: Any) -> None:
    """Puts functions in the place of their calls.

    MLIR's own pass does nothing here: JAX's build does not tell it how to inline them.
    """
    functions = {
        each.attributes["sym_name"].value: each
        for each in module.body.operations
        if each.operation.name == "func.func"
    }

    def calls() -> list[Any]:
        found = _operations(module.operation)
        return [each for each in found if each.name == "func.call"]

    while left := calls():
        for call in left:
            copy = functions[call.attributes["callee"].value].operation.clone()
            (block,) = copy.regions[0].blocks
            for inside, given in zip(block.arguments, call.operands, strict=True):
                inside.replace_all_uses_with(given)
            *body, end = list(block.operations)
            for operation in body:
                operation.operation.move_before(call)
            for result, value in zip(call.results, end.operands, strict=True):
                result.replace_all_uses_with(value)
            call.erase()
            copy.erase()
    for name, function in functions.items():
        if name != "main":
            function.operation.erase()


def _operations(operation: Any) -> Iterator[Any]:
    yield operation
    for region in operation.regions:
        for block in region.blocks:
            for inner in block.operations:
                yield from _operations(inner.operation)


def count_compiled(hlo: str) -> dict[str, int]:
    """Returns the kernels of a compiled program's text by their kind.

    cuDNN's and cuBLAS's are custom calls, which count by what they compute.
    """
    found = Counter(_kind(op.opcode) for op in instructions(hlo).values())
    return {name: found[name] for name in COMPILED}


def _kind(opcode: str) -> str:
    kind, _, target = opcode.partition(" ")
    if "conv" in target:
        return "convolution"
    return "dot" if re.search("blas|gemm|matmul|dot", target) else kind
