"""Flags that choose the stages of a benchmark, and their check."""

from typing import Any

from absl import flags
from ml_collections import config_flags

from benchmarks.shares import divide_batches
from progan_jax.errors import UserError
from progan_jax.training.config import make_schedule

CONFIG = config_flags.DEFINE_config_file("config", None, "Configuration file.")
RESOLUTIONS = flags.DEFINE_list("resolutions", [], "Of the run; all by default.")
BATCH = flags.DEFINE_integer("batch", 0, "Batch size; 0 is the configuration's.")
SHARE = flags.DEFINE_integer("share", 1, "Devices that the batch is shared by.")


def choose_stages(config: Any) -> list[int]:
    """Sets the batches of one device in the configuration.

    Returns:
      The resolutions to take, each once.

    Raises:
      UserError: if a flag names a stage or a share that the run does not have.
    """
    schedule, there = config.schedule, list(make_schedule(config).resolutions)
    names = RESOLUTIONS.value or [str(r) for r in there]
    for name in names:
        if name not in map(str, there):
            raise UserError(
                f"--resolutions={name}: the run has "
                f"{', '.join(map(str, there))}; choose from them"
            )
    if BATCH.value < 0:
        raise UserError(f"--batch={BATCH.value} must be at least 1; raise it")
    if BATCH.value:
        schedule.batch_size = str(BATCH.value)
    divide_batches(config, there, SHARE.value)
    return list(dict.fromkeys(map(int, names)))
