"""The mesh of devices and the shardings on it; the only file that makes meshes."""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
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
    """Returns the sharding of arrays that every device holds completely."""
    return NamedSharding(mesh, PartitionSpec())


def batched(mesh: Mesh, axis: int = 0) -> NamedSharding:
    """Returns the sharding that splits one axis, the batch, over the devices."""
    return NamedSharding(mesh, PartitionSpec(*[None] * axis, AXIS))


def lay_out(array: np.ndarray, sharding: NamedSharding) -> jax.Array:
    """Returns a sharded array, of which every process has its own part or all of it."""
    return jax.make_array_from_callback(
        array.shape, sharding, lambda index: array[index]
    )


def local(tree: Any) -> Any:
    """Returns replicated arrays as those of one device of this process."""
    return jax.tree.map(lambda array: array.addressable_data(0), tree)


def select_devices(number: int) -> list[Any]:
    """Returns the first `number` devices, the same number of each process; all for 0.

    Raises:
      UserError: if there are fewer, or processes would have different numbers.
    """
    if number < 0:
        raise UserError(
            f"config.runtime.num_devices = {number} must be at least 0; raise it, or "
            "0 for all"
        )
    devices, processes = jax.devices(), jax.process_count()
    if number > len(devices):
        where = "this machine" if processes == 1 else f"{processes} processes"
        raise UserError(
            f"config.runtime.num_devices = {number} exceeds the {len(devices)} "
            f"{devices[0].platform} device(s) of {where}; lower it, or 0 for all"
        )
    if number % processes:
        raise UserError(
            f"config.runtime.num_devices = {number} is not divisible by {processes} "
            "processes; choose a multiple, or 0 for all"
        )
    if not number:
        return devices
    each = number // processes
    return [d for p in range(processes) for d in jax.local_devices(p)[:each]]
