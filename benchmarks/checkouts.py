"""Flags that name the checkout of another program, and the Python that runs it."""

import sys
from pathlib import Path

from absl import flags

from progan_jax.errors import UserError

PEER_PATH = flags.DEFINE_string("peer_path", None, "Folder of its checkout.")
PEER_PYTHON = flags.DEFINE_string("peer_python", sys.executable, "Python with PyTorch.")


def check_checkout(name: str | None, module: str) -> None:
    """Raises UserError unless the flags fit, and name a folder that is there.

    Args:
      name: The program to compare with; None for none.
      module: The file that has its address.
    """
    if PEER_PYTHON.present and not name:
        raise UserError(
            "--peer_python is without effect alone; name a checkout by --peer_path"
        )
    if name and not PEER_PATH.value:
        raise UserError(
            f"--peer={name} needs --peer_path, the folder of a checkout "
            f"({module} has its address)"
        )
    if name and not Path(PEER_PATH.value or "").is_dir():
        raise UserError(
            f"--peer_path={PEER_PATH.value}: there is no such folder; name a checkout "
            f"of {name} ({module} has its address)"
        )
