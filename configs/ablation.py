"""The rows of the paper's ablation (Karras et al. 2018, table 1), at 128x128.

ablation.py:SET,ROW is row a, b, c, d, e*, e, f, g or h, with SET celeba or
lsun_bedroom. For e*, which shells expand as a pattern, write e_star. Each row adds one
change to the row before; e* has minibatch discrimination where e has the minibatch
standard deviation. At 128x128 all networks are a quarter as wide as those of base.py.
The paper describes row h as the converged g without giving its length; ours is twice
that of g. The paper's results are in progan_jax/experiments/tables.py. Prepare the sets
as described in celeba.py and lsun.py. Run one row with
    python -m progan_jax.main --config=configs/ablation.py:celeba,g \
        --config.data.data_dir=DIR
or all of them with
    python -m progan_jax.tools.reproduce table1_celeba -- --config.data.data_dir=DIR
"""

import ml_collections

from progan_jax.configs import base
from progan_jax.errors import UserError

# Name of the set in TFDS, and whether it is mirrored, by the name in the argument.
SETS = {"celeba": ("celeba", True), "lsun_bedroom": ("lsun/bedroom", False)}
ROWS = ("a", "b", "c", "d", "e*", "e", "f", "g", "h")


def get_config(argument: str = "") -> ml_collections.ConfigDict:
    """Returns one row's recipe.

    Args:
      argument: SET,ROW.

    Raises:
      UserError: if it is anything else.
    """
    name, _, row = argument.partition(",")
    row = "e*" if row == "e_star" else row
    if name not in SETS or row not in ROWS:
        raise UserError(
            f"--config=ablation:{argument} must be SET,ROW with SET one of "
            f"{', '.join(SETS)} and ROW one of {', '.join(ROWS)}; write celeba,g"
        )
    config = base.get_config()
    config.data.name, config.data.mirror = SETS[name]
    config.model.resolution = 128
    config.model.fmap_base = 2048
    config.schedule.total_kimg = 20000.0 if row == "h" else 10000.0
    config.schedule.stabilise_kimg = config.schedule.fade_kimg = "800"
    config.schedule.rampup_kimg = 0.0
    if row in ("a", "b", "c"):
        _as_gulrajani_et_al(config, batch_size=16 if row == "c" else 64)
    if row == "a":
        config.schedule.start_resolution = 128
    _leave_out(config, row)
    return config


def _as_gulrajani_et_al(config: ml_collections.ConfigDict, batch_size: int) -> None:
    """Sets networks and training to those of Gulrajani et al. 2017."""
    model, optim = config.model, config.optim
    model.latent_size = 128
    model.normalize_latents = False
    model.activation = "relu"
    model.g_norm, model.d_norm = "batch", "layer"
    model.tanh = True
    config.loss.drift_weight = 0.0
    optim.d_repeats = 5
    optim.beta2 = 0.9
    # Same half-life in images: a pair shows d_repeats = 5 batches here.
    optim.ema_decay = 0.999 ** (5 * batch_size // 16)
    config.schedule.batch_size = str(batch_size)


def _leave_out(config: ml_collections.ConfigDict, row: str) -> None:
    """Removes the changes of later rows."""
    model, schedule = config.model, config.schedule
    if row in ("a", "b", "c", "d", "e*"):
        model.minibatch_stddev = False
    if row == "e*":
        model.minibatch_discrimination = 100
    if row in ("a", "b", "c", "d", "e*", "e"):
        model.equalized = False
        schedule.g_learning_rate = schedule.d_learning_rate = "0.0001"
    if row not in ("g", "h"):
        model.pixel_norm = False
