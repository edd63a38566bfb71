"""The paper's discrete mode test (Karras et al. 2018, table 4), at 32x32.

In mnist_modes.py:K,VARIANT, D has K = 4 or 2 times fewer feature maps than G: "K = 1/4"
and "K = 1/2" in the paper. VARIANT is
    wgan_gp      batch norm in both networks
    our_norm     equalized learning rate and pixel norm instead
    mbstd        the same with the minibatch standard deviation
    progression  the same with growing, trained for 1.5 times as many images
An image is three MNIST digits, one in each channel, so there are 1,000 modes. A
classifier of digits counts the modes that occur in the samples. Prepare the images,
train the classifier and the networks, and count with
    python -m progan_jax.tools.prepare_data stacked_mnist:PATH --out=DIR --resolution=32
    python -m progan_jax.tools.train_classifier --config=configs/digits.py \
        --config.data.name=mnist --config.data.data_dir=DIR --architecture=digit \
        --epochs=2 --out=classifiers/mnist
    python -m progan_jax.main --config=configs/mnist_modes.py:4,progression \
        --config.data.data_dir=DIR --workdir=runs/modes
    python -m progan_jax.main --config=configs/mnist_modes.py:4,progression \
        --config.data.data_dir=DIR --workdir=runs/modes --mode=eval \
        --config.eval.classifier=classifiers/mnist
or run the complete table with
    python -m progan_jax.tools.reproduce mnist_modes -- --config.data.data_dir=DIR \
        --config.eval.classifier=classifiers/mnist
The paper's results are in progan_jax/experiments/tables.py.
"""

import ml_collections

from progan_jax.configs import base
from progan_jax.errors import UserError

DIVISORS = ("4", "2")
VARIANTS = ("wgan_gp", "our_norm", "mbstd", "progression")


def get_config(argument: str = "") -> ml_collections.ConfigDict:
    """Returns the recipe of one variant.

    Args:
      argument: K,VARIANT.

    Raises:
      UserError: if it is anything else.
    """
    divisor, _, variant = argument.partition(",")
    if divisor not in DIVISORS or variant not in VARIANTS:
        raise UserError(
            f"--config=mnist_modes:{argument} must be K,VARIANT with K one "
            f"of {', '.join(DIVISORS)} and VARIANT one of {', '.join(VARIANTS)}; write "
            "4,progression"
        )
    config = base.get_config()
    config.seed = 0
    config.data.name = "stacked_mnist"
    config.loss.drift_weight = 0.0
    config.optim.d_repeats = 5
    config.schedule.batch_size = "64"
    config.eval.metrics = "modes"
    _use_small_networks(config, int(divisor))
    if variant == "wgan_gp":
        _use_batch_norm(config)
    config.model.minibatch_stddev = variant in ("mbstd", "progression")
    _set_length(config, grows=variant == "progression")
    return config


def _use_small_networks(config: ml_collections.ConfigDict, divisor: int) -> None:
    model = config.model
    model.topology = "mode_test"
    model.d_divisor = divisor
    model.latent_size = 64
    model.fmap_base = 128
    model.fmap_max = 64
    model.g_slope = 0.3
    model.tanh = True


def _use_batch_norm(config: ml_collections.ConfigDict) -> None:
    model = config.model
    model.equalized = model.pixel_norm = False
    model.g_norm = model.d_norm = "batch"


def _set_length(config: ml_collections.ConfigDict, *, grows: bool) -> None:
    schedule = config.schedule
    if grows:
        schedule.total_kimg = 15000.0
        schedule.stabilise_kimg, schedule.fade_kimg = "500", "2000"
    else:
        schedule.start_resolution = 32
        schedule.total_kimg = 10000.0
