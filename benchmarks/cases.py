"""The cases of benchmarks.accelerator, what matters most first."""

from dataclasses import dataclass
from typing import Any

from benchmarks.shares import divide_batches
from progan_jax.configs import celeba_hq, cifar10
from progan_jax.models.common import stage_resolutions

# The device of eight whose share of the batch is measured, by recipe.
_SHARES = {"hq": 8, "cifar": 1}


@dataclass(frozen=True)
class Case:
    """One process of its own.

    Attributes:
      kind: A function of benchmarks/case.py, or "peer".
      recipe: "hq" is celeba_hq:v2_8gpus, "cifar" cifar10; "" of the device itself.
      resolution: Resolution of the stage.
      dtype: Of activations.
      limit: Seconds after which it is ended.
      least: Seconds in which it can end; with fewer left it is skipped.
      profile: Whether its steps are profiled too.
      seeds: Numbers of seeds, of that kind.
      fresh: Whether it compiles even what the cache of programs has.
    """

    kind: str
    recipe: str = ""
    resolution: int = 0
    dtype: str = "float32"
    limit: float = 90
    least: float = 12
    profile: bool = False
    seeds: tuple[int, ...] = ()
    fresh: bool = False

    @property
    def name(self) -> str:
        """The kind and what it is of, such as "steps hq 1024 bfloat16"."""
        of = [self.recipe, self.resolution, self.dtype] if self.recipe else []
        return " ".join(map(str, [self.kind, *of, *(["again"] if self.fresh else [])]))


DEVICE = Case("device", limit=60)


def config_of(case: Case) -> Any:
    """Returns the configuration of a case, with the batches of one device."""
    hq = case.recipe == "hq"
    config = celeba_hq.get_config("v2_8gpus") if hq else cifar10.get_config()
    config.model.dtype = case.dtype
    config.runtime.deterministic = case.kind == "deterministic"
    resolutions = stage_resolutions(
        config.model.resolution, config.schedule.start_resolution
    )
    divide_batches(config, resolutions, _SHARES[case.recipe])
    return config


def cases(accelerator: bool, peer: bool) -> list[Case]:
    """Returns all cases in their order.

    Args:
      accelerator: Whether there is one; else there is a small case alone.
      peer: Whether another program is measured too.
    """
    if not accelerator:
        small = Case("steps", "cifar", 4, limit=60, least=5, profile=True)
        return [small, *_peer_cases([("cifar", 4)])] if peer else [small]
    return [
        _steps("hq", 1024, limit=150, profile=True),
        _steps("hq", 256, limit=120, profile=True),
        _steps("hq", 128, limit=120, profile=True),
        _steps("cifar", 32, "float32", profile=True),
        _steps("cifar", 4, "float32"),
        *(_steps("hq", resolution) for resolution in (64, 16, 512, 32, 4, 8)),
        *(_steps("hq", resolution, "float32") for resolution in (128, 256)),
        _steps("cifar", 32),
        *(_peer_cases(_FIRST) if peer else []),
        Case("seeds", "cifar", 4, seeds=(1, 2, 5, 10)),
        Case("seeds", "cifar", 32, seeds=(1, 4)),
        *_deterministic(fresh=False),
        *_deterministic(fresh=True),
    ]


# Whose time the peer is asked for.
_FIRST = [("hq", 1024), ("hq", 256), ("hq", 128), ("cifar", 32), ("cifar", 4)]


def _steps(
    recipe: str,
    resolution: int,
    dtype: str = "bfloat16",
    limit: float = 90,
    profile: bool = False,
) -> Case:
    least = 20 if resolution > 32 else 12
    return Case("steps", recipe, resolution, dtype, limit, least, profile)


def _peer_cases(stages: list[tuple[str, int]]) -> list[Case]:
    """Returns the cases of a peer: float32 with TF32, which is faster than autocast."""
    return [Case("peer", recipe, resolution, limit=60) for recipe, resolution in stages]


def _deterministic(fresh: bool) -> list[Case]:
    """Returns two cases, whose bits those that compile again must have too."""
    small = Case("deterministic", "cifar", 32, fresh=fresh)
    large = Case("deterministic", "hq", 128, "bfloat16", 120, 20, fresh=fresh)
    return [small, large]
