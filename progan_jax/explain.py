"""Table of a run's stages with their costs, for a look before training."""

import sys
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import ml_collections

from progan_jax.data.sources import is_prepared
from progan_jax.errors import UserError
from progan_jax.metrics.image_sources import describe_set
from progan_jax.metrics.scoreboard import has_numbers
from progan_jax.runtime.compiler import memory
from progan_jax.runtime.logging import format_duration, format_kimg, read_rows
from progan_jax.runtime.mesh import make_mesh, select_devices
from progan_jax.training.config import (
    family_of,
    make_networks,
    make_schedule,
    model_options,
)
from progan_jax.training.costs import stage_cost
from progan_jax.training.remaining import RemainingTime, matmul_rate, pair_work
from progan_jax.training.schedule import Schedule, Stage
from progan_jax.training.stage import StageProgram, warn_of_small_groups
from progan_jax.training.start import open_set
from progan_jax.training.stored_config import complete_config
from progan_jax.training.validation import validate
from progan_jax.training.workdir import CONFIG, check_same_config, read_record

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

_FADE = _COLUMNS.index("fade to")  # Left out of runs without fades.

_WIDTH = 100

# Number of images that the compiled steps are given; the set need not exist yet.
_NUM_IMAGES = 30_000


# Scalars of a tick that tell its speed.
_SPEED = ("Progress/resolution", "Timing/sec_per_tick", "Timing/img_per_sec")

# Length for which stages are compared that have none of their own.
_UNIT_NIMG = 100_000


def explain(
    config: ml_collections.ConfigDict,
    compile_steps: bool | None = None,
    workdir: Path | None = None,
) -> str:
    """Returns a line about the set, and a table with one row for each stage of the run.

    The line is left out if the set is not one that `prepare_data` has written. Lines
    about memory, the stages' time and the networks follow.

    Args:
      config: Configuration of the run; see configs/base.py.
      compile_steps: Whether memory is that of the compiled steps, which takes minutes,
        or an estimate. None compiles on accelerators only, where memory is the limit;
        the compilation cache keeps the programs for the run.
      workdir: Folder of a run. If it has ticks of this configuration, they give the
        stages' time; else it is their share of the operations.

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
    # A path stays in one piece.
    time = textwrap.fill(
        _time(config, schedule, mesh.size, workdir),
        _WIDTH,
        break_on_hyphens=False,
        break_long_words=False,
    )
    networks = family_of(config).describe(model_options(config)).items()
    lines = [f"{name}: {value}" for name, value in networks]
    table = [_COLUMNS, *rows]
    if not schedule.fades:
        table = [(*row[:_FADE], *row[_FADE + 1 :]) for row in table]
    return "\n".join([*about, *_align(table), "", summary, time, "", *lines]).rstrip()


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
    program = StageProgram(
        config, schedule, resolution, mesh, (1,) * classes, blank=True
    )
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
        "?" if stage.start_nimg == _UNKNOWN else format_kimg(stage.start_nimg / 1000),
        format_kimg(fade_end / 1000) if fade_end > stage.start_nimg else "no fade",
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
        return format_kimg(schedule.total_kimg)
    if schedule.open_ended and not schedule.stabilise_kimg[stage.resolution]:
        return (
            "plateau" if not is_last else format_kimg(schedule.stage_end(stage) / 1000)
        )
    if stage.start_nimg == _UNKNOWN:
        return "?"
    return format_kimg(schedule.stage_end(stage) / 1000)


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
    most = "at most " if schedule.may_end_before else ""
    held, units = "learning rates", "From, until and tick are in kimg."
    if schedule.fades:
        held = "alpha and the learning rates"
        units = (
            "From, fade to, until and tick are in kimg; parameters count every RGB "
            "layer."
        )
    lines = [
        f"The run shows {most}{format_kimg(schedule.end_nimg() / 1000)} kimg in "
        f"{schedule.ticks_until(schedule.end_nimg())} ticks; {held} are held for "
        f"quanta of {schedule.quantum_pairs} pair(s).",
        units,
        f"Memory is {memory_is}",
    ]
    if schedule.rampup_kimg:
        lines.insert(
            1, f"Learning rates rise over the first {schedule.rampup_kimg:g} kimg."
        )
    if family_of(config).RESTARTS:
        lines[1:1] = _restarts(config, schedule)
    elif config.optim.reset_at_fades and schedule.fades:
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


def _time(
    config: ml_collections.ConfigDict,
    schedule: Schedule,
    num_devices: int,
    workdir: Path | None,
) -> str:
    """Returns a sentence on the stages' time, or on their share of the operations."""
    lengths, which = _lengths(schedule)
    work = {side: pair_work(config, schedule, side) for side in lengths}
    record, ticks = _measured(config, workdir)
    if not ticks:
        flops = {r: n / work[r].images * work[r].flops for r, n in lengths.items()}
        parts = [f"{r}x{r} {f / sum(flops.values()):.1%}" for r, f in flops.items()]
        return (
            f"Operations of {which}, counted of G's layers alone: {', '.join(parts)}. "
            "The ticks of a run in --workdir give their time instead."
        )
    pace = RemainingTime(schedule, work, matmul_rate(config.model.dtype) * num_devices)
    for side, sec, speed in ([tick[name] for name in _SPEED] for tick in ticks):
        pace.add(side, round(sec * speed), sec)
    seen = {tick["Progress/resolution"] for tick in ticks}
    parts = [
        f"{r}x{r} {format_duration(pace.of(r, n))}" + " (estimate)" * (r not in seen)
        for r, n in lengths.items()
    ]
    start = (record["starts"] or [{}])[-1]
    return (
        f"Time of {which}, by {len(ticks)} tick(s) in {workdir}, last on "
        f"{start.get('device_count', '?')} x {start.get('device_kind', '?')}: "
        f"{', '.join(parts)}; without pictures and measurements."
    )


def _lengths(schedule: Schedule) -> tuple[dict[int, int], str]:
    """Returns images by the stages' resolutions, and which part of a stage they are."""
    if schedule.may_end_before:
        if not all(schedule.stabilise_kimg[r] for r in schedule.resolutions[:-1]):
            which = f"{_UNIT_NIMG // 1000} kimg of each stage"
            return dict.fromkeys(schedule.resolutions, _UNIT_NIMG), which
        which = "each stage at most"
    else:
        which = "each stage"
    stages = schedule.stages()
    return {s.resolution: schedule.stage_end(s) - s.start_nimg for s in stages}, which


def _measured(
    config: ml_collections.ConfigDict, workdir: Path | None
) -> tuple[Mapping[str, Any], list[dict[str, Any]]]:
    """Returns record and ticks of a run of this configuration; nothing without one."""
    if workdir is None or not (workdir / CONFIG).exists():
        return {}, []
    record = read_record(workdir, "--workdir")
    try:
        check_same_config(config, workdir, complete_config(record["config"]))
    except UserError:
        return {}, []
    rows = read_rows(workdir / "stats.jsonl")
    return record, [row for row in rows if has_numbers(row, _SPEED)]


def _align(rows: Sequence[Sequence[str]]) -> list[str]:
    """Returns the lines of a right-aligned table, with a rule below the first."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(cell.rjust(w) for cell, w in zip(row, widths, strict=True))
        for row in rows
    ]
    return [lines[0], "-" * len(lines[0]), *lines[1:]]
