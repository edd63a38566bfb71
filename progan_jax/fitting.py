"""What a new run's discriminator takes from the images before its first step.

Minibatch discrimination is fitted to the distances that it finds in reals; nothing
else is. Source: the paper's program, which does so once, where a run starts.
"""

from typing import Any

import jax
import numpy as np

from progan_jax.data.index_stream import IndexStream
from progan_jax.data.pyramid import Pyramid
from progan_jax.images import to_float
from progan_jax.networks.minibatch import calibrate
from progan_jax.networks.progan import Discriminator
from progan_jax.state import TrainState

_NUM_IMAGES = 500  # One batch of them, in the paper's program.


def images_to_fit(
    discriminator: Discriminator, pyramid: Pyramid | None, seed: int
) -> np.ndarray | None:
    """Returns the first images of the run, or None if there is nothing to fit.

    Args:
      discriminator: At the run's first resolution, r.
      pyramid: The set; None for a state that never trains on one.
      seed: The run's, which orders the images.

    Returns:
      uint8 [N, r, r, C]: 500, or all of a smaller set, less what would cut a group of
      the minibatch statistic.
    """
    if pyramid is None or not discriminator.minibatch_discrimination:
        return None
    num = min(_NUM_IMAGES, pyramid.num_images)
    if discriminator.minibatch_stddev and discriminator.mbstd_group_size:
        num -= num % min(discriminator.mbstd_group_size, num)
    stream = IndexStream(seed, pyramid.num_images, mirror=False)
    indices, _ = stream.take(0, num)
    return pyramid.levels[discriminator.resolution][indices]


def fit_to_reals(
    state: TrainState, reals: jax.Array, discriminator: Discriminator
) -> TrainState:
    """Fits D's minibatch discrimination to real images, all of them one batch.

    Args:
      state: New.
      reals: uint8 [N, r, r, C].
      discriminator: With minibatch discrimination.
    """
    variables, images = {"params": state.d_params}, to_float(reals)
    found: Any = discriminator.apply(variables, images, 1.0, mutable=["intermediates"])
    block, layer = "block_4x4", "discrimination"
    (distances,) = found[1]["intermediates"][block][layer]["distances"]
    params = state.d_params[block]
    fitted = params | {layer: calibrate(params[layer], distances)}
    return state.replace(d_params=state.d_params | {block: fitted})
