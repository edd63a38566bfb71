"""Fit of a new discriminator's minibatch discrimination to real images.

Source: the paper's program, which does so once, at the start of a run.
"""

from typing import Any

import jax

from progan_jax.models.common import Params
from progan_jax.models.progan.ablation import calibrate
from progan_jax.models.progan.options import Options

_NUM_IMAGES = 500  # As a single batch, in the paper's program.


def num_to_fit(options: Options, there: int) -> int:
    """Returns the number of real images to fit to; 0 if there is nothing to fit.

    Args:
      options: Options of the networks.
      there: Number of images in the set.

    Returns:
      500, or the size of a smaller set, rounded down to complete groups of the
      minibatch statistic.
    """
    if not options.minibatch_discrimination:
        return 0
    num = min(_NUM_IMAGES, there)
    return num - num % min(options.stddev_group, num) if options.stddev_group else num


def fit(discriminator: Any, d_params: Params, images: jax.Array) -> Params:
    """Returns D's parameters, fitted to one batch of real images.

    Args:
      discriminator: D with minibatch discrimination.
      d_params: New parameters of D.
      images: [N, r, r, C] in [-1, 1].
    """
    variables = {"params": d_params}
    found: Any = discriminator.apply(variables, images, mutable=["intermediates"])
    block, layer = "block_4x4", "discrimination"
    (distances,) = found[1]["intermediates"][block][layer]["distances"]
    params = d_params[block]
    fitted = params | {layer: calibrate(params[layer], distances)}
    return d_params | {block: fitted}
