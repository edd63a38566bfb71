"""The whole schedule as a table, before anyone pays for it."""

import sys

import jax
import ml_collections

from progan_jax.compiled import memory
from progan_jax.config import make_networks, make_schedule
from progan_jax.costs import stage_cost
from progan_jax.data.sources import is_prepared
from progan_jax.image_sources import describe_set, open_set
from progan_jax.runtime.mesh import make_mesh, select_devices
from progan_jax.schedule import Schedule, Stage
from progan_jax.stage import StageProgram, warn_of_small_groups
from progan_jax.validation import validate

_COLUMNS = (
    ("from kimg", 9),
    ("resolution", 10),
    ("fade until", 10),
    ("until kimg", 10),
    ("batch", 5),
    ("G rate", 8),
    ("D rate", 8),
    ("tick", 5),
    ("pairs", 8),
    ("G params (active)", 25),
    ("D params (active)", 25),
    ("memory", 10),
)

# Of the set whose levels the compiled steps are given, where there is no set yet.
_NUM_IMAGES = 30_000


def explain(
    config: ml_collections.ConfigDict, compile_steps: bool | None = None
) -> str:
    """Returns the table, one row for each stage of the run, below a line on the set.

    A set that `prepare_data` has not written is not looked for.

    Args:
      config: As configs/base.py describes it.
      compile_steps: Whether memory is that of the compiled steps, which takes minutes,
        or an estimate. None compiles for accelerators alone: there memory is what
        binds, and the programs are kept in the cache for the run.

    Raises:
      UserError: if the configuration is faulty, or does not fit the set.
    """
    mesh = make_mesh(select_devices(config.runtime.num_devices))
    validate(config, mesh.size)
    warn_of_small_groups(config, mesh.size)
    schedule = make_schedule(config)
    on_cpu = mesh.devices.flat[0].platform == "cpu"
    compiled = not on_cpu if compile_steps is None else compile_steps
    header = _line([name for name, _ in _COLUMNS])
    about = []
    if is_prepared(config.data.name, config.data.data_dir):
        about = [describe_set(config, open_set(config)), ""]
    rows = [_row(config, schedule, s, mesh, compiled) for s in schedule.stages()]
    summary = _summary(config, schedule, mesh.size, compiled)
    return "\n".join([*about, header, "-" * len(header), *rows, "", summary])


def _compiled_bytes(
    config: ml_collections.ConfigDict,
    schedule: Schedule,
    resolution: int,
    mesh: jax.sharding.Mesh,
) -> int:
    """Compiles the steps of one resolution; returns their peak on one device."""
    print(f"compiling {resolution}x{resolution}", file=sys.stderr, flush=True)
    classes = config.model.num_classes
    program = StageProgram(config, schedule, resolution, mesh, (1,) * classes)
    shape = (_NUM_IMAGES, resolution, resolution, config.model.channels)
    return memory(program.lower(shape).compile()).total


def _row(
    config: ml_collections.ConfigDict,
    schedule: Schedule,
    stage: Stage,
    mesh: jax.sharding.Mesh,
    compile_steps: bool,
) -> str:
    r, num_devices = stage.resolution, mesh.size
    batch, end = schedule.batch_size[r], schedule.stage_end(stage)
    per_device = batch // num_devices
    at_a_time = min(schedule.microbatch[r] or per_device, per_device)
    cost = stage_cost(*make_networks(config, r, per_device), at_a_time)
    num_bytes = cost.state_bytes + cost.step_bytes
    if compile_steps:
        num_bytes = _compiled_bytes(config, schedule, r, mesh)
    fade_end = schedule.fade_end(stage)
    cells = [
        f"{stage.start_nimg / 1000:.1f}",
        f"{r}x{r}",
        f"{fade_end / 1000:.1f}" if fade_end > stage.start_nimg else "no fade",
        f"{end / 1000:.1f}",
        str(batch),
        f"{schedule.g_learning_rate[r]:g}",
        f"{schedule.d_learning_rate[r]:g}",
        f"{schedule.tick_kimg[r]:g}",
        str((end - stage.start_nimg) // schedule.pair_nimg(r)),
        f"{cost.g_params:,} ({cost.g_active:,})",
        f"{cost.d_params:,} ({cost.d_active:,})",
        f"{num_bytes / 2**20:,.0f} MiB",
    ]
    return _line(cells)


def _summary(
    config: ml_collections.ConfigDict,
    schedule: Schedule,
    num_devices: int,
    compiled: bool,
) -> str:
    memory_is = (
        f"a rough estimate for each of {num_devices} device(s): the state, and a "
        "step's activations; --memory compiles the steps and asks the compiler."
    )
    if compiled:
        memory_is = (
            f"the compiled step's peak on each of {num_devices} device(s): state, "
            f"temporaries, code, and the reals of a set of {_NUM_IMAGES:,} images."
        )
    lines = [
        f"The run shows {schedule.end_nimg() / 1000:g} kimg in "
        f"{schedule.ticks_until(schedule.end_nimg())} ticks; alpha and the learning "
        f"rates are held for quanta of {schedule.quantum_pairs} pair(s).",
        "Parameters count every RGB layer; in parentheses, the newest one only.",
        f"Memory is {memory_is}",
    ]
    if schedule.rampup_kimg:
        lines.insert(
            1, f"Learning rates rise over the first {schedule.rampup_kimg:g} kimg."
        )
    if config.optim.reset_at_fades:
        lines.insert(1, "Adam starts anew where a fade begins and where it ends.")
    return "\n".join(lines)


def _line(cells: list[str]) -> str:
    widths = (width for _, width in _COLUMNS)
    return "  ".join(cell.rjust(w) for cell, w in zip(cells, widths, strict=True))
