"""Reader of the configurations that run folders and snapshots store.

Files may be of earlier versions or edited by hand: what is returned has every field of
this version, of the right type.
"""

import sys
from collections.abc import Mapping
from typing import Any

import ml_collections

from progan_jax.configs import base
from progan_jax.models.families import DEFAULT, FAMILIES, Family
from progan_jax.models.options import marked_fields
from progan_jax.runtime.command_line import list_fields
from progan_jax.training.validation import field_faults

_KINDS = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text",
}

# Shared fields that may change between restarts: they affect where and how a run is
# executed, or how long it is. Bits may change with some of them, by rounding, but
# neither the order of the images nor the schedule.
_FREE_FIELDS = (
    "data.data_dir",
    "data.feed",
    "data.resident_gib",
    "data.max_memory_mib",
    "data.stream_workers",
    "schedule.microbatch",
    "schedule.plateau_evaluations",
    "schedule.total_kimg",
    "train.grid_ticks",
    "train.snapshot_ticks",
    "train.snapshot_networks",
    "train.checkpoint_ticks",
    "train.keep_checkpoints",
    "train.max_skipped",
    "train.writers",
    "train.push_to_hub",
    "train.hub_licence",
    "runtime.pairs_per_dispatch",
    "runtime.compile_ahead",
    "runtime.num_devices",
)
# Shared fields that the first runs lack; those runs did what the defaults in
# configs/base.py say. The family's options are marked in their definition.
_YOUNGER_FIELDS = (
    "family",
    "init_from",
    "data.augment",
    "data.dequantise",
    "data.truncate_labels",
    "optim.d_beta2",
    "optim.ema_rampup",
    "runtime.deterministic",
    "train.grid_by_class",
)


def is_free(field: str) -> bool:
    """Returns whether a run may continue with another value of a field."""
    group, _, name = field.partition(".")
    options = {n for f in FAMILIES.values() for n in marked_fields(f.Options, "free")}
    return (
        field in _FREE_FIELDS
        or group == "eval"
        or (group == "model" and name in options)
    )


def complete_config(
    stored: Mapping[str, Any], otherwise: ml_collections.ConfigDict | None = None
) -> Any:
    """Returns a stored configuration, completed by the fields that it may lack.

    Args:
      stored: Its fields, in groups.
      otherwise: Has the free fields that are not stored; configs/base.py by default.

    Raises:
      ValueError: if a field that every version has stored is missing, or if a field has
        another type than in configs/base.py or an invalid value.
    """
    try:
        config: Any = ml_collections.ConfigDict(stored)
    except AttributeError as error:  # A field is called "__class__" or the like.
        raise ValueError(f"its config holds {error}") from error
    family = stored.get("family", DEFAULT)
    if family not in list(FAMILIES):  # A list: it need not be hashable.
        raise _unfit("family", family, f"one of {', '.join(FAMILIES)}")
    fields = list_fields(base.get_config(family))
    known = fields if otherwise is None else fields | list_fields(otherwise)
    for field, example in fields.items():
        *groups, name = field.split(".")
        group = _open_groups(config, groups)
        if name not in group:
            _check_younger(field, FAMILIES[family])
            group[name] = (known if is_free(field) else fields)[field]
        elif not _fits(group[name], example):
            raise _unfit(field, group[name], _KINDS[type(example)])
    if fault := next(field_faults(config), ""):
        raise ValueError(fault)
    return config


def _open_groups(config: Any, names: list[str]) -> Any:
    for name in names:
        if name not in config:
            raise ValueError(f"it has no config.{name}")
        config = config[name]
        if not isinstance(config, ml_collections.ConfigDict):
            raise _unfit(name, config, "fields")
    return config


def _check_younger(field: str, family: Family) -> None:
    """Raises ValueError if a field is one that every version has stored."""
    kinds = {"model": family.Options, "loss": family.LossOptions}
    group, _, name = field.rpartition(".")
    of_family = group in kinds and name in marked_fields(kinds[group], "younger")
    if not (of_family or is_free(field) or field in _YOUNGER_FIELDS):
        raise ValueError(f"it has no config.{field}")


def _fits(value: Any, example: object) -> bool:
    # Not isinstance, for which True is an int.
    if type(value) not in (int, float):
        return type(value) is type(example)
    whole = type(value) is int and abs(value) < 2**63
    if type(example) is float:
        return whole or abs(value) <= sys.float_info.max  # No NaN, no infinity.
    return whole and type(example) is int


def _unfit(field: str, value: object, kind: str) -> ValueError:
    shown = " ".join(repr(value).split())[:40]
    return ValueError(f"it has config.{field} = {shown} and needs {kind} there")
