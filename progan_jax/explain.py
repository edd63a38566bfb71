"""The whole schedule as a table, before anyone pays for it."""

import ml_collections

from progan_jax.config import make_networks, make_schedule
from progan_jax.costs import stage_cost
from progan_jax.runtime.mesh import make_mesh, select_devices
from progan_jax.schedule import Schedule, Stage
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
    ("memory", 9),
)


def explain(config: ml_collections.ConfigDict) -> str:
    """Returns the table: one row for each stage of the run.

    Raises:
      UserError: if the configuration is faulty.
    """
    num_devices = make_mesh(select_devices(config.runtime.num_devices)).size
    validate(config, num_devices)
    schedule = make_schedule(config)
    header = _line([name for name, _ in _COLUMNS])
    rows = [_row(config, schedule, s, num_devices) for s in schedule.stages()]
    lines = [header, "-" * len(header), *rows, "", _summary(config, schedule)]
    return "\n".join(lines)


def _row(
    config: ml_collections.ConfigDict,
    schedule: Schedule,
    stage: Stage,
    num_devices: int,
) -> str:
    r = stage.resolution
    batch, end = schedule.batch_size[r], schedule.stage_end(stage)
    per_device = batch // num_devices
    cost = stage_cost(*make_networks(config, r, per_device), per_device)
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
        f"{(cost.state_bytes + cost.step_bytes) / 2**20:,.0f} MiB",
    ]
    return _line(cells)


def _summary(config: ml_collections.ConfigDict, schedule: Schedule) -> str:
    lines = [
        f"The run shows {schedule.end_nimg() / 1000:g} kimg in "
        f"{schedule.ticks_until(schedule.end_nimg())} ticks; alpha and the learning "
        f"rates are held for quanta of {schedule.quantum_pairs} pair(s).",
        "Parameters count every RGB layer; in parentheses, the newest one only.",
        "Memory is a rough estimate per device: the state, and a step's activations.",
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
