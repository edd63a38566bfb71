"""The processes' agreement on what they train, and on which images and networks."""

from typing import Any

import jax
import ml_collections

from progan_jax.data.pyramid import Pyramid
from progan_jax.errors import UserError
from progan_jax.models.families import Files
from progan_jax.runtime.command_line import list_fields
from progan_jax.runtime.distributed import share_json, together

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
