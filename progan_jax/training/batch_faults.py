"""Checks of how a run's batches are split over devices and into microbatches.

The fields are documented in configs/base.py.
"""

from collections.abc import Iterator

import ml_collections

from progan_jax.training.config import (
    count_microbatches,
    family_of,
    make_schedule,
    model_options,
    most_devices,
    named_values,
    stage_loss,
    stddev_groups,
)


def batch_faults(config: ml_collections.ConfigDict, num_devices: int) -> Iterator[str]:
    """Yields a line for each field whose batches cannot be split as it demands.

    Args:
      config: Configuration whose fields are valid by themselves.
      num_devices: Number of devices that the batches are split over.
    """
    found = list(_device_batch_faults(config, num_devices))
    found = found or list(_microbatch_faults(config, num_devices))
    yield from found or _penalty_faults(config, num_devices)


def _device_batch_faults(
    config: ml_collections.ConfigDict, num_devices: int
) -> Iterator[str]:
    schedule = make_schedule(config)
    table, used = schedule.batch_size, schedule.resolutions
    options = model_options(config)
    group, keeps = options.stddev_group or 0, options.keeps_groups
    most = most_devices(config, num_devices)
    fewer = (
        f", or set config.runtime.num_devices to {most}, the largest number of devices "
        "that keeps all groups of the run complete"
        if most
        else ""
    )
    batches = dict.fromkeys(table[r] for r in used)
    wrong = [b for b in batches if not _is_valid_batch(b, num_devices, group, keeps)]
    if not wrong:
        return
    places = [
        f"{batch} (at {', '.join(str(r) for r in used if table[r] == batch)})"
        for batch in wrong
    ]
    split = num_devices, group, keeps
    fixes = [f"{_nearest_batches(b, *split)} for {b}" for b in wrong]
    groups = f", a multiple of config.model.{options.group_field} = {group}"
    groups = (groups if keeps else f"{groups} or fewer") if group else ""
    yield (
        f"config.schedule.batch_size = {config.schedule.batch_size!r}: each of "
        f"{num_devices} device(s) must get equally many images{groups}, which rules "
        f"out {', '.join(places)}; choose {', '.join(fixes)}{fewer}"
    )


def _microbatch_faults(
    config: ml_collections.ConfigDict, num_devices: int
) -> Iterator[str]:
    schedule, groups = make_schedule(config), stddev_groups(config, num_devices)
    wrong: dict[tuple[int, int, int], list[int]] = {}
    split: list[int] = []
    for r in schedule.resolutions:
        microbatch = schedule.microbatch[r]
        per_device = schedule.batch_size[r] // num_devices
        if count_microbatches(per_device, microbatch) == 1:
            continue
        split.append(r)
        unit = groups.get(r, 1)
        if per_device % microbatch or microbatch % unit:
            wrong.setdefault((microbatch, per_device, unit), []).append(r)
    options = model_options(config)
    if split and options.whole_batch:
        yield (
            f"config.schedule.microbatch = {config.schedule.microbatch!r} would split "
            f"batches (at {', '.join(map(str, split))}), which is not possible with "
            f"{named_values(options, options.whole_batch)}; set it to 0 (all)"
        )
    elif wrong:
        own = f"config.model.{options.group_field}"
        statistic = own if options.keeps_groups else "the minibatch statistic"
        fixes = [_microbatch_fix(*what, at) for what, at in wrong.items()]
        yield (
            f"config.schedule.microbatch = {config.schedule.microbatch!r} must divide "
            f"the images of a device into complete groups of {statistic}; "
            f"choose {'; '.join(fixes)}"
        )


def _penalty_faults(
    config: ml_collections.ConfigDict, num_devices: int
) -> Iterator[str]:
    """Yields a line if the half batches of a penalty on G cannot be split likewise."""
    penalty, schedule = family_of(config).G_PENALTY, make_schedule(config)
    if penalty is None:
        return
    for r in schedule.resolutions:
        if not penalty.times(stage_loss(config, r))[0]:
            continue
        per_device = schedule.batch_size[r] // num_devices
        part = per_device // count_microbatches(per_device, schedule.microbatch[r])
        if part % 2:
            yield (
                f"config.schedule.batch_size = {config.schedule.batch_size!r}: a "
                f"device takes {part} image(s) at a time at {r}x{r}, and half as many "
                "for the penalty on G, which must be whole; choose an even number, by "
                "batch_size or config.schedule.microbatch"
            )


def _microbatch_fix(
    microbatch: int, per_device: int, unit: int, resolutions: list[int]
) -> str:
    legal = [n for n in range(unit, per_device, unit) if per_device % n == 0]
    return (
        f"{', '.join(map(str, [*legal, '0 (all)']))} for {microbatch} (at "
        f"{', '.join(map(str, resolutions))}: {per_device} images, groups of {unit})"
    )


def _is_valid_batch(batch: int, num_devices: int, group: int, keeps: bool) -> bool:
    per_device, rest = divmod(batch, num_devices)
    if rest or per_device == 0:
        return False
    is_smaller = per_device < group and not keeps
    return group == 0 or is_smaller or per_device % group == 0


def _nearest_batches(batch: int, num_devices: int, group: int, keeps: bool) -> str:
    # Multiples of this are valid, so that the nearest ones are within its reach.
    unit = num_devices * max(group, 1)
    around = range(max(batch - unit, 1), batch + unit + 1)
    valid = [b for b in around if _is_valid_batch(b, num_devices, group, keeps)]
    below, above = [b for b in valid if b < batch], [b for b in valid if b > batch]
    return " or ".join(str(b) for b in [*below[-1:], above[0]])
