"""The speed of several seeds in one program, compared with one after another.

    python -m benchmarks.seeds --config=configs/cifar10.py [--seeds=1,2,5,10]
        [--resolutions=4,8] [--seconds=5]

A recipe of tiny steps is bound by latency on a GPU: one program that trains several
seeds (`jax.vmap` over state and order of images) might take little longer than one.
Prints a Markdown table: (D, G) pairs times seeds per second, and how much more that is
than one seed alone gives.
"""

from typing import Any

from absl import flags

from benchmarks.several_seeds import measure
from benchmarks.stages import CONFIG, choose_stages
from benchmarks.table_lines import line
from progan_jax.errors import UserError
from progan_jax.runtime.command_line import run
from progan_jax.runtime.compiler import set_precision
from progan_jax.training.validation import validate

SEEDS = flags.DEFINE_list("seeds", ["1", "2", "5", "10"], "Numbers of seeds.")
SECONDS = flags.DEFINE_float("seconds", 5.0, "Of each measurement.", lower_bound=0.01)


def main() -> None:
    """Measures every resolution with every number of seeds."""
    config: Any = CONFIG.value
    resolutions = choose_stages(config)
    validate(config, 1)
    set_precision(config)
    numbers = [int(n) if n.isdecimal() else 0 for n in SEEDS.value]
    if not all(numbers):
        raise UserError(
            f"--seeds={','.join(SEEDS.value)}: each must be at least 1; write 1,2,5"
        )
    header = ["resolution", "seeds", "compile, s", "pairs x seeds/s", "of one seed's"]
    print(line(header), line(["---"] * len(header)), sep="\n")
    for resolution in resolutions:
        alone = None
        for number in numbers:
            compile_sec, rate = measure(config, resolution, number, SECONDS.value)
            alone = alone or rate / number
            cells = [resolution, number, f"{compile_sec:.1f}", f"{rate:,.2f}"]
            print(line([*map(str, cells), f"{rate / alone:.2f}"]), flush=True)


if __name__ == "__main__":
    flags.mark_flag_as_required("config")
    run(main)
