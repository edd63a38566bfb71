"""The mesh of devices and how arrays lie on it; the only file that makes meshes."""

from collections.abc import Sequence
from typing import Any

import jax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from progan_jax.errors import UserError

AXIS = "data"


def make_mesh(devices: Sequence[Any] | None = None) -> Mesh:
    """Returns a 1-D mesh named "data" over the devices, all of them by default."""
    devices = jax.devices() if devices is None else devices
    # Auto: the compiler propagates the shardings of the arguments through the step.
    return jax.make_mesh(
        (len(devices),), (AXIS,), axis_types=(AxisType.Auto,), devices=devices
    )


def replicated(mesh: Mesh) -> NamedSharding:
    """Returns the sharding of what every device holds whole."""
    return NamedSharding(mesh, PartitionSpec())


def batched(mesh: Mesh, axis: int = 0) -> NamedSharding:
    """Returns the sharding that splits one axis, the batch, over the devices."""
    return NamedSharding(mesh, PartitionSpec(*[None] * axis, AXIS))


def select_devices(number: int) -> list[Any]:
    """Returns the first `number` devices, all of them for 0.

    Raises:
      UserError: if there are fewer.
    """
    devices = jax.devices()
    if number > len(devices):
        raise UserError(
            f"config.runtime.num_devices = {number} exceeds the {len(devices)} "
            f"{devices[0].platform} device(s) of this machine; lower it, or 0 for all"
        )
    return devices[: number or None]
