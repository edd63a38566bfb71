"""What is wrong with the batches: on so many devices, and in parts."""

from collections.abc import Iterator

import ml_collections

from progan_jax.config import (
    count_microbatches,
    make_schedule,
    most_devices,
    stddev_groups,
)
from progan_jax.networks.progan import stage_resolutions


def batch_faults(config: ml_collections.ConfigDict, num_devices: int) -> Iterator[str]:
    """Yields a line for each batch that cannot be split as the configuration says.

    Args:
      config: The run's, whose fields are fine by themselves.
      num_devices: Devices that the batches are split over.
    """
    faults = list(_whole_batch_faults(config, num_devices))
    yield from faults or _microbatch_faults(config, num_devices)


def _whole_batch_faults(
    config: ml_collections.ConfigDict, num_devices: int
) -> Iterator[str]:
    table = make_schedule(config).batch_size
    group = config.model.mbstd_group_size if config.model.minibatch_stddev else 0
    used = stage_resolutions(config.model.resolution, config.schedule.start_resolution)
    most = most_devices(config, num_devices)
    fewer = (
        f", or at most {most} device(s) leave all groups of the run whole: set "
        f"config.runtime.num_devices to {most}"
        if most
        else ""
    )
    for batch in dict.fromkeys(table[r] for r in used):
        if batch % num_devices:
            rule = f"is not divisible by {num_devices} devices"
        elif not _is_valid_batch(batch, num_devices, group):
            rule = (
                f"gives {batch // num_devices} images to each of {num_devices} "
                f"device(s), neither a multiple of config.model.mbstd_group_size = "
                f"{group} nor smaller"
            )
        else:
            continue
        where = ", ".join(str(r) for r in used if table[r] == batch)
        yield (
            f"config.schedule.batch_size = {config.schedule.batch_size!r}: {batch} (at "
            f"{where}) {rule}; the nearest valid batches are "
            f"{_nearest_batches(batch, num_devices, group)}{fewer}"
        )


def _microbatch_faults(
    config: ml_collections.ConfigDict, num_devices: int
) -> Iterator[str]:
    schedule, groups = make_schedule(config), stddev_groups(config, num_devices)
    for r in stage_resolutions(config.model.resolution, schedule.start_resolution):
        microbatch = schedule.microbatch[r]
        per_device = schedule.batch_size[r] // num_devices
        if count_microbatches(per_device, microbatch) == 1:
            continue
        unit = groups.get(r, 1)
        if per_device % microbatch or microbatch % unit:
            legal = [n for n in range(unit, per_device, unit) if per_device % n == 0]
            yield (
                f"config.schedule.microbatch = {config.schedule.microbatch!r}: "
                f"{microbatch} (at {r}) must divide the {per_device} images of a "
                f"device into whole groups of {unit} of the minibatch statistic; "
                f"choose {', '.join(map(str, [*legal, '0 (all)']))}"
            )


def _is_valid_batch(batch: int, num_devices: int, group: int) -> bool:
    per_device, rest = divmod(batch, num_devices)
    if rest or per_device == 0:
        return False
    return group == 0 or per_device < group or per_device % group == 0


def _nearest_batches(batch: int, num_devices: int, group: int) -> str:
    # Multiples of this are valid, so that no search goes further.
    unit = num_devices * max(group, 1)
    around = range(max(batch - unit, 1), batch + unit + 1)
    valid = [b for b in around if _is_valid_batch(b, num_devices, group)]
    below, above = [b for b in valid if b < batch], [b for b in valid if b > batch]
    return " and ".join(str(b) for b in [*below[-1:], above[0]])
