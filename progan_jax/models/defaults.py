"""What a family does unless it has a way of its own; see `families.Family`."""

from typing import Any

import jax

from progan_jax.models.common import (
    Params,
    Progress,
    Variables,
    generate_in_training,
)


def loss_at(options: Any, loss: Any, resolution: int) -> Any:
    """Returns the options of the losses: stages share them."""
    del options, resolution
    return loss


def load_frozen(options: Any, loss: Any, blank: bool) -> None:
    """Returns None: there are no arrays but those that are trained."""
    del options, loss, blank


def files(options: Any, loss: Any) -> dict[str, dict[str, str]]:
    """Returns {}: there is no frozen network."""
    del options, loss
    return {}


def begin(options: Any, born: Variables) -> Variables:
    """Returns the variables as they are drawn: no file has a part in them."""
    del options
    return born


def num_to_fit(options: Any, num_images: int) -> int:
    """Returns 0: no discriminator is fitted to real images before it is trained."""
    del options, num_images
    return 0


def fit(discriminator: Any, d_params: Params, images: jax.Array) -> Params:
    """Returns D's parameters as they are; see `num_to_fit`."""
    del discriminator, images
    return d_params


def make_fakes(
    generator: Any,
    variables: dict[str, Any],
    draws: Any,
    labels: jax.Array | None,
    progress: Progress,
) -> tuple[jax.Array, dict[str, Any]]:
    """Returns G's images of the latents `draws.z`, and G's stats after the call."""
    return generate_in_training(generator, variables, draws.z, labels, progress)
