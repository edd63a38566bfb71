"""What `tools.train` chooses for a set of images: resolution, recipe and widths.

The rules are ours, from the runs in docs/results.md; no paper has them. A recipe keeps
everything that is not named here.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import ml_collections

from progan_jax.data.names import counted
from progan_jax.errors import UserError
from progan_jax.models.common import stage_resolutions
from progan_jax.prepare.photos import Images
from progan_jax.runtime.command_line import list_fields, load_config

# Fewest images, by family: with fewer, D has memorised them before G has learned.
FEWEST = {"progan": 50, "stylegan": 200, "stylegan_xl": 1000}

# Sets with fewer images are augmented.
_MANY = 10_000

# Two cores train 110 images/s of 32x32, and 27 of 64x64, at these widths.
_NARROW = {
    "model.latent_size": 128,
    "model.fmap_base": 2048,
    "model.fmap_max": 32,
    "schedule.batch_size": "16",
    "schedule.g_learning_rate": "0.002",
    "schedule.d_learning_rate": "0.002",
    "schedule.rampup_kimg": 0.0,
    "schedule.quantum_pairs": 4,
    "runtime.pairs_per_dispatch": 4,
    "train.grid": "12x6",
}
_NARROW_STYLE = {
    "model.w_size": 128,
    "model.mapping_width": 128,
    "model.mapping_layers": 2,
    "model.mapping_lr_multiplier": 0.1,
    "model.style_mixing": 0.5,
}


def choose_family(on_cpu: bool, number: int) -> str:
    """Returns the family that is trained on so many images if none is named."""
    return "progan" if on_cpu or number < FEWEST["stylegan"] else "stylegan"


def check_number(family: str, images: Images) -> None:
    """Raises UserError if a family needs more images."""
    if images.number >= FEWEST[family]:
        return
    able = [name for name, fewest in FEWEST.items() if images.number >= fewest]
    raise UserError(
        f"PHOTOS has {counted(images.number, 'image')}, and {family} needs "
        f"{FEWEST[family]:,}, as its discriminator memorises fewer; add images"
        + (f", or choose --family={able[0]}" if able else "")
    )


def choose_resolution(family: str, images: Images, on_cpu: bool, seconds: float) -> int:
    """Returns the side at which a set is prepared.

    At most that of the images, and what the devices can train in the time.
    """
    if on_cpu:
        most = 32 if family == "stylegan_xl" or seconds < 2700 else 64
    else:
        most = 128 if images.number < 1000 or seconds < 4 * 3600 else 256
    # The largest power of two that is no larger than the images.
    return max(16, min(most, 1 << images.side.bit_length() - 1))


def choose_config(
    family: str,
    folder: Path,
    images: Images,
    side: int,
    on_cpu: bool,
    overrides: Sequence[str] = (),
) -> tuple[str, ml_collections.ConfigDict]:
    """Returns a recipe's name, and its configuration for a prepared set.

    Args:
      family: Family of models.
      folder: The prepared set, DIR/NAME.
      images: What was known before.
      side: Resolution of the run, at most that of the set.
      on_cpu: Whether the devices are CPUs.
      overrides: Arguments --config.FIELD=VALUE, which come last.

    Raises:
      UserError: if a field of `overrides` is at fault.
    """
    recipe = _recipe(family, folder, images, side, on_cpu)
    config: Any = load_config(recipe)
    changes: dict[str, Any] = {"data.mirror": True, "optim.ema_rampup": 0.05}
    if family != "stylegan_xl":  # Its stages are in the recipe's name.
        changes["model.resolution"] = side
        start = min(config.schedule.start_resolution, side)
        changes["schedule.start_resolution"] = start
    if images.number < _MANY:
        changes["data.augment"] = "color,translation,cutout"
    if images.has_albums:
        changes["model.num_classes"] = 0
    if on_cpu and family != "stylegan_xl":
        changes |= _NARROW | {"schedule.start_resolution": min(8, side)}
    if on_cpu and family == "stylegan":
        changes |= _NARROW_STYLE
    if not on_cpu and family == "stylegan_xl":
        changes |= {"schedule.batch_size": "64"}
    config.update_from_flattened_dict(changes)
    return recipe, override(config, recipe, overrides)


def override(
    config: ml_collections.ConfigDict, recipe: str, overrides: Sequence[str]
) -> ml_collections.ConfigDict:
    """Sets the fields of arguments --config.FIELD=VALUE.

    Raises:
      UserError: if there is no such field, or a value does not fit.
    """
    given = list_fields(load_config(recipe, overrides))
    names = [text.partition("=")[0].removeprefix("--config.") for text in overrides]
    config.update_from_flattened_dict({name: given[name] for name in names})
    return config


def write_recipe(
    path: Path, recipe: str, config: ml_collections.ConfigDict, heading: str
) -> None:
    """Writes a configuration as a recipe that names what differs from another.

    Args:
      path: Python file to write.
      recipe: NAME:ARGUMENT of the recipe that it starts from.
      config: The configuration.
      heading: Its docstring, of any characters.
    """
    name, _, argument = recipe.partition(":")
    before = list_fields(load_config(recipe))
    changed = {k: v for k, v in list_fields(config).items() if v != before[k]}
    docstring = heading.replace("\\", r"\\").replace('"', r"\"")
    lines = [f"    config.{field} = {value!r}" for field, value in changed.items()]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        f'"""{docstring}"""\n\nfrom progan_jax.configs import {name}\n\n\n'
        f"def get_config():\n    config = {name}.get_config({argument!r})\n"
        + "\n".join([*lines, "    return config\n"]),
        encoding="utf-8",
    )


def _recipe(family: str, folder: Path, images: Images, side: int, on_cpu: bool) -> str:
    if family == "stylegan":
        return f"stylegan_folder:{folder}"
    if family == "progan":
        return f"{'folder_small' if images.number < _MANY else 'folder'}:{folder}"
    if on_cpu:
        return f"stylegan_xl:folder={folder},tiny,{side}"
    stages = "-".join(map(str, stage_resolutions(side, min(side, 16))))
    return f"stylegan_xl:folder={folder},small,{stages}"


def describe(config: Any) -> Mapping[str, str]:
    """Returns what was chosen, in words, by what it is."""
    schedule, model = config.schedule, config.model
    return {
        "family": config.family,
        "resolution": f"{model.resolution}x{model.resolution}",
        "feature maps": f"at most {model.fmap_max}",
        "classes": f"{model.num_classes:,}" if model.num_classes else "none",
        "batch": schedule.batch_size,
        "loss": config.loss.kind if "kind" in config.loss else "hinge",
        "augmentation": config.data.augment or "none",
        "length": f"{schedule.total_kimg:,g} kimg",
    }
