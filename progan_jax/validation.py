"""What is wrong with a configuration, all of it at once.

The fields and their meaning stand in configs/base.py.
"""

import math
from collections.abc import Iterator
from typing import Any

import ml_collections

from progan_jax.batch_rules import batch_faults
from progan_jax.config import (
    RESOLUTIONS,
    TABLES,
    get_field,
    make_schedule,
    parse_grid,
    parse_table,
)
from progan_jax.data.pyramid import Pyramid
from progan_jax.errors import UserError
from progan_jax.metrics.patches import SMALLEST_LEVEL
from progan_jax.networks.layers import num_maps
from progan_jax.networks.progan import stage_resolutions
from progan_jax.networks.topologies import TOPOLOGIES
from progan_jax.schedule import Schedule

_CHOICES = {
    "data.feed": ("auto", "resident", "streamed"),
    "model.activation": ("leaky_relu", "relu"),
    "model.channels": (1, 3),
    "model.g_norm": ("none", "batch"),
    "model.d_norm": ("none", "layer", "batch"),
    "model.dtype": ("float32", "bfloat16", "float64"),
    "model.remat": ("none", "blocks"),
    "model.resolution": RESOLUTIONS,
    "model.topology": tuple(TOPOLOGIES),
    "schedule.start_resolution": RESOLUTIONS,
    "loss.kind": ("wgan_gp", "lsgan"),
    "loss.gp_norm_space": ("full", "stage"),
    "loss.fake_labels": ("random", "reals"),
    "optim.ema_after": ("g_step", "d_step"),
    "eval.resize": ("tf1", "clean"),
    "runtime.compile_ahead": ("auto", "on", "off"),
    "runtime.matmul_precision": ("default", "high", "highest"),
}

# Smallest allowed value.
_LOWER_BOUNDS = {
    "seed": 0,
    "data.resident_gib": 0,
    "data.max_memory_mib": 0,
    "data.stream_workers": 0,
    "model.latent_size": 1,
    "model.num_classes": 0,
    "model.fmap_base": 1,
    "model.fmap_decay": 0,
    "model.fmap_max": 1,
    "model.g_slope": 0,
    "model.d_divisor": 1,
    "model.mbstd_group_size": 0,
    "model.minibatch_discrimination": 0,
    "loss.gp_weight": 0,
    "loss.drift_weight": 0,
    "loss.label_weight": 0,
    "loss.noise_coefficient": 0,
    "optim.ema_half_life_kimg": 0,
    "optim.d_repeats": 1,
    "schedule.rampup_kimg": 0,
    "schedule.quantum_pairs": 1,
    "train.grid_ticks": 1,
    "train.snapshot_ticks": 1,
    "train.checkpoint_ticks": 1,
    "train.keep_checkpoints": 1,
    "train.max_skipped": 1,
    "eval.stage_swd_images": 0,
    "eval.every_kimg": 0,
    "eval.num_images": 0,
    "runtime.pairs_per_dispatch": 1,
    "runtime.num_devices": 0,
}
_POSITIVE = ("loss.gp_target", "optim.epsilon", "schedule.total_kimg")
_UPPER_BOUNDS = {
    "seed": 2**32 - 1,
    "model.fmap_decay": 10,
    "model.g_slope": 1,
    "schedule.total_kimg": 1e6,
    "runtime.pairs_per_dispatch": 10_000,
}
# What the mode test's networks lack, and how it is switched off.
_ONLY_IN_PROGAN = {
    "model.fused_resampling": False,
    "model.minibatch_discrimination": 0,
    "loss.noise_coefficient": 0.0,
}
_FRACTIONS = ("optim.beta1", "optim.beta2", "optim.ema_decay")


def validate(config: ml_collections.ConfigDict, num_devices: int) -> None:
    """Checks the whole configuration.

    Args:
      config: The run's.
      num_devices: Devices that the batches are split over.

    Raises:
      UserError: one line for each fault, each naming field, value, rule and fix.
    """
    faults = list(field_faults(config))
    if not faults:
        faults = list(_joint_faults(config, num_devices))
    if faults:
        raise UserError(*faults)


def field_faults(config: ml_collections.ConfigDict) -> Iterator[str]:
    """Yields the faults that one field shows by itself."""
    for field, choices in _CHOICES.items():
        value = get_field(config, field)
        if value not in choices:
            rule = ", ".join(map(str, choices))
            yield f"config.{field} = {value!r} must be one of {rule}; choose one"
    for field, bound in _LOWER_BOUNDS.items():
        value = get_field(config, field)
        if not value >= bound:
            yield f"config.{field} = {value!r} must be at least {bound}; raise it"
        elif value == math.inf and field not in _UPPER_BOUNDS:
            yield f"config.{field} = {value!r} must be finite; lower it"
    for field, bound in _UPPER_BOUNDS.items():
        value = get_field(config, field)
        if value > bound:
            yield f"config.{field} = {value!r} must be at most {bound}; lower it"
    for field in _POSITIVE:
        value = get_field(config, field)
        if not (value > 0 and math.isfinite(value)):
            yield f"config.{field} = {value!r} must be above 0; set a positive number"
    for field in _FRACTIONS:
        value = get_field(config, field)
        if not 0 <= value < 1:
            yield f"config.{field} = {value!r} must lie in [0, 1); choose such a number"
    for field, smallest in TABLES.items():
        try:
            parse_table(get_field(config, field), field, smallest)
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


def _joint_faults(config: ml_collections.ConfigDict, num_devices: int) -> Iterator[str]:
    """Yields the faults that fields have together."""
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
    if config.loss.noise_coefficient and config.loss.kind != "lsgan":
        yield (
            f"config.loss.noise_coefficient = {config.loss.noise_coefficient:g} is of "
            f"LSGAN alone, and config.loss.kind = {config.loss.kind!r}; set it to 0, "
            "or config.loss.kind to 'lsgan'"
        )
    yield from _width_faults(config)
    yield from _topology_faults(config)
    if config.eval.stage_swd_images and final < SMALLEST_LEVEL:
        yield (
            f"config.eval.stage_swd_images = {config.eval.stage_swd_images} needs "
            f"images of {SMALLEST_LEVEL}x{SMALLEST_LEVEL} or more, and "
            f"config.model.resolution = {final}; set it to 0"
        )
    yield from _schedule_faults(make_schedule(config))
    yield from batch_faults(config, num_devices)


def _width_faults(config: ml_collections.ConfigDict) -> Iterator[str]:
    model: Any = config.model
    if not num_maps(model, model.resolution):
        stage = model.resolution.bit_length() - 2
        needed = math.ceil(2 ** (stage * model.fmap_decay))
        yield (
            f"config.model.fmap_base = {model.fmap_base} leaves no feature map at "
            f"{model.resolution}x{model.resolution}; raise it to {needed} or more"
        )
    # D's hidden layer is as wide as maps at 2x2 would be.
    maps = {r: num_maps(model, r) for r in stage_resolutions(model.resolution, 2)}
    if wrong := [r for r, number in maps.items() if number % model.d_divisor]:
        yield (
            f"config.model.d_divisor = {model.d_divisor} must divide G's feature maps, "
            f"which rules out {', '.join(f'{maps[r]} (at {r}x{r})' for r in wrong)}; "
            f"choose a divisor of {math.gcd(*maps.values())}"
        )


def _topology_faults(config: ml_collections.ConfigDict) -> Iterator[str]:
    if config.model.topology != "mode_test":
        return
    for field, off in _ONLY_IN_PROGAN.items():
        value = get_field(config, field)
        if value != off:
            yield (
                f"config.{field} = {value!r} is none of the networks of "
                f"config.model.topology = 'mode_test'; set it to {off!r}"
            )


def _schedule_faults(schedule: Schedule) -> Iterator[str]:
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
      UserError: if they do not.
    """
    channels, classes = config.model.channels, config.model.num_classes
    if channels != pyramid.channels:
        raise UserError(
            f"config.model.channels = {channels}: the images of {pyramid.name} have "
            f"{pyramid.channels}; set it to that, as by "
            f"--config.model.channels={pyramid.channels}"
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
            f"{pyramid.num_classes} classes; set it to that, or to 0, or to less with "
            "config.data.truncate_labels"
        )
    if config.train.grid_by_class and pyramid.labels is None:
        raise UserError(
            f"config.train.grid_by_class = True: {pyramid.name} has no labels; set it "
            "to False, or choose a labelled set"
        )
