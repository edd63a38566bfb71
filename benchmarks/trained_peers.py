"""Other programs as benchmarks/peer_training.py trains them, by one interface.

Another program is one more class here and its name in `PROGRAMS`. Needs PyTorch.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from peers import StyleBasedGan, gan_zoo_at_4x4
from torch.nn.functional import avg_pool2d, interpolate


@dataclass(frozen=True)
class Schedule:
    """A program's standard schedule, of which training keeps the proportions.

    Attributes:
      start: The first scale; 0 is 4x4.
      first: Iterations at that scale, which does not fade in.
      others: Iterations at each later scale.
      fade: Those of `others` in which it fades in.
      jumps: Changes of the weight in a fade, at most.
    """

    start: int
    first: int
    others: int
    fade: int
    jumps: int


class Trained(Protocol):
    """A program that begins at its first scale."""

    schedule: Schedule

    def grow(self) -> None:
        """Adds the next scale."""
        ...

    def fade(self, new: float) -> None:
        """Sets the weight of the newest scale against the one before, in [0, 1]."""
        ...

    def step(self, reals: torch.Tensor) -> None:
        """Trains G and D on real images [n, channels, side, side] in [-1, 1]."""
        ...

    def sample(self, number: int) -> dict[str, torch.Tensor]:
        """Returns images of "G" and of "average", [number, channels, side, side]."""
        ...


class TrainedGanZoo:
    """pytorch_GAN_zoo, by its models/trainer/standard_configurations/pgan_config.py."""

    schedule = Schedule(start=0, first=48_000, others=96_000, fade=600 * 32, jumps=600)

    def __init__(self, request: dict[str, Any]):
        self._gan, self._widths = gan_zoo_at_4x4(request), iter(request["widths"][1:])

    def grow(self) -> None:
        """Adds the next scale; its average of G begins anew."""
        self._gan.addScale(next(self._widths))

    def fade(self, new: float) -> None:
        """Does what its `updateAlpha` does, which fails without a GPU."""
        gan, old = self._gan, 1 - new
        for network in (gan.getOriginalG(), gan.getOriginalD(), gan.getOriginalAvgG()):
            network.setNewAlpha(old)
        gan.config.alpha = old

    def step(self, reals: torch.Tensor) -> None:
        """Trains on real images that are faded as its trainer does."""
        old = self._gan.config.alpha
        if old:
            low = interpolate(avg_pool2d(reals, 2), scale_factor=2)
            reals = old * low + (1 - old) * reals
        self._gan.optimizeParameters(reals)

    def sample(self, number: int) -> dict[str, torch.Tensor]:
        """Returns images of the same latents."""
        noise, _ = self._gan.buildNoiseData(number)
        average = self._gan.test(noise, getAvG=True)
        return {"G": self._gan.test(noise), "average": average}


class TrainedStyleBasedGan:
    """style-based-gan-pytorch, by its train.py."""

    # In batches of its 32: 600,000 images fade in, and 600,000 follow.
    schedule = Schedule(start=1, first=37_500, others=37_500, fade=18_750, jumps=18_750)

    def __init__(self, request: dict[str, Any]):
        self._gan = StyleBasedGan(request, self.schedule.start)

    def grow(self) -> None:
        """Goes on to the next scale, whose layers are there from the beginning."""
        self._gan.scale += 1

    def fade(self, new: float) -> None:
        """Sets its alpha."""
        self._gan.alpha = new

    def step(self, reals: torch.Tensor) -> None:
        """Trains on real images that are mirrored at random, as its loader does."""
        mirrored = torch.rand(len(reals), 1, 1, 1) < 0.5
        self._gan.step(torch.where(mirrored, reals.flip(3), reals))

    def sample(self, number: int) -> dict[str, torch.Tensor]:
        """Returns images of one code each, not truncated, as its train.py draws."""
        networks = {"G": self._gan.g, "average": self._gan.average}
        return {k: self._gan.sample(g, 1, number) for k, g in networks.items()}


PROGRAMS: dict[str, Callable[[dict[str, Any]], Trained]] = {
    "gan_zoo": TrainedGanZoo,
    "style_based_gan": TrainedStyleBasedGan,
}
