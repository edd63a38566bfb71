"""Checks of a configuration, and of the images that it is to be trained on.

The fields are documented in configs/base.py.
"""

from collections.abc import Iterator
from typing import Any

import ml_collections

from progan_jax.data.pyramid import Pyramid
from progan_jax.errors import UserError
from progan_jax.images import SMALLEST_LEVEL
from progan_jax.inference.hub import check_repository
from progan_jax.models.augmentation import parse_policy
from progan_jax.models.common import RESOLUTIONS
from progan_jax.models.families import FAMILIES
from progan_jax.models.options import Rule, faults, has_all
from progan_jax.runtime.writers import parse_writers
from progan_jax.training.batch_faults import batch_faults
from progan_jax.training.config import (
    TABLES,
    family_of,
    get_field,
    loss_options,
    make_schedule,
    model_options,
    named_values,
    parse_grid,
    parse_table,
)
from progan_jax.training.schedule import Schedule

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
            f"networks with {named_values(options, options.one_stage)} do not grow; "
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
