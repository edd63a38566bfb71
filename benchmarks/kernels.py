"""The number of a pair's kernels: `python -m benchmarks.kernels --config=FILE`.

Prints a Markdown table by resolution: the convolutions and matrix products of a (D, G)
pair as they are lowered for a platform, after equal operations have become one, which
XLA does too; and the fusions, convolutions, matrix products and other custom calls of
the compiled program. The bodies of loops count once.

    --platform=cuda        lower for this platform, which need not be here
    --compile_to=32        compile up to this side, for this platform alone
"""

import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

import jax
from absl import flags
from jax.extend.mlir.passmanager import PassManager

from benchmarks.profiles import instructions
from benchmarks.results import line
from benchmarks.stages import CONFIG, choose_stages
from progan_jax.errors import UserError
from progan_jax.runtime.command_line import run
from progan_jax.runtime.compiler import set_precision
from progan_jax.runtime.mesh import make_mesh
from progan_jax.training.config import make_schedule
from progan_jax.training.stage import StageProgram
from progan_jax.training.validation import validate

PLATFORM = flags.DEFINE_enum(
    "platform", None, ["cpu", "cuda", "tpu"], "To lower for; by default this one."
)
COMPILE_TO = flags.DEFINE_integer("compile_to", 0, "Largest side that is compiled.")

_LOWERED = ("stablehlo.convolution", "stablehlo.dot_general")
_COMPILED = ("fusion", "convolution", "dot", "custom-call")
_NUM_IMAGES = 32  # Of a set that need not exist; what is counted does not depend on it.


def main() -> None:
    """Counts every resolution and prints its row."""
    config: Any = CONFIG.value
    resolutions = choose_stages(config)
    validate(config, 1)
    set_precision(config)
    here = jax.default_backend().replace("gpu", "cuda")
    platform = PLATFORM.value or here
    if COMPILE_TO.value and platform != here:
        raise UserError(
            f"--platform={platform}: nothing is compiled for it here, where JAX has "
            f"{here}; leave out --compile_to"
        )
    header = ["resolution", "batch", "convolutions", "dots"]
    header += [f"compiled: {name}" for name in _COMPILED]
    print(f"Lowered for {platform}\n\n{line(header)}\n{line(['---'] * len(header))}")
    for resolution in resolutions:
        cells = _cells(config, resolution, platform)
        print(line(list(map(str, cells))), flush=True)


def _cells(config: Any, resolution: int, platform: str) -> Iterator[int | str]:
    schedule = make_schedule(config)
    mesh = make_mesh(jax.devices()[:1])
    counts = (1,) * config.model.num_classes
    program = StageProgram(config, schedule, resolution, mesh, counts)
    shape = (_NUM_IMAGES, resolution, resolution, config.model.channels)
    lowered = program.lower(shape, platform)
    yield from (resolution, schedule.batch_size[resolution])
    # Compiled first: counting changes the lowered program.
    compiled = dict.fromkeys(_COMPILED, "-")
    if resolution <= COMPILE_TO.value:
        compiled |= count_compiled(lowered.compile().as_text() or "")
    counted = count_lowered(lowered)
    yield from (counted[name] for name in _LOWERED)
    yield from compiled.values()


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
    return {name: found[name] for name in _COMPILED}


def _kind(opcode: str) -> str:
    kind, _, target = opcode.partition(" ")
    if "conv" in target:
        return "convolution"
    return "dot" if re.search("blas|gemm|matmul|dot", target) else kind


if __name__ == "__main__":
    flags.mark_flag_as_required("config")
    run(main)
