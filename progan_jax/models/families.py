"""The families of models by their names in `config.family`, and their interface.

A family is a package of `progan_jax.models` whose `__init__` has the names of `Family`.
Nothing outside `models` imports a family by its own name.
"""

from typing import Any, Protocol

import jax

from progan_jax.models import progan
from progan_jax.models.common import LossInputs, LossOutputs, LossState, Params
from progan_jax.models.progan import NETWORKS, import_network

__all__ = ["DEFAULT", "FAMILIES", "NETWORKS", "Family", "import_network"]


class Family(Protocol):
    """Interface of a family; `options` and `loss` are instances of its dataclasses.

    Attributes:
      Options: Dataclass of the fields of `config.model`; see `models.options`.
      LossOptions: Dataclass of the fields of `config.loss`.
      G_TAKES_REALS: Whether G's loss needs a batch of real images.
    """

    Options: Any
    LossOptions: Any
    G_TAKES_REALS: bool

    def joint_faults(self, options: Any, loss: Any, /) -> Any:
        """Yields a line for each combination of fields that is invalid."""

    def make_networks(
        self, options: Any, resolution: int, per_device_batch: int = 0, /
    ) -> tuple[Any, Any]:
        """Returns G and D of one resolution's stage, Flax modules."""
        ...

    def draw_for_d(
        self, key: jax.Array, n: int, options: Any, loss: Any, log_probs: Any, /
    ) -> Any:
        """Returns the random arrays of a D step: latents `z`, `labels`, and any others.

        Each has n rows, one per image. If `labels` is None, fakes take the classes of
        the real images. `log_probs` holds the classes' log frequencies.
        """

    def draw_for_g(
        self, key: jax.Array, n: int, options: Any, loss: Any, log_probs: Any, /
    ) -> Any:
        """Returns the random arrays of a G step, likewise."""

    def init_loss_state(self, loss: Any, /) -> LossState:
        """Returns what the losses carry from step to step, at a run's start."""
        ...

    def d_loss(
        self, d_params: Params, inputs: LossInputs, /
    ) -> tuple[jax.Array, LossOutputs]:
        """Returns D's loss, to be differentiated with respect to `d_params`."""
        ...

    def g_loss(
        self, g_params: Params, inputs: LossInputs, /
    ) -> tuple[jax.Array, LossOutputs]:
        """Returns G's loss on the given fakes, or on fakes made with `g_params`."""
        ...

    def num_to_fit(self, options: Any, num_images: int, /) -> int:
        """Returns the number of real images that a new D is fitted to; 0 for none."""
        ...

    def fit(self, discriminator: Any, d_params: Params, images: jax.Array, /) -> Params:
        """Returns a new D's parameters, fitted to images [N, r, r, C] in [-1, 1]."""
        ...


FAMILIES: dict[str, Family] = {"progan": progan}

DEFAULT = "progan"  # For configurations and snapshots that name no family.
