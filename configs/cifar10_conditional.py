"""Class-conditional CIFAR-10: our recipe; the paper has no such run.

The paper's unconditional recipe with the ten classes, AC-GAN's class terms with weight
1 (the value of base.py) and gamma = 1, the paper's value for all other sets. There is
no published result to compare with. Run it with
    python -m progan_jax.main --config=configs/cifar10_conditional.py \
        --config.data.data_dir=DIR
"""

import ml_collections

from progan_jax.configs import cifar10


def get_config() -> ml_collections.ConfigDict:
    """Returns the unconditional recipe with classes."""
    config = cifar10.get_config()
    config.model.num_classes = 10
    config.loss.gp_target = 1.0
    return config
