"""Options of Progressive GAN's networks and losses, with the paper's values.

A new field is `younger`, and its default must be what runs did before the field
existed: stored configurations and snapshots that lack it are read with that default.
"""

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass

from progan_jax.models.common import RESOLUTIONS, Paper, stage_resolutions
from progan_jax.models.layers import num_maps
from progan_jax.models.options import option
from progan_jax.models.relativistic import relativistic_faults

PAPER = Paper(
    "Progressive GAN",
    "Karras et al. 2018",
    "https://arxiv.org/abs/1710.10196",
    ("progan", "progressive-gan"),
)


RESTARTS: bool = False  # Stages go on with the networks of the one before.


@dataclass(frozen=True)
class Options:
    """The fields of `config.model`."""

    # The paper's networks, or "mode_test": its small ones.
    topology: str = option("progan", choices=("progan", "mode_test"), younger=True)
    # Final side in pixels, a power of two from 4 to 1024.
    resolution: int = option(32, choices=RESOLUTIONS, of="")
    # 1 (grey) or 3 (RGB).
    channels: int = option(3, choices=(1, 3))
    # Width of the latents.
    latent_size: int = option(512, least=1, of="G")
    # 0 = unconditional; else the number of the set's classes.
    num_classes: int = option(0, least=0)
    # Feature maps at log2(resolution) k: base / 2**((k-1)*decay)
    fmap_base: int = option(8192, least=1)
    # ... with this decay,
    fmap_decay: float = option(1.0, least=0, most=10)
    # ... and at most this many.
    fmap_max: int = option(512, least=1)
    # G's feature maps are divided by this for D.
    d_divisor: int = option(1, least=1, of="D", younger=True)
    # D takes means before bias and rectifier.
    fused_resampling: bool = option(False, of="D")
    # Equalized learning rate: weights scaled at run time.
    equalized: bool = option(True)
    # Pixel norm on the latents.
    normalize_latents: bool = option(True, of="G")
    # That norm is taken over latents and labels together.
    normalize_labels: bool = option(False, of="G")
    # Pixel norm after each of G's activations.
    pixel_norm: bool = option(True, of="G")
    # Norm of G's layers before the bias: "none" or "batch".
    g_norm: str = option("none", choices=("none", "batch"), of="G", younger=True)
    # Norm of D's: "none", "layer" or "batch".
    d_norm: str = option(
        "none", choices=("none", "layer", "batch"), of="D", younger=True
    )
    # G's rectifier: "leaky_relu" or "relu".
    activation: str = option("leaky_relu", choices=("leaky_relu", "relu"), of="G")
    # Slope of G's leaky_relu below zero.
    g_slope: float = option(0.2, least=0, most=1, of="G", younger=True)
    # G's images end in tanh, after the fade.
    tanh: bool = option(False, of="G")
    # D sees the spread of its batch.
    minibatch_stddev: bool = option(True, of="D")
    # Images per group of that statistic; 0 = the batch.
    mbstd_group_size: int = option(0, least=0, of="")
    # Kernels of that layer in D; 0 = no such layer.
    minibatch_discrimination: int = option(0, least=0, of="D", younger=True)
    # Type of activations: "float32", "bfloat16" or "float64".
    dtype: str = option("float32", choices=("float32", "bfloat16", "float64"), of="")
    # Backward passes recompute "blocks", to save memory.
    remat: str = option(
        "none", choices=("none", "blocks"), of="", younger=True, free=True
    )

    @property
    def stddev_group(self) -> int | None:
        """Images per group of D's statistic; 0 for the batch, None for no statistic."""
        return self.mbstd_group_size if self.minibatch_stddev else None

    def matters(self, name: str) -> bool:
        """Returns whether a field has an effect, given the others."""
        if name == "normalize_labels":
            return self.num_classes > 0
        return name != "g_slope" or self.activation == "leaky_relu"

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
        norms = ("g_norm", "d_norm")
        fields = [name for name in norms if getattr(self, name) == "batch"]
        if self.minibatch_discrimination:
            fields.append("minibatch_discrimination")
        return tuple(fields)

    @property
    def one_stage(self) -> tuple[str, ...]:
        """Names of the fields that keep the networks from growing."""
        return ()


@dataclass(frozen=True)
class LossOptions:
    """The fields of `config.loss`."""

    # "wgan_gp", "lsgan" or "relativistic".
    kind: str = option("wgan_gp", choices=("wgan_gp", "lsgan", "relativistic"))
    # Lambda of the gradient penalty.
    gp_weight: float = option(10.0, least=0)
    # Gamma, the target of the gradient norm.
    gp_target: float = option(1.0, above=0)
    # Norm in the space of "full" (final) or "stage" resolution.
    gp_norm_space: str = option("full", choices=("full", "stage"))
    # Epsilon, weight of the squared scores of real images.
    drift_weight: float = option(0.001, least=0)
    # Weight of the class terms.
    label_weight: float = option(1.0, least=0)
    # Strength of D's noise; for "lsgan" only, 0.2 in the paper.
    noise_coefficient: float = option(0.0, least=0, younger=True)
    # Gamma of R1, the penalty on D's gradients at real images; for "relativistic" only.
    r1_weight: float = option(0.0, least=0, younger=True)
    # That of R2, at fakes; the paper has one gamma for both.
    r2_weight: float = option(0.0, least=0, younger=True)
    # Classes of D's fakes: "random", or those of the "reals".
    fake_labels: str = option("random", choices=("random", "reals"))

    @property
    def in_full_space(self) -> bool:
        """Whether gradient norms are those of the final resolution's space."""
        return self.gp_norm_space == "full"


def describe(options: Options) -> dict[str, str]:
    """Returns rows of a model card on the networks, besides those of all families."""
    maps = f"{options.fmap_base} / 2^k, at most {options.fmap_max}"
    return {"topology": options.topology, "feature maps": maps}


# Options that the mode test's networks lack, with the values that switch them off.
_ONLY_IN_PROGAN = {
    "model.fused_resampling": False,
    "model.minibatch_discrimination": 0,
    "loss.noise_coefficient": 0.0,
}


def joint_faults(options: Options, loss: LossOptions) -> Iterator[str]:
    """Yields a line for each combination of fields that is invalid.

    Args:
      options: Each of its fields is valid by itself.
      loss: Likewise.
    """
    if loss.noise_coefficient and loss.kind != "lsgan":
        yield (
            f"config.loss.noise_coefficient = {loss.noise_coefficient:g} is for LSGAN "
            f"only, and config.loss.kind = {loss.kind!r}; set it to 0, or "
            "config.loss.kind to 'lsgan'"
        )
    if loss.kind == "relativistic":
        yield from relativistic_faults(loss, options.resolution)
    else:
        yield from _penalty_faults(loss)
    yield from _width_faults(options)
    if options.topology == "mode_test":
        yield from _mode_test_faults(options, loss)


def _penalty_faults(loss: LossOptions) -> Iterator[str]:
    for name in ("r1_weight", "r2_weight"):
        if value := getattr(loss, name):
            yield (
                f"config.loss.{name} = {value:g} is for the relativistic loss only, "
                f"and config.loss.kind = {loss.kind!r}; set it to 0, or "
                "config.loss.kind to 'relativistic'"
            )


def _width_faults(options: Options) -> Iterator[str]:
    final = options.resolution
    if not num_maps(options, final):
        needed = math.ceil(2 ** ((final.bit_length() - 2) * options.fmap_decay))
        yield (
            f"config.model.fmap_base = {options.fmap_base} leaves no feature map at "
            f"{final}x{final}; raise it to {needed} or more"
        )
    # D's hidden layer is as wide as maps at 2x2 would be.
    maps = {r: num_maps(options, r) for r in stage_resolutions(final, 2)}
    if wrong := [r for r, number in maps.items() if number % options.d_divisor]:
        yield (
            f"config.model.d_divisor = {options.d_divisor} must divide G's feature "
            f"maps, which rules out "
            f"{', '.join(f'{maps[r]} (at {r}x{r})' for r in wrong)}; choose a divisor "
            f"of {math.gcd(*maps.values())}"
        )


def _mode_test_faults(options: Options, loss: LossOptions) -> Iterator[str]:
    groups = {"model": asdict(options), "loss": asdict(loss)}
    for field, off in _ONLY_IN_PROGAN.items():
        group, _, name = field.partition(".")
        if (value := groups[group][name]) != off:
            yield (
                f"config.{field} = {value!r} is not available with "
                f"config.model.topology = 'mode_test'; set it to {off!r}"
            )
