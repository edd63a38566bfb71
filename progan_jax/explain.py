"""Table of a run's stages with their costs, for a look before training."""

import sys
import textwrap
from collections.abc import Sequence

import jax
import ml_collections

from progan_jax.data.sources import is_prepared
from progan_jax.metrics.image_sources import describe_set
from progan_jax.runtime.compiler import memory
from progan_jax.runtime.mesh import make_mesh, select_devices
from progan_jax.training.config import (
    family_of,
    make_networks,
    make_schedule,
    model_options,
)
from progan_jax.training.costs import stage_cost
from progan_jax.training.schedule import Schedule, Stage
from progan_jax.training.stage import StageProgram, warn_of_small_groups
from progan_jax.training.start import open_set
from progan_jax.training.validation import validate

_COLUMNS = (
    "stage",
    "from",
    "fade to",
    "until",
    "batch",
    "G, D rate",
    "tick",
    "G params",
    "D params",
    "memory",
)

_WIDTH = 100

# Number of images that the compiled steps are given; the set need not exist yet.
_NUM_IMAGES = 30_000


def explain(
    config: ml_collections.ConfigDict, compile_steps: bool | None = None
) -> str:
    """Returns a line about the set, and a table with one row for each stage of the run.

    The line is left out if the set is not one that `prepare_data` has written.

    Args:
      config: Configuration of the run; see configs/base.py.
      compile_steps: Whether memory is that of the compiled steps, which takes minutes,
        or an estimate. None compiles on accelerators only, where memory is the limit;
        the compilation cache keeps the programs for the run.

    Raises:
      UserError: if the configuration is faulty, or does not fit the set.
    """
    mesh = make_mesh(select_devices(config.runtime.num_devices))
    validate(config, mesh.size)
    warn_of_small_groups(config, mesh.size)
    schedule = make_schedule(config)
    on_cpu = mesh.devices.flat[0].platform == "cpu"
    compiled = not on_cpu if compile_steps is None else compile_steps
    about = []
    if is_prepared(config.data.name, config.data.data_dir):
        about = [describe_set(config, open_set(config)), ""]
    rows = [_row(config, schedule, s, mesh, compiled) for s in _all_stages(schedule)]
    summary = _summary(config, schedule, mesh.size, compiled)
    networks = family_of(config).describe(model_options(config)).items()
    lines = [f"{name}: {value}" for name, value in networks]
    return "\n".join(
        [*about, *_align([_COLUMNS, *rows]), "", summary, "", *lines]
    ).rstrip()


# Of a stage whose start only the run will know.
_UNKNOWN = -1


def _all_stages(schedule: Schedule) -> list[Stage]:
    """Returns the run's stages, also those that begin at a plateau."""
    known = schedule.stages()
    later = schedule.resolutions[len(known) :]
    return known + [Stage(side, _UNKNOWN, _UNKNOWN) for side in later]


def _compiled_bytes(
    config: ml_collections.ConfigDict,
    schedule: Schedule,
    resolution: int,
    mesh: jax.sharding.Mesh,
) -> int:
    """Compiles the steps of one resolution and returns their peak on one device."""
    print(f"compiling {resolution}x{resolution}", file=sys.stderr, flush=True)
    classes = config.model.num_classes
    program = StageProgram(config, schedule, resolution, mesh, (1,) * classes)
    shape = (_NUM_IMAGES, resolution, resolution, config.model.channels)
    return memory(program.lower(shape).compile())


def _row(
    config: ml_collections.ConfigDict,
    schedule: Schedule,
    stage: Stage,
    mesh: jax.sharding.Mesh,
    compile_steps: bool,
) -> Sequence[str]:
    r, num_devices = stage.resolution, mesh.size
    batch = schedule.batch_size[r]
    per_device = batch // num_devices
    at_a_time = min(schedule.microbatch[r] or per_device, per_device)
    cost = stage_cost(*make_networks(config, r, per_device), at_a_time)
    num_bytes = cost.state_bytes + cost.step_bytes
    if compile_steps:
        num_bytes = _compiled_bytes(config, schedule, r, mesh)
    fade_end = max(schedule.fade_end(stage), stage.start_nimg)
    rates = schedule.g_learning_rate[r], schedule.d_learning_rate[r]
    return (
        f"{r}x{r}",
        "?" if stage.start_nimg == _UNKNOWN else _kimg(stage.start_nimg),
        _kimg(fade_end) if fade_end > stage.start_nimg else "no fade",
        _until(schedule, stage),
        str(batch),
        ", ".join(f"{rate:g}" for rate in dict.fromkeys(rates)),
        f"{schedule.tick_kimg[r]:g}",
        f"{cost.g_params:,}",
        f"{cost.d_params:,}",
        f"{num_bytes / 2**20:,.0f} MiB",
    )


def _until(schedule: Schedule, stage: Stage) -> str:
    is_last = stage.resolution == schedule.resolutions[-1]
    if is_last and stage.start_nimg == _UNKNOWN:
        return _kimg(int(schedule.total_kimg * 1000))
    if schedule.open_ended and not schedule.stabilise_kimg[stage.resolution]:
        return "plateau" if not is_last else _kimg(schedule.stage_end(stage))
    if stage.start_nimg == _UNKNOWN:
        return "?"
    return _kimg(schedule.stage_end(stage))


def _kimg(nimg: int) -> str:
    return f"{nimg / 1000:.1f}"


def _summary(
    config: ml_collections.ConfigDict,
    schedule: Schedule,
    num_devices: int,
    compiled: bool,
) -> str:
    memory_is = (
        f"a rough estimate for each of {num_devices} device(s): the state, and a "
        "step's activations; --memory compiles the steps and prints their peak."
    )
    if compiled:
        memory_is = (
            f"the compiled step's peak on each of {num_devices} device(s): state, "
            f"temporaries, code, and a set of {_NUM_IMAGES:,} real images."
        )
    lines = [
        f"The run shows {schedule.end_nimg() / 1000:g} kimg in "
        f"{schedule.ticks_until(schedule.end_nimg())} ticks; alpha and the learning "
        f"rates are held for quanta of {schedule.quantum_pairs} pair(s).",
        "From, fade to, until and tick are in kimg; parameters count every RGB layer.",
        f"Memory is {memory_is}",
    ]
    if schedule.rampup_kimg:
        lines.insert(
            1, f"Learning rates rise over the first {schedule.rampup_kimg:g} kimg."
        )
    if family_of(config).RESTARTS:
        lines[1:1] = _restarts(config, schedule)
    elif config.optim.reset_at_fades:
        lines.insert(1, "Adam is reset where a fade begins and where it ends.")
    return "\n".join(textwrap.fill(line, _WIDTH) for line in lines)


def _restarts(config: ml_collections.ConfigDict, schedule: Schedule) -> list[str]:
    """Returns lines on what a stage keeps of the one before; none for one stage."""
    if len(schedule.resolutions) == 1:
        return []
    costs = {
        r: stage_cost(*make_networks(config, r, 1), 1) for r in schedule.resolutions
    }
    parts = [
        f"{cost.g_trained:,} at {r}x{r}"
        for r, cost in costs.items()
        if cost.g_trained < cost.g_params
    ]
    measures = config.eval.best and config.eval.every_kimg
    snapshot = f"best snapshot by {config.eval.best}" if measures else "last snapshot"
    lines = [
        "Each stage begins with a new D and new optimizers, on the averaged G of the "
        f"{snapshot} of the stage before.",
        f"Of G's parameters these are trained: {', '.join(parts)}.",
    ]
    if patience := config.schedule.plateau_evaluations:
        lines.append(
            f"A stage also ends after {patience} evaluations without a better "
            f"{config.eval.best}."
        )
    return lines


def _align(rows: Sequence[Sequence[str]]) -> list[str]:
    """Returns the lines of a right-aligned table, with a rule below the first."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(cell.rjust(w) for cell, w in zip(row, widths, strict=True))
        for row in rows
    ]
    return [lines[0], "-" * len(lines[0]), *lines[1:]]
