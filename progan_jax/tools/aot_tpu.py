"""Prints the costs of the training steps on a TPU, without one.

    python -m progan_jax.tools.aot_tpu --config=configs/celeba_hq.py:v2_8gpus \
        --topology=v5e:4x4 [--resolutions=4,64,256,1024] [--batch_per_chip=4]

It needs libtpu, which the extra `tpu` installs, and neither a TPU nor data. A row is
one resolution: the compile time, the memory of each chip, and what the chips exchange
in one (D, G) pair. For a step that does not fit it shows the memory needed.
"""

import re
import time
from collections.abc import Iterator
from typing import Any

import jax
import ml_collections
from absl import flags
from ml_collections import config_flags

from progan_jax.errors import UserError
from progan_jax.runtime.command_line import run
from progan_jax.runtime.compiler import collectives, flops, memory, set_precision
from progan_jax.runtime.mesh import make_mesh
from progan_jax.runtime.tpu import hbm_bytes, topology_devices
from progan_jax.training.batch_faults import batch_faults
from progan_jax.training.config import make_schedule, most_devices
from progan_jax.training.schedule import Schedule
from progan_jax.training.stage import StageProgram
from progan_jax.training.validation import validate

CONFIG = config_flags.DEFINE_config_file("config", None, "Configuration file.")

TOPOLOGY = flags.DEFINE_string("topology", "v5e:4x4", "Generation and shape of a TPU.")

RESOLUTIONS = flags.DEFINE_list(
    "resolutions", None, "Sides; all of the run's if unset."
)

BATCH_PER_CHIP = flags.DEFINE_integer(
    "batch_per_chip",
    None,
    "Images of a step on each chip; the recipe's if unset.",
    lower_bound=1,
)

NUM_IMAGES = flags.DEFINE_integer(
    "num_images",
    30_000,
    "Images of the set, of which small levels are kept on the chips.",
    lower_bound=1,
)

_COLUMNS = (
    ("resolution", 10),
    ("images/chip", 11),
    ("compiled s", 10),
    ("HBM GiB", 18),
    ("temporaries", 11),
    ("TFLOP", 8),
    ("collectives", 28),
)

_FOOTNOTE = (
    "HBM is what a chip holds at the peak: state, real images, temporaries, code. "
    "FLOPs (of one chip) and collectives are those of one (D, G) pair: the compiler "
    "counts a loop's body once, and so the parts of a batch (schedule.microbatch)."
)


def main() -> None:
    """Reads the flags and prints the table, row by row."""
    config: Any = CONFIG.value
    if not TOPOLOGY.value:
        raise UserError("--topology= is empty; write generation and shape: v5e:4x4")
    devices = topology_devices(TOPOLOGY.value)
    chips = len(devices)
    if BATCH_PER_CHIP.value is not None:
        config.schedule.batch_size = str(BATCH_PER_CHIP.value * chips)
    resolutions = _resolutions(config)
    _check(config, chips)
    set_precision(config)
    for line in _table(config, devices, resolutions):
        print(line, flush=True)


def _resolutions(config: ml_collections.ConfigDict) -> list[int]:
    used = list(make_schedule(config).resolutions)
    if RESOLUTIONS.value is None:
        return used
    wanted = [int(r) if r.isdigit() else 0 for r in RESOLUTIONS.value]
    if not set(wanted) <= set(used):
        given = ",".join(RESOLUTIONS.value)
        raise UserError(
            f"--resolutions={given}: the run trains at {', '.join(map(str, used))}; "
            "choose of those"
        )
    return wanted


def _check(config: ml_collections.ConfigDict, chips: int) -> None:
    """Raises UserError for what training on that many chips would refuse."""
    validate(config, 1)
    if config.optim.d_repeats != 1:
        raise UserError(
            f"config.optim.d_repeats = {config.optim.d_repeats} must be 1 here, where "
            "a loop's body is counted once; leave it out"
        )
    if any(batch_faults(config, chips)):
        raise UserError(
            f"--topology={TOPOLOGY.value}: config.schedule.batch_size = "
            f"{config.schedule.batch_size!r} cannot be split into complete groups over "
            f"{chips} chips, {most_devices(config, chips)} at most; choose a smaller "
            "slice, or give each chip its own with --batch_per_chip=4"
        )


def _table(
    config: ml_collections.ConfigDict, devices: list[Any], resolutions: list[int]
) -> Iterator[str]:
    model, schedule, mesh = config.model, make_schedule(config), make_mesh(devices)
    batch = "the recipe's batches"
    if BATCH_PER_CHIP.value is not None:
        batch = f"{BATCH_PER_CHIP.value} images per chip, not the recipe's"
    yield (
        f"{TOPOLOGY.value}: {len(devices)} x {devices[0].device_kind}; {model.dtype}, "
        f"remat {model.remat}; {batch}; a set of {NUM_IMAGES.value:,} images"
    )
    yield _line([name for name, _ in _COLUMNS])
    for r in resolutions:
        yield _row(config, schedule, r, mesh)
    yield _FOOTNOTE


def _row(
    config: ml_collections.ConfigDict,
    schedule: Schedule,
    resolution: int,
    mesh: jax.sharding.Mesh,
) -> str:
    device = mesh.devices.flat[0]
    classes = config.model.num_classes
    program = StageProgram(
        config, schedule, resolution, mesh, (1,) * classes, blank=True
    )
    level = (NUM_IMAGES.value, resolution, resolution, config.model.channels)
    lowered = program.lower(level)
    start = time.monotonic()
    names = [
        f"{resolution}x{resolution}",
        str(schedule.batch_size[resolution] // mesh.size),
    ]
    try:
        compiled = lowered.compile()
    except jax.errors.JaxRuntimeError as error:
        return _line([*names, f"{time.monotonic() - start:.0f}", _exceeds(error)])
    cells = [f"{time.monotonic() - start:.0f}", *_costs(compiled, hbm_bytes(device))]
    return _line([*names, *cells])


def _costs(compiled: jax.stages.Compiled, capacity: float | None) -> list[str]:
    stats: Any = compiled.memory_analysis()
    of = "" if capacity is None else f" of {capacity / 2**30:.2f}"
    exchanged = [
        f"{count} {kind}, {size / 2**20:.1f} MiB"
        for kind, (count, size) in collectives(compiled.as_text() or "").items()
    ]
    return [
        f"{memory(compiled) / 2**30:.2f}{of}",
        f"{stats.temp_size_in_bytes / 2**30:.2f}",
        f"{flops(compiled) / 1e12:.3g}",
        "; ".join(exchanged) or "none",
    ]


def _exceeds(error: Exception) -> str:
    """Returns the memory that the compiler asked for and that of the chip.

    Raises:
      JaxRuntimeError: the error, if it is of another kind.
    """
    if "RESOURCE_EXHAUSTED" not in str(error):
        raise error
    # "... temporaries (50.1G) exceeds available HBM (15.75G)", "Used 50.1G of 15.75G".
    needs, there = re.findall(r"\d[\d.]*[KMGT]\b", str(error))[:2]
    return f"exceeds: needs {needs} of {there}"


def _line(cells: list[str]) -> str:
    widths = [width for _, width in _COLUMNS[: len(cells)]]
    return "  ".join(cell.rjust(w) for cell, w in zip(cells, widths, strict=True))


if __name__ == "__main__":
    flags.mark_flag_as_required("config")
    run(main)
