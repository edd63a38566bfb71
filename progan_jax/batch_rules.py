"""What is wrong with the batches: on so many devices, and in parts."""

from collections.abc import Iterator
from typing import Any

import ml_collections

from progan_jax.config import (
    count_microbatches,
    make_schedule,
    most_devices,
    stddev_groups,
)
from progan_jax.networks.progan import stage_resolutions


def batch_faults(config: ml_collections.ConfigDict, num_devices: int) -> Iterator[str]:
    """Yields a line for each field whose batches cannot be split as it says.

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
    batches = dict.fromkeys(table[r] for r in used)
    wrong = [b for b in batches if not _is_valid_batch(b, num_devices, group)]
    if not wrong:
        return
    places = [
        f"{batch} (at {', '.join(str(r) for r in used if table[r] == batch)})"
        for batch in wrong
    ]
    mends = [f"{_nearest_batches(b, num_devices, group)} for {b}" for b in wrong]
    whole = (
        f", a multiple of config.model.mbstd_group_size = {group} or fewer"
        if group
        else ""
    )
    yield (
        f"config.schedule.batch_size = {config.schedule.batch_size!r}: each of "
        f"{num_devices} device(s) must get equally many images{whole}, which rules out "
        f"{', '.join(places)}; take {', '.join(mends)}{fewer}"
    )


def _microbatch_faults(
    config: ml_collections.ConfigDict, num_devices: int
) -> Iterator[str]:
    schedule, groups = make_schedule(config), stddev_groups(config, num_devices)
    wrong: dict[tuple[int, int, int], list[int]] = {}
    cut: list[int] = []
    for r in stage_resolutions(config.model.resolution, schedule.start_resolution):
        microbatch = schedule.microbatch[r]
        per_device = schedule.batch_size[r] // num_devices
        if count_microbatches(per_device, microbatch) == 1:
            continue
        cut.append(r)
        unit = groups.get(r, 1)
        if per_device % microbatch or microbatch % unit:
            wrong.setdefault((microbatch, per_device, unit), []).append(r)
    if cut and (whole := _whole_batch_layers(config)):
        yield (
            f"config.schedule.microbatch = {config.schedule.microbatch!r} would cut "
            f"batches (at {', '.join(map(str, cut))}) that must be whole for {whole}; "
            "set it to 0 (all)"
        )
    elif wrong:
        mends = [_mend_microbatch(*what, at) for what, at in wrong.items()]
        yield (
            f"config.schedule.microbatch = {config.schedule.microbatch!r} must divide "
            "the images of a device into whole groups of the minibatch statistic; "
            f"choose {'; '.join(mends)}"
        )


def _mend_microbatch(
    microbatch: int, per_device: int, unit: int, resolutions: list[int]
) -> str:
    legal = [n for n in range(unit, per_device, unit) if per_device % n == 0]
    return (
        f"{', '.join(map(str, [*legal, '0 (all)']))} for {microbatch} (at "
        f"{', '.join(map(str, resolutions))}: {per_device} images, groups of {unit})"
    )


def _whole_batch_layers(config: ml_collections.ConfigDict) -> str:
    """Names the fields whose layers take the whole batch at a time."""
    model: Any = config.model
    fields = [f"{net}_norm" for net in "gd" if model[f"{net}_norm"] == "batch"]
    if model.minibatch_discrimination:
        fields.append("minibatch_discrimination")
    return " and ".join(f"config.model.{name} = {model[name]!r}" for name in fields)


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
    return " or ".join(str(b) for b in [*below[-1:], above[0]])
