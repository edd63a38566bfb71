"""The number of a pair's kernels: `python -m benchmarks.kernels --config=FILE`.

Prints a Markdown table by resolution: the convolutions and matrix products of a (D, G)
pair as they are lowered for a platform, after equal operations have become one, which
XLA does too; and the fusions, convolutions, matrix products and other custom calls of
the compiled program. The bodies of loops count once.

    --platform=cuda        lower for this platform, which need not be here
    --compile_to=32        compile up to this side, for this platform alone
"""

from collections.abc import Iterator
from typing import Any

import jax
from absl import flags

from benchmarks.kernel_counts import COMPILED, LOWERED, count_compiled, count_lowered
from benchmarks.stages import CONFIG, choose_stages
from benchmarks.table_lines import line
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
    header += [f"compiled: {name}" for name in COMPILED]
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
    compiled = dict.fromkeys(COMPILED, "-")
    if resolution <= COMPILE_TO.value:
        compiled |= count_compiled(lowered.compile().as_text() or "")
    counted = count_lowered(lowered)
    yield from (counted[name] for name in LOWERED)
    yield from compiled.values()


if __name__ == "__main__":
    flags.mark_flag_as_required("config")
    run(main)
