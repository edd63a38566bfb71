"""Checks of a configuration, of its batches, and of the processes' agreement on it.

The fields are documented in configs/base.py.
"""

from collections.abc import Iterator
from typing import Any

import jax
import ml_collections

from progan_jax.data.pyramid import Pyramid
from progan_jax.errors import UserError
from progan_jax.images import SMALLEST_LEVEL
from progan_jax.inference.hub import check_repository
from progan_jax.models.augmentation import parse_policy
from progan_jax.models.common import RESOLUTIONS
from progan_jax.models.families import FAMILIES, Files
from progan_jax.models.options import Rule, faults, has_all
from progan_jax.runtime.command_line import list_fields
from progan_jax.runtime.distributed import share_json, together
from progan_jax.runtime.writers import parse_writers
from progan_jax.training.config import (
    TABLES,
    count_microbatches,
    family_of,
    get_field,
    loss_options,
    make_schedule,
    model_options,
    most_devices,
    parse_grid,
    parse_table,
    stage_loss,
    stddev_groups,
)
from progan_jax.training.schedule import Schedule


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
            f"{_named(options, options.whole_batch)}; set it to 0 (all)"
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


def _named(options: Any, names: tuple[str, ...]) -> str:
    """Returns fields of the networks with their values."""
    values = [f"config.model.{name} = {getattr(options, name)!r}" for name in names]
    return " and ".join(values)


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


# Of the fields that all families share; the rules of the others are in their `Options`.
_RULES = {
    "family": Rule(choices=tuple(FAMILIES)),
    "seed": Rule(least=0, most=2**32 - 1),
    "data.feed": Rule(choices=("auto", "resident", "streamed")),
    "data.resident_gib": Rule(least=0),
    "data.max_memory_mib": Rule(least=0),
    "data.stream_workers": Rule(least=0),
    "optim.beta1": Rule(below=1),
    "optim.beta2": Rule(below=1),
    "optim.d_beta2": Rule(below=1),
    "optim.epsilon": Rule(above=0),
    "optim.ema_decay": Rule(below=1),
    "optim.ema_half_life_kimg": Rule(least=0),
    "optim.ema_rampup": Rule(least=0),
    "optim.ema_after": Rule(choices=("g_step", "d_step")),
    "optim.d_repeats": Rule(least=1),
    "schedule.start_resolution": Rule(choices=RESOLUTIONS),
    "schedule.total_kimg": Rule(above=0, most=1e6),
    "schedule.rampup_kimg": Rule(least=0),
    "schedule.quantum_pairs": Rule(least=1),
    "schedule.plateau_evaluations": Rule(least=0),
    "train.grid_ticks": Rule(least=1),
    "train.snapshot_ticks": Rule(least=1),
    "train.checkpoint_ticks": Rule(least=1),
    "train.keep_checkpoints": Rule(least=1),
    "train.max_skipped": Rule(least=1),
    "eval.stage_swd_images": Rule(least=0),
    "eval.every_kimg": Rule(least=0),
    "eval.num_images": Rule(least=0),
    "eval.resize": Rule(choices=("tf1", "clean")),
    "runtime.compile_ahead": Rule(choices=("auto", "on", "off")),
    "runtime.matmul_precision": Rule(choices=("default", "high", "highest")),
    "runtime.pairs_per_dispatch": Rule(least=1, most=10_000),
    "runtime.num_devices": Rule(least=0),
}


def validate(config: ml_collections.ConfigDict, num_devices: int) -> None:
    """Checks all of the configuration.

    Args:
      config: Configuration of the run.
      num_devices: Number of devices that the batches are split over.

    Raises:
      UserError: one line for each fault, each naming field, value, rule and fix.
    """
    found = list(field_faults(config)) or list(_joint_faults(config, num_devices))
    if found:
        raise UserError(*found)


def field_faults(config: ml_collections.ConfigDict) -> Iterator[str]:
    """Yields a line for each field that is invalid by itself."""
    for field, rule in _RULES.items():
        value = get_field(config, field)
        if fault := rule.fault(value):
            yield f"config.{field} = {value!r} {fault}"
    if config.family in FAMILIES:
        yield from _option_faults(config)
    for field, smallest in TABLES.items():
        try:
            parse_table(get_field(config, field), field, smallest)
        except UserError as error:
            yield str(error)
    for parse in (
        lambda: parse_policy("config.data.augment", config.data.augment),
        lambda: parse_writers(config.train.writers),
        lambda: check_repository("config.train.push_to_hub", config.train.push_to_hub),
    ):
        try:
            parse()
        except UserError as error:
            yield str(error)
    grid = config.train.grid
    if grid not in ("1080p", "4k") and parse_grid(grid) is None:
        yield (
            f"config.train.grid = {grid!r} must be '1080p', '4k' or COLUMNSxROWS; "
            "write for example '16x8'"
        )
    if not config.data.name:
        yield "config.data.name = '' names no data set; set it, for example to 'digits'"


def _option_faults(config: ml_collections.ConfigDict) -> Iterator[str]:
    family = family_of(config)
    for group, kind in (("model", family.Options), ("loss", family.LossOptions)):
        values: Any = config[group]
        if not has_all(kind, values):
            yield (
                f"config.family = {config.family!r} does not fit config.{group}, since "
                "a recipe's family cannot be changed; choose a recipe of that family"
            )
            return
        for name, fault in faults(kind, values):
            yield f"config.{group}.{name} = {values[name]!r} {fault}"


def _joint_faults(config: ml_collections.ConfigDict, num_devices: int) -> Iterator[str]:
    """Yields a line for each combination of fields that is invalid."""
    start, final = config.schedule.start_resolution, config.model.resolution
    if start > final:
        yield (
            f"config.schedule.start_resolution = {start} must not exceed "
            f"config.model.resolution = {final}; lower it"
        )
        return
    if config.optim.simultaneous and config.optim.d_repeats > 1:
        yield (
            f"config.optim.d_repeats = {config.optim.d_repeats} must be 1 for "
            "simultaneous updates; set it to 1, or config.optim.simultaneous to False"
        )
    options, loss = model_options(config), loss_options(config)
    penalty = family_of(config).G_PENALTY
    if config.optim.simultaneous and penalty and penalty.times(loss)[0]:
        yield (
            "config.optim.simultaneous = True leaves out the steps on G's penalty, "
            "which this family has; set it to False"
        )
    if start < final and options.one_stage:
        yield (
            f"config.schedule.start_resolution = {start} must be {final}, since "
            f"networks with {_named(options, options.one_stage)} do not grow; "
            "set it to that"
        )
        return
    found = list(family_of(config).joint_faults(options, loss))
    if found := found or list(_stage_faults(config)):
        yield from found
        return
    if config.eval.stage_swd_images and final < SMALLEST_LEVEL:
        yield (
            f"config.eval.stage_swd_images = {config.eval.stage_swd_images} needs "
            f"images of {SMALLEST_LEVEL}x{SMALLEST_LEVEL} or more, and "
            f"config.model.resolution = {final}; set it to 0"
        )
    if config.train.push_to_hub and not (config.eval.best and config.eval.every_kimg):
        yield (
            f"config.train.push_to_hub = {config.train.push_to_hub!r} needs a value "
            "that is measured in training, by which a snapshot is the best; set "
            "config.eval.best and config.eval.every_kimg, or leave it out"
        )
    yield from _schedule_faults(make_schedule(config))
    yield from batch_faults(config, num_devices)


def _stage_faults(config: ml_collections.ConfigDict) -> Iterator[str]:
    """Yields a line for each field that does not fit how the family's stages follow."""
    schedule, restarts = make_schedule(config), family_of(config).RESTARTS
    start, first = config.schedule.start_resolution, schedule.resolutions[0]
    plateau = config.schedule.plateau_evaluations
    if not restarts:
        if plateau:
            yield (
                f"config.schedule.plateau_evaluations = {plateau} is for families "
                f"whose stages restart, and config.family = {config.family!r}; set it "
                "to 0"
            )
        return
    sides = model_options(config).sides
    if start != first:
        yield (
            f"config.schedule.start_resolution = {start} must be one of the stages, "
            f"{', '.join(map(str, sides))}; choose one"
        )
    elif start != sides[0] and not config.init_from:
        yield (
            f"config.schedule.start_resolution = {start} begins above the stem, which "
            f"has {sides[0]}x{sides[0]}; name a trained one in config.init_from, or "
            f"start at {sides[0]}"
        )
    if faded := [r for r in schedule.resolutions[1:] if schedule.fade_kimg[r]]:
        yield (
            f"config.schedule.fade_kimg = {config.schedule.fade_kimg!r}: stages of "
            f"config.family = {config.family!r} do not fade in (at "
            f"{', '.join(map(str, faded))}); set it to '0'"
        )
    yield from _plateau_faults(config, schedule)


def _plateau_faults(
    config: ml_collections.ConfigDict, schedule: Schedule
) -> Iterator[str]:
    plateau = config.schedule.plateau_evaluations
    endless = [r for r in schedule.resolutions[:-1] if not schedule.stabilise_kimg[r]]
    if endless and not plateau:
        yield (
            f"config.schedule.stabilise_kimg = {config.schedule.stabilise_kimg!r}: the "
            f"stage of {endless[0]}x{endless[0]} would never end; give it a length, or "
            "set config.schedule.plateau_evaluations"
        )
    if plateau and not (config.eval.best and config.eval.every_kimg):
        yield (
            f"config.schedule.plateau_evaluations = {plateau} needs a value that is "
            f"measured in training, and config.eval.best = {config.eval.best!r}, "
            f"config.eval.every_kimg = {config.eval.every_kimg:g}; set both, or it to 0"
        )
        return
    # The first evaluation of a stage is its best so far.
    least = len(endless) * (plateau + 1) * config.eval.every_kimg
    if endless and least >= schedule.total_kimg:
        yield (
            f"config.schedule.total_kimg = {schedule.total_kimg:g} must be above "
            f"{least:g}: {len(endless)} stage(s) end at a plateau, after "
            f"{plateau + 1} evaluations, one in {config.eval.every_kimg:g} kimg, at "
            "least; raise it, or lower config.eval.every_kimg"
        )


def _schedule_faults(schedule: Schedule) -> Iterator[str]:
    if schedule.open_ended:
        return
    stages = list(schedule.stages())
    grown = stages[-1].resolution
    reached = grown == schedule.resolution
    needed = schedule.kimg_to_full_resolution()
    if needed is None:
        yield (
            "config.schedule.stabilise_kimg and fade_kimg = 0: a run that grows needs "
            "a length for its stages; set one of them, or "
            f"config.schedule.start_resolution to {schedule.resolution}"
        )
    elif not reached or schedule.fade_end(stages[-1]) > schedule.end_nimg():
        yield (
            f"config.schedule.total_kimg = {schedule.total_kimg:g}: the run ends "
            f"before {schedule.resolution}x{schedule.resolution} has faded in at "
            f"{needed:g} kimg; raise it above {needed:g}, or shorten stabilise_kimg, "
            "fade_kimg or quantum_pairs"
        )


def validate_data(config: ml_collections.ConfigDict, pyramid: Pyramid) -> None:
    """Checks that the networks fit the images and labels.

    Raises:
      UserError: if not.
    """
    channels, classes = config.model.channels, config.model.num_classes
    if channels != pyramid.channels:
        raise UserError(
            f"config.model.channels = {channels}: the images of {pyramid.name} have "
            f"{pyramid.channels}; set --config.model.channels={pyramid.channels}"
        )
    if classes and pyramid.labels is None:
        raise UserError(
            f"config.model.num_classes = {classes}: {pyramid.name} has no labels; set "
            "it to 0, or choose a labelled set"
        )
    truncate = config.data.truncate_labels and classes < pyramid.num_classes
    if classes and classes != pyramid.num_classes and not truncate:
        raise UserError(
            f"config.model.num_classes = {classes}: {pyramid.name} has "
            f"{pyramid.num_classes} classes; set it to that, to 0, or to less with "
            "config.data.truncate_labels"
        )
    if config.train.grid_by_class and pyramid.labels is None:
        raise UserError(
            f"config.train.grid_by_class = True: {pyramid.name} has no labels; set it "
            "to False, or choose a labelled set"
        )


# Where and how a process reads its images may differ between processes.
_OWN_FIELDS = ("data.data_dir", "data.max_memory_mib", "data.stream_workers")


def agree_on_config(config: ml_collections.ConfigDict) -> None:
    """Compares this process's configuration with process 0's.

    Raises:
      UserError: on all processes, if one has another value of a field.
    """
    fields = {k: v for k, v in list_fields(config).items() if k not in _OWN_FIELDS}
    primarys = share_json(fields)
    together(lambda: _compare(fields, primarys))


def agree_on_set(pyramid: Pyramid) -> None:
    """Compares this process's images with process 0's, by their fingerprint.

    Raises:
      UserError: on all processes, if one has others.
    """
    primarys = share_json(pyramid.fingerprint)
    together(lambda: _compare_sets(pyramid, primarys))


def agree_on_files(files: Files) -> None:
    """Compares this process's frozen networks with process 0's, by their files' hashes.

    Args:
      files: What the family's `files` returned.

    Raises:
      UserError: on all processes, if one has others.
    """
    hashes = {name: file["sha256"] for name, file in files.items()}
    primarys = share_json(hashes)
    together(lambda: _compare_files(hashes, primarys))


def _compare_files(hashes: dict[str, str], primarys: dict[str, str]) -> None:
    for name, mine in hashes.items():
        if mine != primarys[name]:
            raise UserError(
                f"the weights of {name} have SHA-256 {mine} on process "
                f"{jax.process_index()} and {primarys[name]} on process 0; give all "
                "hosts the same file"
            )


def _compare(fields: dict[str, Any], primarys: dict[str, Any]) -> None:
    for field in sorted(fields.keys() | primarys.keys()):
        mine, theirs = fields.get(field), primarys.get(field)
        if mine != theirs:
            raise UserError(
                f"config.{field} = {mine!r} on process {jax.process_index()} and "
                f"{theirs!r} on process 0; start the same command on all hosts"
            )


def _compare_sets(pyramid: Pyramid, primarys: str) -> None:
    if pyramid.fingerprint != primarys:
        raise UserError(
            f"config.data.name = {pyramid.name!r}: process {jax.process_index()} reads "
            "other images than process 0; give all hosts the same set"
        )
