"""Your own images, with StyleGAN's recipe (Karras et al. 2019).

stylegan_folder.py:PATH names a set written by progan_jax.tools.prepare_data, DIR/NAME,
as folder.py does. Batches, learning rates and lengths are those of
stylegan_ffhq.py:ffhq,8gpus, for tens of thousands of images. The set is not mirrored;
set --config.data.mirror where its images may be. If a device's memory is too small for
its batch, set --config.schedule.microbatch=4. Prepare and run your own with
    python -m progan_jax.tools.prepare_data folder:IMAGES --out=DIR --resolution=256
    python -m progan_jax.main --config=configs/stylegan_folder.py:DIR/IMAGES
"""

import ml_collections

from progan_jax.configs import folder, stylegan_ffhq


def get_config(path: str = "") -> ml_collections.ConfigDict:
    """Returns the recipe of the authors' program for a prepared set.

    Args:
      path: See `folder.use_set`.

    Raises:
      UserError: as for `folder.use_set`.
    """
    config = stylegan_ffhq.program_config()
    folder.use_set(config, path)
    start = min(config.schedule.start_resolution, config.model.resolution)
    config.schedule.start_resolution = start
    return config
