"""Devices of TPUs that this machine does not have, to compile for."""

import importlib.util
import os
from typing import Any

import jax
from jax.experimental import topologies

from progan_jax.errors import UserError

# HBM that a program may use on one chip, GiB, by device kind: what libtpu 0.0.42.1 says
# when a program needs more. The system reserves the rest of the chip.
_HBM_GIB = {
    "TPU v4": 30.75,
    "TPU v5 lite": 15.75,
    "TPU v5": 95.74,
    "TPU v6 lite": 31.25,
}

_EXAMPLES = "v4:2x2x4, v5e:4x4, v5p:2x2x4 or v6e:4x4"

# libtpu asks which TPU the machine has, and locks the one that it expects.
_NO_TPU_HERE = {
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "TPU_ACCELERATOR_TYPE": "v5litepod-16",  # Any that it knows.
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
}


def topology_devices(topology: str) -> list[Any]:
    """Returns one device for each chip of a TPU slice; nothing can run on them.

    Args:
      topology: Generation and shape, such as "v5e:4x4".

    Raises:
      UserError: if there is no such slice, or libtpu is not installed.
    """
    if importlib.util.find_spec("libtpu") is None:
        raise UserError(
            f"--topology={topology}: compiling for a TPU needs libtpu, which is not "
            "installed; run pip install 'jax[tpu]'"
        )
    jax.config.update("jax_platforms", "cpu")
    os.environ.update(_NO_TPU_HERE)
    # Without it a v4 chip counts as two devices, which JAX no longer does.
    options = {"chip_config_name": "megacore"} if topology.startswith("v4:") else {}
    try:
        devices = topologies.get_topology_desc(topology, "tpu", **options).devices
    except jax.errors.JaxRuntimeError as error:
        reason = " ".join(str(error).split("\n")[0].split())
        raise UserError(
            f"--topology={topology}: there is no such TPU ({reason}); write generation "
            f"and shape, as in {_EXAMPLES}"
        ) from None
    return list(devices)


def hbm_bytes(device: Any) -> float | None:
    """Returns the memory that a program may use on a device; None if unknown."""
    gib = _HBM_GIB.get(device.device_kind)
    return None if gib is None else gib * 2**30
