"""Flags that name another program, and what is asked of it; see benchmarks/peers.py."""

import ast
from pathlib import Path
from typing import Any

from absl import flags

from benchmarks.checkouts import PEER_PATH, PEER_PYTHON, check_checkout
from progan_jax.errors import UserError
from progan_jax.models.layers import num_features
from progan_jax.training.config import make_schedule

_PROGRAM = Path(__file__).with_name("peers.py")
_DEFAULT = "gan_zoo"  # Of --peer_path alone.

# By the family that they train.
PEERS_OF = {"progan": ("gan_zoo", "rosinality"), "stylegan": ("style_based_gan",)}


def peer_names() -> list[str]:
    """Returns the programs of benchmarks/peers.py.

    They are read from its source: it needs PyTorch, and another Python may run it.
    """
    body = ast.parse(_PROGRAM.read_text()).body
    functions = (node for node in body if isinstance(node, ast.FunctionDef))
    return [node.name for node in functions if node.decorator_list]


PEER = flags.DEFINE_enum("peer", None, peer_names(), "Program to compare with.")


def peer() -> str | None:
    """Returns the program to compare with; None for none."""
    return PEER.value or (_DEFAULT if PEER_PATH.value else None)


def check_peer_path() -> None:
    """Raises UserError unless the flags name a program and a folder that is there."""
    check_checkout(peer(), "benchmarks/peers.py")


def check_family(family: str) -> None:
    """Raises UserError unless the peer trains this family of models."""
    peers = PEERS_OF.get(family, ())
    if peer() not in peers:
        raise UserError(
            f"--peer={peer()} has no steps of config.family = {family!r}; name "
            f"{' or '.join(peers) or 'no peer'}"
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
        "peer": peer(),
        "path": str(Path(PEER_PATH.value or "").resolve()),
        "widths": [num_features(stage, *fmaps) for stage in stages],
        "latent_size": model.latent_size,
        "channels": model.channels,
        "batch": make_schedule(config).batch_size[resolution],
        "dtype": model.dtype,
        "seconds": seconds,
    }
