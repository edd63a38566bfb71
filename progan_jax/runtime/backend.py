"""Why JAX finds no device to start on, in one line."""

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
        # JAX's own error, which says no more, would only lengthen the traceback.
        raise UserError(message) from None


def explain_missing_devices(error: Exception) -> str | None:
    """Returns one line if an error says that JAX found no device, else None.

    Args:
      error: Of any kind; that of a missing CUDA device is a bare AssertionError.
    """
    match = _FAILURE.fullmatch(" ".join(str(error).split()))
    if match is None and (str(error) or "jax" not in sys.modules or _starts()):
        return None
    reason = f" ({_in_our_words(match[1])})" if match else ""
    given = [f"{name}={os.environ[name]}" for name in _VARIABLES if name in os.environ]
    return (
        f"{' '.join(given) or 'JAX'}: there is no such device{reason}; there is "
        f"{_devices()}; unset the variable, or install what the device needs, as in "
        "pip install 'progan_jax[cuda]'"
    )


def _in_our_words(reason: str) -> str:
    # It names what JAX tried last, such as rocm for gpu.
    if "not in the list of known backends" in reason:
        return "the installed JAX has no support for it"
    return reason.strip(" .")


def _starts() -> bool:
    import jax

    try:
        return bool(jax.devices())
    except (RuntimeError, AssertionError):
        return False


def _devices() -> str:
    """Returns those that JAX finds by itself; JAX is left as if it had not looked."""
    import jax
    from jax.extend.backend import clear_backends

    asked_for = jax.config.jax_platforms
    jax.config.update("jax_platforms", "")
    try:
        kinds = Counter(device.device_kind for device in jax.devices())
    except (RuntimeError, AssertionError):
        return "none"
    finally:
        # A session that goes on must not do so on other devices without a word.
        jax.config.update("jax_platforms", asked_for)
        clear_backends()
    return ", ".join(f"{count} x {kind}" for kind, count in kinds.items())
