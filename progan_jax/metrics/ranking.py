"""By which values models may be ranked, given what their discriminators learnt before.

A discriminator on frozen networks teaches G to please them. Where a metric's features
come from the same training, its values look better than the images are: projected
discriminators lower the Fréchet distance of Inception, which learnt ImageNet's classes
as their backbones did, beyond what people see. Source: Kynkaanniemi et al. 2023, "The
Role of ImageNet Classes in Fréchet Inception Distance".
"""

from collections.abc import Collection
from typing import Any

from progan_jax.metrics.protocols import METRICS, metric_of

SHARED = "shares pretraining"

# Metrics by which models are ranked, in this order, and their values.
_RANKING = {"fd_dinov2": "fd_dinov2", "swd": "swd_average"}

_OF_IMAGENET = ("inception", "vgg16")


def frozen_networks(model: Any) -> tuple[str, ...]:
    """Returns the names of a D's frozen networks, of a run's `config.model`."""
    names = model.get("backbones", "").split(",")
    return tuple(name.strip() for name in names if name.strip())


def shares_pretraining(metric: str, frozen: Collection[str]) -> bool:
    """Returns whether a metric's features are of the training of a D's networks.

    Args:
      metric: Name of a metric; of an unknown one they are not.
      frozen: Names of the networks. DINOv2's training images have ImageNet's among
        them, so that any network shares them with Inception.
    """
    kind = METRICS[metric].extractor if metric in METRICS else ""
    if kind == "dinov2":
        return any(name.startswith("dinov2") for name in frozen)
    return kind in _OF_IMAGENET and bool(frozen)


def mark_of_metric(metric: str, frozen: Collection[str]) -> str:
    """Returns what to add to the name of a metric: SHARED in brackets, or ""."""
    return f" ({SHARED})" if shares_pretraining(metric, frozen) else ""


def mark(value: str, frozen: Collection[str]) -> str:
    """Returns what to add to the name of a value, likewise."""
    return mark_of_metric(metric_of(value) or "", frozen)


def ranking(frozen: Collection[str]) -> tuple[str, ...]:
    """Returns the values by which models are ranked, the first one first.

    Args:
      frozen: Names of the frozen networks of all of them.
    """
    return tuple(
        value
        for metric, value in _RANKING.items()
        if not shares_pretraining(metric, frozen)
    )
