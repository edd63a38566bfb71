"""StyleGAN on FFHQ (Karras et al. 2019): the recipe of the authors' published network.

stylegan_ffhq.py:SET,PRESET has SET ffhq (1024x1024), ffhq512 or ffhq256, and PRESET
1gpu, 2gpus, 4gpus or 8gpus; by default ffhq,8gpus. The presets differ in the size of
batches alone; all published results are of 8gpus, and the authors warn that the others
may differ from them. A preset runs on any number of devices for which each device gets
complete groups of four images. Where memory is short, set --config.schedule.microbatch
or --config.model.remat=blocks.

Configuration F of the paper, with the logistic loss and R1: the authors' file reaches a
Fréchet Inception distance of 4.40 (4.42 by their README). By their README a training
takes 6 days 14 hours on 8 V100s, 41 days on one; 256x256 takes 3 days 8 hours on 8.

Prepare the 70,000 images once, for all sets, and run with
    python -m progan_jax.tools.prepare_data folder:images1024x1024 --name=ffhq \
        --out=DIR --resolution=1024
    python -m progan_jax.main --config=configs/stylegan_ffhq.py:ffhq,8gpus \
        --config.data.data_dir=DIR
"""

import ml_collections

from progan_jax.configs import base
from progan_jax.errors import UserError

# The same images at three final resolutions.
RESOLUTIONS = {"ffhq": 1024, "ffhq512": 512, "ffhq256": 256}

# Size of batches, by the number of GPUs of the authors' program.
PRESETS = {
    "1gpu": "4, 4:128, 8:128, 16:128, 32:64, 64:32, 128:16, 256:8",
    "2gpus": "8, 4:256, 8:256, 16:128, 32:64, 64:32, 128:16",
    "4gpus": "16, 4:512, 8:256, 16:128, 32:64, 64:32",
    "8gpus": "32, 4:512, 8:256, 16:128, 32:64",
}

# The same for all presets.
_RATES = "0.001, 128:0.0015, 256:0.002, 512:0.003, 1024:0.003"


def get_config(argument: str = "ffhq") -> ml_collections.ConfigDict:
    """Returns the recipe of the authors' program.

    Args:
      argument: SET or SET,PRESET.

    Raises:
      UserError: if it is anything else.
    """
    name, preset = split_argument("stylegan_ffhq", argument, RESOLUTIONS)
    config = program_config(preset)
    config.data.name = "ffhq"
    config.data.mirror = True
    config.model.resolution = RESOLUTIONS[name]
    return config


def program_config(preset: str = "8gpus") -> ml_collections.ConfigDict:
    """Returns the recipe of the authors' program, without a data set.

    Args:
      preset: One of `PRESETS`.
    """
    config = base.get_config("stylegan")
    config.data.requantise_fade = False
    config.optim.ema_half_life_kimg = 10.0
    config.optim.ema_after = "d_step"
    config.schedule.start_resolution = 8
    config.schedule.total_kimg = 25000.0
    config.schedule.rampup_kimg = 0.0
    config.schedule.quantum_pairs = 4
    config.schedule.batch_size = PRESETS[preset]
    config.schedule.g_learning_rate = _RATES
    config.schedule.d_learning_rate = _RATES
    config.train.tick_kimg = (
        "160, 8:140, 16:120, 32:100, 64:80, 128:60, 256:40, 512:30, 1024:20"
    )
    config.train.grid = "4k"
    config.train.grid_ticks = 1
    config.train.snapshot_ticks = 10
    config.eval.metrics = "fid"
    return config


def use_wgan_gp(config: ml_collections.ConfigDict) -> None:
    """Sets the losses of the paper's trainings on CelebA-HQ, and lower rates."""
    config.loss.kind = "wgan_gp"
    config.schedule.g_learning_rate = config.schedule.d_learning_rate = (
        "0.001, 128:0.0015, 256:0.002, 512:0.002, 1024:0.002"
    )


def split_argument(
    recipe: str, argument: str, names: dict[str, int] | tuple[str, ...]
) -> tuple[str, str]:
    """Splits NAME or NAME,PRESET; without a preset it is 8gpus.

    Args:
      recipe: Name of the recipe, for the message.
      argument: Its argument.
      names: The names that it knows.

    Raises:
      UserError: if the name or the preset is unknown.
    """
    name, comma, preset = argument.partition(",")
    preset = preset if comma else "8gpus"
    for given, known in ((name, names), (preset, PRESETS)):
        if given not in known:
            what = "NAME" if known is names else "PRESET"
            raise UserError(
                f"--config={recipe}:{argument}: {given!r} must be {what} of "
                f"{recipe}:NAME,PRESET, one of {', '.join(known)}; choose one"
            )
    return name, preset
