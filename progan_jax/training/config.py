"""The objects that a configuration describes: networks, schedule, options of a step.

The fields are documented in configs/base.py.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import ml_collections
from flax import struct

from progan_jax.errors import UserError
from progan_jax.models.augmentation import parse_policy
from progan_jax.models.common import RESOLUTIONS
from progan_jax.models.families import FAMILIES, Family
from progan_jax.models.options import read_options
from progan_jax.training.schedule import Schedule, Stage


class Controls(struct.PyTreeNode):
    """Values of the schedule for each pair of a dispatch.

    Attributes:
      num_pairs: Number of pairs to run, int32, at most K.
      alpha: [K] float32.
      g_learning_rate: [K] float32.
      d_learning_rate: [K] float32.
      nimg: Number of images shown before the pair, [K] float32; since the stage began
        if the family's stages restart.
    """

    num_pairs: jax.Array
    alpha: jax.Array
    g_learning_rate: jax.Array
    d_learning_rate: jax.Array
    nimg: jax.Array


@dataclass(frozen=True)
class StepOptions:
    """Options of the training steps of one stage.

    Attributes:
      loss: The family's `LossOptions`: kind and weights.
      resolution_ratio: See `penalties.gradient_penalty`.
      ema_decay: Fraction of the moving average that one update keeps.
      ema_ramp: If not 0, the average's half-life in updates is at most this times the
        number of images shown.
      ema_after: "d_step" (authors' TensorFlow program: before G's own step, once per D
        step) or "g_step" (the paper's program).
      d_repeats: Number of D steps per G step.
      simultaneous: Whether D and G step at once, on one batch of fakes.
      max_skipped: Number of consecutive pairs with a skipped update after which the
        loop stops.
      requantise_fade: Whether faded real images are rounded to 8 bits (the paper's
        program).
      dequantise: Whether real images get noise of one byte's width (an option of it).
      augment: Changes of `models.augmentation.POLICIES` that D sees images with.
      microbatches: Number of equal parts in which the gradients of a batch are
        computed, one after the other, to save memory; no part may split a group of
        the minibatch statistic.
    """

    loss: Any
    resolution_ratio: float = 1.0
    ema_decay: float = 0.999
    ema_ramp: float = 0.0
    ema_after: str = "d_step"
    d_repeats: int = 1
    simultaneous: bool = False
    max_skipped: int = 100
    requantise_fade: bool = False
    dequantise: bool = False
    augment: tuple[str, ...] = ()
    microbatches: int = 1


# Tables by resolution, with the smallest value allowed in them.
TABLES = {
    "schedule.stabilise_kimg": 0.0,
    "schedule.fade_kimg": 0.0,
    "schedule.batch_size": 1,
    "schedule.microbatch": 0,
    "schedule.g_learning_rate": 0.0,
    "schedule.d_learning_rate": 0.0,
    "train.tick_kimg": 0.001,
}
_LARGEST = 1e9  # Of a table's values: no run is that long, and sums stay finite.


def get_field(config: ml_collections.ConfigDict, field: str) -> Any:
    """Returns the value of a dotted field such as "schedule.batch_size"."""
    value: Any = config
    for name in field.split("."):
        value = value[name]
    return value


def parse_table(text: str, field: str, smallest: float = 0.0) -> dict[int, float]:
    """Reads a table by resolution such as "16, 256:14, 512:6, 1024:3".

    Args:
      text: A value for all resolutions, then `resolution:value` exceptions.
      field: Name of the field, for the message.
      smallest: Smallest allowed value; values are whole numbers if it is an int.

    Raises:
      UserError: if the text is not such a table.
    """
    number = int if isinstance(smallest, int) else float
    base, *exceptions = (part.strip() for part in str(text).split(","))
    try:
        table = dict.fromkeys(RESOLUTIONS, number(base))
        for part in exceptions:
            resolution, value = part.split(":")
            if int(resolution) not in RESOLUTIONS:
                raise ValueError
            table[int(resolution)] = number(value)
    except ValueError:
        kind = "whole numbers" if number is int else "numbers"
        raise UserError(
            f"config.{field} = {text!r}: a table is a value for all resolutions, then "
            f"exceptions for powers of two from 4 to 1024; write {kind} as in "
            "'16, 256:14, 1024:3'"
        ) from None
    for resolution, value in table.items():
        if not smallest <= value <= _LARGEST:
            rule = "most 1e9; lower it" if value > 1 else f"least {smallest}; raise it"
            raise UserError(
                f"config.{field} = {text!r}: {value} at {resolution} must be at {rule}"
            )
    return table


def make_schedule(
    config: ml_collections.ConfigDict,
    recorded: tuple[Stage, ...] = (),
    ended_nimg: int = 0,
) -> Schedule:
    """Returns the run's schedule, continued from what a run has recorded of it."""
    tables: dict[str, Any] = {
        field.split(".")[1]: parse_table(get_field(config, field), field, smallest)
        for field, smallest in TABLES.items()
    }
    return Schedule(
        resolution=config.model.resolution,
        start_resolution=config.schedule.start_resolution,
        total_kimg=config.schedule.total_kimg,
        rampup_kimg=config.schedule.rampup_kimg,
        quantum_pairs=config.schedule.quantum_pairs,
        d_repeats=config.optim.d_repeats,
        recorded=recorded,
        ended_nimg=ended_nimg,
        sides=_sides(config),
        open_ended=config.schedule.plateau_evaluations > 0,
        **tables,
    )


def _sides(config: ml_collections.ConfigDict) -> tuple[int, ...]:
    """Returns the stages' resolutions, of a family whose options name them; else ()."""
    if not family_of(config).RESTARTS:
        return ()
    start = config.schedule.start_resolution
    return tuple(side for side in model_options(config).sides if side >= start)


def family_of(config: ml_collections.ConfigDict) -> Family:
    """Returns the family of models that a configuration names."""
    name: Any = config.family
    return FAMILIES[name]


def model_options(config: ml_collections.ConfigDict) -> Any:
    """Returns `config.model` as the family's options."""
    model: Any = config.model
    return read_options(family_of(config).Options, model)


def loss_options(config: ml_collections.ConfigDict) -> Any:
    """Returns `config.loss` as the family's options."""
    loss: Any = config.loss
    return read_options(family_of(config).LossOptions, loss)


def stage_loss(config: ml_collections.ConfigDict, resolution: int) -> Any:
    """Returns the options of the losses in a stage."""
    options = model_options(config), loss_options(config)
    return family_of(config).loss_at(*options, resolution)


def make_networks(
    config: ml_collections.ConfigDict, resolution: int, per_device_batch: int
) -> tuple[Any, Any]:
    """Returns both networks of one stage.

    Args:
      config: Configuration of the run.
      resolution: Resolution of the stage.
      per_device_batch: Caps the group of the minibatch statistic.
    """
    options = model_options(config)
    return family_of(config).make_networks(options, resolution, per_device_batch)


def stddev_groups(
    config: ml_collections.ConfigDict, num_devices: int
) -> dict[int, int]:
    """Returns the number of images in a group that shares a statistic.

    By resolution, for those that the run trains; empty without the statistic.
    """
    options, schedule = model_options(config), make_schedule(config)
    group = options.stddev_group
    if group is None:
        return {}
    used = schedule.resolutions
    batches = {r: schedule.batch_size[r] for r in used}
    if not group:
        return batches
    if options.keeps_groups:
        return {r: int(group) for r in used}
    return {r: min(group, batch // num_devices) for r, batch in batches.items()}


def most_devices(config: ml_collections.ConfigDict, limit: int) -> int | None:
    """Returns the largest number of devices that keeps all groups complete.

    Args:
      config: Configuration of the run.
      limit: Number of available devices.

    Returns:
      A number up to the limit that divides every batch into complete groups that share
      a statistic, with equally many devices on each process, or None if no
      number does.
    """
    schedule, options = make_schedule(config), model_options(config)
    group = options.stddev_group or 0
    used = schedule.resolutions
    # A batch that is smaller than a group is one group, on one device.
    units = [
        group if options.keeps_groups else min(group, schedule.batch_size[r])
        for r in used
    ]
    units = [unit or 1 for unit in units]
    batches = [schedule.batch_size[r] for r in used]
    num_processes = jax.process_count()  # Each has equally many devices.
    for number in range(limit - limit % num_processes, 0, -num_processes):
        pairs = zip(batches, units, strict=True)
        if all(batch % (number * unit) == 0 for batch, unit in pairs):
            return number
    return None


def make_step_options(
    config: ml_collections.ConfigDict,
    resolution: int,
    batch_size: int,
    num_devices: int = 1,
) -> StepOptions:
    """Returns the options of one stage's steps."""
    microbatch = make_schedule(config).microbatch[resolution]
    loss, optim = stage_loss(config, resolution), config.optim
    ratio = config.model.resolution / resolution
    decay = optim.ema_decay
    if optim.ema_half_life_kimg:
        # As the program of Karras et al. 2019, where the half-life is 10 kimg.
        decay = 0.5 ** (batch_size / (optim.ema_half_life_kimg * 1000))
    return StepOptions(
        loss=loss,
        resolution_ratio=ratio if loss.in_full_space else 1.0,
        ema_decay=decay,
        ema_ramp=optim.ema_rampup / batch_size,
        ema_after=optim.ema_after,
        d_repeats=optim.d_repeats,
        simultaneous=optim.simultaneous,
        max_skipped=config.train.max_skipped,
        requantise_fade=config.data.requantise_fade,
        dequantise=config.data.dequantise,
        augment=parse_policy("config.data.augment", config.data.augment),
        microbatches=count_microbatches(batch_size // num_devices, microbatch),
    )


def count_microbatches(per_device_batch: int, microbatch: int) -> int:
    """Returns the number of parts in which a device takes its batch.

    One part if `microbatch` is 0, or not smaller than the device's batch.
    """
    return -(-per_device_batch // microbatch) if microbatch else 1


def named_values(options: Any, names: Sequence[str]) -> str:
    """Returns options of the networks with their values, as a message names them.

    Args:
      options: The family's `Options`.
      names: Fields of `config.model`.
    """
    values = [f"config.model.{name} = {getattr(options, name)!r}" for name in names]
    return " and ".join(values)


def parse_grid(text: str) -> tuple[int, int] | None:
    """Parses "COLUMNSxROWS"; returns None if the text has another form."""
    match = re.fullmatch(r"([1-9]\d{0,2})x([1-9]\d{0,2})", text)
    return (int(match[1]), int(match[2])) if match else None
