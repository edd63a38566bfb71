"""What a new discriminator takes from real images once: its minibatch discrimination.

Source: the paper's program, which does so where a run starts.
"""

from typing import Any

import jax

from progan_jax.models.common import Params
from progan_jax.models.progan.ablation import calibrate
from progan_jax.models.progan.options import Options

_NUM_IMAGES = 500  # One batch of them, in the paper's program.


def num_to_fit(options: Options, there: int) -> int:
    """Returns the number of real images to fit to; 0 where there is nothing to fit.

    Args:
      options: Of the networks.
      there: Images of the set.

    Returns:
      500, or all of a smaller set, less what would cut a group of the minibatch
      statistic.
    """
    if not options.minibatch_discrimination:
        return 0
    num = min(_NUM_IMAGES, there)
    return num - num % min(options.stddev_group, num) if options.stddev_group else num


def fit(discriminator: Any, d_params: Params, images: jax.Array) -> Params:
    """Returns D's parameters, fitted to real images that are one batch.

    Args:
      discriminator: With minibatch discrimination.
      d_params: New ones.
      images: [N, r, r, C] in [-1, 1].
    """
    variables = {"params": d_params}
    found: Any = discriminator.apply(variables, images, mutable=["intermediates"])
    block, layer = "block_4x4", "discrimination"
    (distances,) = found[1]["intermediates"][block][layer]["distances"]
    params = d_params[block]
    fitted = params | {layer: calibrate(params[layer], distances)}
    return d_params | {block: fitted}
