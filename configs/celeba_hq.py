"""CelebA-HQ at 1024x1024, the paper's recipe and the authors' later presets.

celeba_hq.py:paper is the recipe of the published images (Karras et al. 2018, appendix
A.1), which reports a Fréchet Inception distance of 7.30. According to the authors it
takes about a month on one V100.

celeba_hq.py:v2_1gpu, v2_2gpus, v2_4gpus and v2_8gpus are the presets of their later
TensorFlow program; `use_v2` sets all its differences. According to the authors they
took 2 weeks, 1 week, 3 days and 2 days on that many V100s. Here a preset runs on any
number of devices for which each device gets complete groups of four images.

celeba_hq.py:pod16 is ours, for 16 TPU chips or other devices: v2_8gpus with 64 images
at 32x32 and above, and our own learning rates. It has not been run to its end yet.

Download CelebA's photographs ("in the wild") and their landmarks. Prepare 30,000 images
and run with
    python -m progan_jax.tools.prepare_data celeba_hq:img_celeba --name=celeba_hq \
        --landmarks=list_landmarks_celeba.txt --keep=30000 --out=DIR --resolution=1024
    python -m progan_jax.main --config=configs/celeba_hq.py:v2_8gpus \
        --config.data.data_dir=DIR
"""

import ml_collections

from progan_jax.configs import base
from progan_jax.errors import UserError

# Presets of the later program: batch size, then the learning rate of G and D. Batches
# stay below its limits for one GPU (16 at 256x256, 8 at 512x512, 4 at 1024x1024).
V2_PRESETS = {
    "v2_1gpu": (
        "4, 4:128, 8:128, 16:128, 32:64, 64:32, 128:16, 256:8",
        "0.001, 1024:0.0015",
    ),
    "v2_2gpus": (
        "8, 4:256, 8:256, 16:128, 32:64, 64:32, 128:16",
        "0.001, 512:0.0015, 1024:0.002",
    ),
    "v2_4gpus": (
        "16, 4:512, 8:256, 16:128, 32:64, 64:32",
        "0.001, 256:0.0015, 512:0.002, 1024:0.003",
    ),
    "v2_8gpus": (
        "32, 4:512, 8:256, 16:128, 32:64",
        "0.001, 128:0.0015, 256:0.002, 512:0.003, 1024:0.003",
    ),
}
# Ours: none of their presets has more than 32 images at 64x64 and above. The learning
# rates of v2_8gpus increase one resolution earlier, up to the same 0.003.
OUR_PRESETS = {
    "pod16": (
        "64, 4:512, 8:256, 16:128",
        "0.001, 64:0.0015, 128:0.002, 256:0.003, 512:0.003, 1024:0.003",
    ),
}
PRESETS = ("paper", *V2_PRESETS, *OUR_PRESETS)


def get_config(preset: str = "paper") -> ml_collections.ConfigDict:
    """Returns a recipe of the authors' programs.

    Args:
      preset: One of `PRESETS`.

    Raises:
      UserError: if there is no such preset.
    """
    check_preset("celeba_hq", preset, preset)
    config = base.get_config()
    config.data.name = "celeba_hq"
    config.data.mirror = True
    config.model.resolution = 1024
    if preset == "paper":
        config.schedule.total_kimg = 19000.0
        config.schedule.stabilise_kimg = "800"
        config.schedule.fade_kimg = "800"
        config.schedule.batch_size = "16, 256:14, 512:6, 1024:3"
    else:
        use_v2(config, preset)
    return config


def use_v2(config: ml_collections.ConfigDict, preset: str) -> None:
    """Sets all differences between the authors' later program and the paper's.

    Args:
      config: A recipe with the values of base.py.
      preset: One of `V2_PRESETS` or `OUR_PRESETS`.
    """
    config.data.requantise_fade = False
    config.model.fused_resampling = True
    config.model.normalize_labels = True
    config.model.mbstd_group_size = 4
    config.loss.fake_labels = "reals"
    config.optim.ema_after = "d_step"
    config.schedule.total_kimg = 12000.0
    config.schedule.rampup_kimg = 0.0
    config.schedule.quantum_pairs = 4
    batch_size, learning_rate = (V2_PRESETS | OUR_PRESETS)[preset]
    config.schedule.batch_size = batch_size
    config.schedule.g_learning_rate = learning_rate
    config.schedule.d_learning_rate = learning_rate
    config.train.tick_kimg = (
        "160, 8:140, 16:120, 32:100, 64:80, 128:60, 256:40, 512:20, 1024:10"
    )
    config.train.grid_ticks = 1
    config.train.snapshot_ticks = 10
    if preset in OUR_PRESETS:  # For chips of 16 GiB; theirs are in float32.
        config.model.dtype = "bfloat16"
        config.model.remat = "blocks"


def check_preset(name: str, argument: str, preset: str) -> None:
    """Raises UserError if `preset`, part of the argument of a recipe, is unknown."""
    if preset not in PRESETS:
        raise UserError(
            f"--config={name}:{argument}: {preset!r} is not a preset; choose "
            f"one of {', '.join(PRESETS)}"
        )
