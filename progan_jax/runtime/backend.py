"""Why JAX finds no device to start on, in one line."""

import os
import re
import sys
from collections import Counter

# By which a user chooses the devices that JAX sees.
_VARIABLES = ("JAX_PLATFORMS", "CUDA_VISIBLE_DEVICES")
_FAILURE = re.compile(r"Unable to initialize backend '.*?': (.*?)(\((set|you) .*)?")


def explain_missing_devices(error: Exception) -> str | None:
    """Returns one line if an error says that JAX found no device, else None.

    Args:
      error: Of any kind; that of a missing CUDA device is a bare AssertionError.
    """
    match = _FAILURE.fullmatch(" ".join(str(error).split()))
    if match is None and (str(error) or "jax" not in sys.modules or _starts()):
        return None
    reason = f" ({match[1].strip(' .')})" if match else ""
    given = [f"{name}={os.environ[name]}" for name in _VARIABLES if name in os.environ]
    return (
        f"{' '.join(given) or 'JAX'}: there is no such device{reason}; there is "
        f"{_devices()}; unset the variable, or install what the device needs, as in "
        "pip install 'progan_jax[cuda]'"
    )


def _starts() -> bool:
    import jax

    try:
        return bool(jax.devices())
    except (RuntimeError, AssertionError):
        return False


def _devices() -> str:
    """Returns those that JAX finds by itself."""
    import jax

    jax.config.update("jax_platforms", "")
    try:
        kinds = Counter(device.device_kind for device in jax.devices())
    except (RuntimeError, AssertionError):
        return "none"
    return ", ".join(f"{count} x {kind}" for kind, count in kinds.items())
