"""The least time of a (D, G) pair: `python -m benchmarks.costs --config=FILE`.

Prints two Markdown tables by resolution, for one device. The first has the work of a
pair by the formulas of benchmarks/roofline.py, the compiler's count of the same steps,
and the two floors that follow from the device's measured peaks. The second has the
share of each resolution's layers in the convolutions and matrix products.

    --batch=16 --share=8   as for benchmarks.train_step
    --compile_to=32        compile up to this side, for the bytes; the rest is counted
                           before compilation, in seconds

The compiler's count is of one pair: it takes the body of the loop over pairs once,
however many a dispatch runs. Loops within a pair (d_repeats, microbatch) would be taken
once too, so they are refused or left out.
"""

from collections import Counter
from typing import Any

import jax
from absl import flags

from benchmarks.counting import pair_flops
from benchmarks.roofline import Peaks, floors, measure_peaks
from benchmarks.stages import CONFIG, choose_stages
from benchmarks.table_lines import line, peaks_line
from progan_jax.errors import UserError
from progan_jax.models.common import stage_resolutions
from progan_jax.runtime.command_line import run
from progan_jax.runtime.compiler import set_precision
from progan_jax.runtime.mesh import make_mesh
from progan_jax.training.config import make_schedule
from progan_jax.training.stage import StageProgram
from progan_jax.training.validation import validate

COMPILE_TO = flags.DEFINE_integer("compile_to", 0, "Largest side that is compiled.")

_NUM_IMAGES = 32  # Of a set that need not exist; what is counted does not depend on it.
_HEADER = (
    "resolution",
    "batch",
    "formula, GFLOP",
    "compiler, GFLOP",
    "formula, GB",
    "compiler, GB",
    "arithmetic floor, ms",
    "memory floor, ms",
    "binds",
)


def main() -> None:
    """Counts every resolution and prints its rows."""
    config: Any = CONFIG.value
    if config.optim.d_repeats > 1:
        raise UserError(
            f"config.optim.d_repeats = {config.optim.d_repeats}: the compiler counts "
            "one D step alone; set it to 1"
        )
    config.schedule.microbatch = "0"
    resolutions = choose_stages(config)
    validate(config, 1)
    set_precision(config)
    peaks = measure_peaks(config.model.dtype)
    device, dtype = jax.devices()[0].device_kind, config.model.dtype
    print(peaks_line(device, dtype, peaks), end="\n\n")
    print(line(list(_HEADER)), line(["---"] * len(_HEADER)), sep="\n")
    splits = {}
    for resolution in resolutions:
        program = _program(config, resolution)
        cells = _cells(config, program, peaks)
        print(line(cells), flush=True)
        splits[resolution] = pair_flops(program, int(cells[1]), config.model.channels)
    print("\n" + "\n".join(_split_table(splits)))


def _program(config: Any, resolution: int) -> StageProgram:
    mesh = make_mesh(jax.devices()[:1])
    counts = (1,) * config.model.num_classes
    return StageProgram(config, make_schedule(config), resolution, mesh, counts)


def _cells(config: Any, program: StageProgram, peaks: Peaks) -> list[str]:
    r = program.resolution
    batch = make_schedule(config).batch_size[r]
    floor = floors(program.steps.generator, program.steps.discriminator, batch)
    lowered = program.lower((_NUM_IMAGES, r, r, config.model.channels))
    counted: Any = lowered.cost_analysis()
    num_bytes = "-"
    if r <= COMPILE_TO.value:
        compiled: Any = lowered.compile().cost_analysis()
        num_bytes = f"{compiled['bytes accessed'] / 1e9:,.2f}"
    arithmetic, memory = (
        1000 * floor.flops / peaks.flops,
        1000 * floor.num_bytes / peaks.bandwidth,
    )
    return [
        str(r),
        str(batch),
        f"{floor.flops / 1e9:,.1f}",
        f"{counted['flops'] / 1e9:,.1f}",
        f"{floor.num_bytes / 1e9:,.2f}",
        num_bytes,
        f"{arithmetic:,.1f}",
        f"{memory:,.1f}",
        "arithmetic" if arithmetic > memory else "memory",
    ]


def _split_table(splits: dict[int, Counter[int]]) -> list[str]:
    layers = stage_resolutions(max(splits))
    header = ["resolution", "GFLOP", *(f"{r}x{r}, %" for r in layers)]
    lines = [line(header), line(["---"] * len(header))]
    for resolution, found in splits.items():
        total = found.total()
        shares = [f"{100 * found[r] / total:.1f}" if found[r] else "" for r in layers]
        lines.append(line([str(resolution), f"{total / 1e9:,.1f}", *shares]))
    return lines


if __name__ == "__main__":
    flags.mark_flag_as_required("config")
    run(main)
