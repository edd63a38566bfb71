"""The relativistic pairing loss: D compares each real image with one fake.

Real image i of a batch is paired with fake i. Source: Huang et al. 2024 (R3GAN)
and its program, after Jolicoeur-Martineau 2019. Its penalties are R1 and R2 of
`penalties.score_with_r1_and_r2`.
"""

from collections.abc import Iterator
from typing import Any

import jax
from jax import nn


def d_relativistic(real: jax.Array, fake: jax.Array) -> jax.Array:
    """softplus(-(real - fake)): Huang et al. 2024, with D's sign turned.

    Args:
      real: Scores of real images, [N].
      fake: Scores of the fakes that they are paired with, [N].

    Returns:
      D's losses [N].
    """
    return nn.softplus(fake - real)


def g_relativistic(fake: jax.Array, real: jax.Array) -> jax.Array:
    """softplus(-(fake - real)): D's loss with both in each other's place; returns [N].

    As one function of both it would give G minus D's loss, which saturates; this is
    what the authors' program does.
    """
    return nn.softplus(real - fake)


def advised_gamma(resolution: int) -> float:
    """Returns a weight of R1 and R2 to begin with: 2 at 64x64, as the side squared.

    The authors' program begins with 2 for FFHQ at 64x64, and with 0.5 for ImageNet at
    32x32. The same function of an image of twice the side has a fourth of the squared
    gradient; that gamma grows with the square of the side is also the rule of Karras
    et al. 2020 (StyleGAN2-ADA) for R1. See docs/fidelity.md, "The relativistic loss".
    """
    return 2 * (resolution / 64) ** 2


_OF_OTHER_KINDS = "gp_weight", "gp_target", "drift_weight"


def relativistic_faults(loss: Any, resolution: int) -> Iterator[str]:
    """Yields a line for each field of `config.loss` that is not as the loss needs it.

    Args:
      loss: A family's `LossOptions`, with the kind "relativistic".
      resolution: Final side in pixels.
    """
    kind = "config.loss.kind = 'relativistic'"
    for penalty, name in (("R1", "r1_weight"), ("R2", "r2_weight")):
        if not getattr(loss, name):
            yield (
                f"config.loss.{name} = 0 switches {penalty} off, and {kind} needs R1 "
                "and R2; set both weights to a gamma, such as "
                f"{advised_gamma(resolution):g}"
            )
    for name in _OF_OTHER_KINDS:
        value, default = getattr(loss, name), getattr(type(loss)(), name)
        if value != default:
            yield (
                f"config.loss.{name} = {value:g} is not read with {kind}; leave it at "
                f"{default:g}"
            )
