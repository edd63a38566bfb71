"""The one line that explains why JAX finds no device to start on."""

import os
import re
import sys
from collections import Counter

from progan_jax.errors import UserError

# By which a user chooses the devices that JAX sees.
_VARIABLES = ("JAX_PLATFORMS", "CUDA_VISIBLE_DEVICES")

_FAILURE = re.compile(r"Unable to initialize backend '.*?': (.*?)(\((set|you) .*)?")


def check_devices() -> None:
    """Starts JAX on its devices.

    Raises:
      UserError: if it finds none.
    """
    import jax

    try:
        jax.devices()
    except (RuntimeError, AssertionError) as error:
        message = explain_missing_devices(error)
        if message is None:
            raise
        # JAX's error says no more, and would only lengthen the traceback.
        raise UserError(message) from None


def explain_missing_devices(error: Exception) -> str | None:
    """Returns one line if an error says that JAX found no device, else None.

    Args:
      error: Any error; a missing CUDA device raises a bare AssertionError.
    """
    match = _FAILURE.fullmatch(" ".join(str(error).split()))
    if match is None and (str(error) or "jax" not in sys.modules or _kinds()):
        return None
    reason = f" ({match[1].strip(' .')})" if match else ""
    given = [f"{name}={os.environ[name]}" for name in _VARIABLES if name in os.environ]
    return (
        f"{' '.join(given) or 'JAX'}: there is no such device{reason}; there is "
        f"{_kinds_without_variable() or 'none'}; unset the variable, or install what "
        "the device needs, as in pip install 'jax[cuda13]'"
    )


def _kinds() -> str:
    """Returns the devices that JAX finds, such as "2 x cpu"; "" without any."""
    import jax

    try:
        kinds = Counter(device.device_kind for device in jax.devices())
    except (RuntimeError, AssertionError):
        return ""
    return ", ".join(f"{count} x {kind}" for kind, count in kinds.items())


def _kinds_without_variable() -> str:
    import jax
    from jax.extend.backend import clear_backends

    asked_for = jax.config.jax_platforms
    jax.config.update("jax_platforms", "")
    try:
        return _kinds()
    finally:
        # A session must not silently switch devices.
        jax.config.update("jax_platforms", asked_for)
        clear_backends()
