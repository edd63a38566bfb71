"""The share of one device of the batches of a configuration."""

from typing import Any

from progan_jax.errors import UserError
from progan_jax.training.config import make_schedule


def divide_batches(config: Any, resolutions: list[int], share: int) -> None:
    """Sets the batch of every resolution to the share of one device.

    Args:
      config: A run's configuration, which is changed.
      resolutions: All resolutions of the run.
      share: Number of devices that share a batch.

    Raises:
      UserError: if it does not divide a batch.
    """
    batches = make_schedule(config).batch_size
    for resolution in resolutions:
        if share < 1 or batches[resolution] % share:
            raise UserError(
                f"--share={share} does not divide the batch of "
                f"{batches[resolution]} at {resolution}x{resolution}; choose another"
            )
    table = [f"{r}:{batches[r] // share}" for r in resolutions]
    config.schedule.batch_size = ", ".join(["1", *table])
