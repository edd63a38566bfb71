"""Options of StyleGAN's networks and losses, with the authors' values.

The defaults are configuration F of Karras et al. 2019, table 1; recipes of the other
configurations switch parts off.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from progan_jax.models.common import RESOLUTIONS, Paper
from progan_jax.models.layers import num_maps
from progan_jax.models.options import option
from progan_jax.models.relativistic import relativistic_faults

PAPER = Paper(
    "StyleGAN",
    "Karras et al. 2019",
    "https://arxiv.org/abs/1812.04948",
    ("stylegan",),
)


RESTARTS: bool = False  # Stages go on with the networks of the one before.


@dataclass(frozen=True)
class Options:
    """The fields of `config.model`."""

    # Final side in pixels, a power of two from 4 to 1024.
    resolution: int = option(32, choices=RESOLUTIONS, of="")
    # 1 (grey) or 3 (RGB).
    channels: int = option(3, choices=(1, 3))
    # Width of the latents z.
    latent_size: int = option(512, least=1, of="G")
    # Width of the intermediate latents w.
    w_size: int = option(512, least=1, of="G")
    # 0 = unconditional; else the number of the set's classes.
    num_classes: int = option(0, least=0)
    # Dense layers from z to w; 0 = w is the normalised z.
    mapping_layers: int = option(8, least=0, most=64, of="G")
    # Width of all of them but the last.
    mapping_width: int = option(512, least=1, of="G")
    # Their learning rate, relative to that of the other layers.
    mapping_lr_multiplier: float = option(0.01, above=0, of="G")
    # Pixel norm on the latents.
    normalize_latents: bool = option(True, of="G")
    # Feature maps at log2(resolution) k: base / 2**((k-1)*decay)
    fmap_base: int = option(8192, least=1)
    # ... with this decay,
    fmap_decay: float = option(1.0, least=0, most=10)
    # ... and at most this many.
    fmap_max: int = option(512, least=1)
    # Networks that grow, or "fixed" ones of the final resolution.
    structure: str = option("growing", choices=("growing", "fixed"))
    # Equalized learning rate: weights scaled at run time.
    equalized: bool = option(True)
    # Rectifier: "leaky_relu" or "relu".
    activation: str = option("leaky_relu", choices=("leaky_relu", "relu"))
    # Blur after upsampling in G, and before downsampling in D.
    blur: bool = option(True)
    # G's maps start from a learned constant, not from w.
    constant_input: bool = option(True, of="G")
    # w scales and shifts the maps of each of G's layers.
    styles: bool = option(True, of="G")
    # Noise in each of G's layers.
    noise: bool = option(True, of="G")
    # Instance norm after each of G's activations.
    instance_norm: bool = option(True, of="G")
    # Pixel norm after each of G's activations.
    pixel_norm: bool = option(False, of="G")
    # D sees the spread of its batch.
    minibatch_stddev: bool = option(True, of="D")
    # Images per group of that statistic; 0 = the batch.
    mbstd_group_size: int = option(4, least=0, of="")
    # Maps that it has.
    mbstd_features: int = option(1, least=1, of="D")
    # Share of the training calls of G that mix the styles of two latents.
    style_mixing: float = option(0.9, least=0, most=1, of="")
    # The average of w keeps this share at each training call of G.
    w_average_decay: float = option(0.995, least=0, most=1, of="")
    # Factor of the distance from the average w, for samples where nothing else is said,
    truncation_psi: float = option(0.7, least=-2, most=2, of="", free=True)
    # ... and the number of layers that it applies to.
    truncation_cutoff: int = option(8, least=0, of="", free=True)
    # Type of activations: "float32", "bfloat16" or "float64".
    dtype: str = option("float32", choices=("float32", "bfloat16", "float64"), of="")
    # Backward passes recompute "blocks", to save memory.
    remat: str = option("none", choices=("none", "blocks"), of="", free=True)

    @property
    def stddev_group(self) -> int | None:
        """Images per group of D's statistic; 0 for the batch, None for no statistic."""
        return self.mbstd_group_size if self.minibatch_stddev else None

    @property
    def advised_group(self) -> int:
        """Images that a group had better have, at least; 0 for no advice."""
        return 0

    @property
    def group_field(self) -> str:
        """Name of the field that `stddev_group` is."""
        return "mbstd_group_size"

    @property
    def keeps_groups(self) -> bool:
        """Whether a device must have complete groups, and not smaller ones."""
        return False

    @property
    def whole_batch(self) -> tuple[str, ...]:
        """Names of the fields that give a network a layer over the entire batch."""
        return ()

    @property
    def one_stage(self) -> tuple[str, ...]:
        """Names of the fields that keep the networks from growing."""
        return ("structure",) if self.structure == "fixed" else ()

    def matters(self, name: str) -> bool:
        """Returns whether a field has an effect, given the others."""
        if name in ("mapping_width", "mapping_lr_multiplier"):
            return self.mapping_layers > 0
        return name != "mbstd_features" or self.stddev_group is not None


@dataclass(frozen=True)
class LossOptions:
    """The fields of `config.loss`."""

    # "nonsaturating" or "saturating" (both logistic), "wgan", "hinge", ...
    kind: str = option(
        "nonsaturating",
        choices=(
            "nonsaturating",
            "saturating",
            "wgan",
            "wgan_gp",
            "hinge",
            "hinge_gp",
            "relativistic",
        ),
    )
    # Gamma of R1, the penalty on D's gradients at real images (logistic losses and
    # "relativistic").
    r1_weight: float = option(10.0, least=0)
    # That of R2, at fakes.
    r2_weight: float = option(0.0, least=0)
    # Lambda of the gradient penalty between both ("wgan_gp", "hinge_gp").
    gp_weight: float = option(10.0, least=0)
    # Target of that gradient's norm.
    gp_target: float = option(1.0, above=0)
    # Epsilon, weight of the squared scores of real images ("wgan", "wgan_gp").
    drift_weight: float = option(0.001, least=0)
    # Gradients in the space of "full" (final) or "stage" resolution.
    gp_norm_space: str = option("full", choices=("full", "stage"))

    @property
    def in_full_space(self) -> bool:
        """Whether gradient norms are those of the final resolution's space."""
        return self.gp_norm_space == "full"


def describe(options: Options) -> dict[str, str]:
    """Returns rows of a model card on the networks, besides those of all families."""
    maps = f"{options.fmap_base} / 2^k, at most {options.fmap_max}"
    parts = ("constant_input", "styles", "noise", "instance_norm", "blur")
    off = [name for name in parts if not getattr(options, name)]
    return {
        "mapping": f"{options.mapping_layers} layers, w of {options.w_size}",
        "feature maps": maps,
        "style mixing": f"{options.style_mixing:g}",
        "truncation of samples": (
            f"psi {options.truncation_psi:g} on at most {options.truncation_cutoff} "
            "layers"
        ),
        **({"without": ", ".join(off)} if off else {}),
    }


def joint_faults(options: Options, loss: LossOptions) -> Iterator[str]:
    """Yields a line for each combination of fields that is invalid.

    Args:
      options: Each of its fields is valid by itself.
      loss: Likewise.
    """
    final = options.resolution
    if loss.kind == "relativistic":
        yield from relativistic_faults(loss, final)
    if not num_maps(options, final):
        needed = math.ceil(2 ** ((final.bit_length() - 2) * options.fmap_decay))
        yield (
            f"config.model.fmap_base = {options.fmap_base} leaves no feature map at "
            f"{final}x{final}; raise it to {needed} or more"
        )
    elif num_maps(options, 4) % options.mbstd_features:
        yield (
            f"config.model.mbstd_features = {options.mbstd_features} must divide the "
            f"{num_maps(options, 4)} feature maps at 4x4; choose a divisor"
        )
    inputs = options.latent_size * (2 if options.num_classes else 1)
    if not options.mapping_layers and options.w_size != inputs:
        yield (
            f"config.model.w_size = {options.w_size} must be {inputs}, the width of "
            "what is mapped, as config.model.mapping_layers = 0; set it to that"
        )
    if options.style_mixing and not options.styles:
        yield (
            f"config.model.style_mixing = {options.style_mixing:g} needs styles, and "
            "config.model.styles = False; set it to 0"
        )
