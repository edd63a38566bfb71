"""Whether all processes of a run were asked for the same run, of the same images."""

from typing import Any

import jax
import ml_collections

from progan_jax.data.pyramid import Pyramid
from progan_jax.errors import UserError
from progan_jax.runtime.command_line import list_fields
from progan_jax.runtime.distributed import share_json, together

# Where and how a process reads its images is its own affair.
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
