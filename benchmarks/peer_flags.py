"""Flags that name another program, and what is asked of it; see benchmarks/peers.py."""

import ast
import sys
from pathlib import Path
from typing import Any

from absl import flags

from progan_jax.errors import UserError
from progan_jax.models.layers import num_features
from progan_jax.training.config import make_schedule

_PROGRAM = Path(__file__).with_name("peers.py")


def peer_names() -> list[str]:
    """Returns the programs of benchmarks/peers.py.

    They are read from its source: it needs PyTorch, and another Python may run it.
    """
    body = ast.parse(_PROGRAM.read_text()).body
    functions = (node for node in body if isinstance(node, ast.FunctionDef))
    return [node.name for node in functions if node.decorator_list]


PEER = flags.DEFINE_enum("peer", None, peer_names(), "Program to compare with.")
PEER_PATH = flags.DEFINE_string("peer_path", None, "Folder of its checkout.")
PEER_PYTHON = flags.DEFINE_string("peer_python", sys.executable, "Python with PyTorch.")


def check_peer_path() -> None:
    """Raises UserError if a flag is missing, or names a folder that is not there."""
    given = [flag.name for flag in (PEER_PATH, PEER_PYTHON) if flag.present]
    if given and not PEER.value:
        raise UserError(
            f"--{given[0]} is without effect alone; name the program with "
            + " or ".join(f"--peer={name}" for name in peer_names())
        )
    if PEER.value and not (PEER_PATH.value and Path(PEER_PATH.value).is_dir()):
        raise UserError(
            f"--peer_path={PEER_PATH.value}: there is no such folder; name a checkout "
            f"of {PEER.value} (benchmarks/peers.py has its address)"
        )


def peer_command() -> list[str]:
    """Returns the command that answers one request."""
    return [PEER_PYTHON.value, str(_PROGRAM)]


def peer_request(config: Any, resolution: int, seconds: float) -> dict[str, Any]:
    """Returns what the peer is asked for: our widths, batch and dtype.

    Args:
      config: A run's configuration.
      resolution: Resolution of the stage.
      seconds: Minimum length of the timed part; 0 only builds the networks.
    """
    model = config.model
    fmaps = (model.fmap_base, model.fmap_decay, model.fmap_max)
    stages = range(1, resolution.bit_length() - 1)
    return {
        "peer": PEER.value,
        "path": str(Path(PEER_PATH.value or "").resolve()),
        "widths": [num_features(stage, *fmaps) for stage in stages],
        "latent_size": model.latent_size,
        "channels": model.channels,
        "batch": make_schedule(config).batch_size[resolution],
        "dtype": model.dtype,
        "seconds": seconds,
    }
