"""The disk space that a run will need."""

import shutil
from pathlib import Path

import ml_collections

from progan_jax.errors import UserError
from progan_jax.training.config import make_networks, make_schedule
from progan_jax.training.costs import stage_cost


def check_disk(
    config: ml_collections.ConfigDict, workdir: Path, num_devices: int
) -> None:
    """Checks that the run's checkpoints and snapshots fit on the disk.

    Raises:
      UserError: if not.
    """
    schedule = make_schedule(config)
    last = schedule.resolutions[-1]
    per_device = schedule.batch_size[last] // num_devices
    cost = stage_cost(*make_networks(config, last, per_device), per_device)
    # While a new one is written there is one more than are kept.
    checkpoints = (config.train.keep_checkpoints + 1) * cost.state_bytes
    ticks = schedule.ticks_until(schedule.end_nimg())
    carried = cost.g_params
    if config.train.snapshot_networks:
        carried += cost.g_params + cost.d_params
    snapshots = 4 * carried * (ticks // config.train.snapshot_ticks + 1)
    parent = next(
        p for p in (workdir.absolute(), *workdir.absolute().parents) if p.exists()
    )
    free = shutil.disk_usage(parent).free
    # What a continued run has already written is not written again.
    written = sum(f.stat().st_size for f in workdir.rglob("*") if f.is_file())
    needed = max(checkpoints + snapshots - written, cost.state_bytes)
    if free < needed:
        raise UserError(
            f"--workdir={workdir}: its disk has {_mib(free)} free and the run needs "
            f"about {_mib(needed)} ({config.train.keep_checkpoints} + 1 checkpoints of "
            f"{_mib(cost.state_bytes)}, and snapshots); free some, choose another "
            "folder, or lower config.train.keep_checkpoints"
        )


def _mib(num_bytes: int) -> str:
    return f"{num_bytes / 2**20:,.0f} MiB"
