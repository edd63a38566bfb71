"""The paper's unconditional CIFAR-10 recipe (Karras et al. 2018, table 3).

The paper reports an Inception score of 8.80 +- 0.05 for the best run and 8.56 +- 0.06
over ten. The recipe differs from the others in gamma = 750, simultaneous updates, 128
feature maps, and a minibatch statistic over the entire batch of 16. Run it with
    python -m progan_jax.main --config=configs/cifar10.py --config.data.data_dir=DIR
"""

import ml_collections

from progan_jax.configs import base


def get_config() -> ml_collections.ConfigDict:
    """Returns the recipe of the paper's program."""
    config = base.get_config()
    config.data.name = "cifar10"
    config.model.latent_size = 128
    config.model.fmap_base = 4096
    config.model.fmap_max = 128
    config.loss.gp_target = 750.0
    config.optim.simultaneous = True
    config.schedule.total_kimg = 20000.0
    config.schedule.stabilise_kimg = "400"
    config.schedule.fade_kimg = "400"
    config.schedule.rampup_kimg = 0.0
    return config
