"""What each metric takes: how many images, of which kind, and by which constants."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from progan_jax.errors import UserError
from progan_jax.metrics import ms_ssim, swd
from progan_jax.metrics.patches import SMALLEST_LEVEL


@dataclass(frozen=True)
class Protocol:
    """How one metric is measured.

    Attributes:
      num_images: Fakes that the published protocol takes.
      compared: Whether fakes are compared with reals; else a set is measured alone.
      equal: Whether there must be as many reals as fakes.
      least: Smallest number of images of a kind.
      multiple: Divides the number of fakes.
      smallest_side: Of the images, in pixels.
      constants: What else a figure depends on.
    """

    num_images: int
    compared: bool = True
    equal: bool = False
    least: int = 2
    multiple: int = 1
    smallest_side: int = 4
    constants: Mapping[str, int] = field(default_factory=dict)


_SCORE = Protocol(
    50_000, compared=False, least=20, multiple=10, constants={"splits": 10}
)
PROTOCOLS = {
    "swd": Protocol(
        swd.NUM_IMAGES,
        equal=True,
        smallest_side=SMALLEST_LEVEL,
        constants={"patches": 128, "directions": 512},
    ),
    "ms_ssim": Protocol(
        ms_ssim.NUM_IMAGES, compared=False, multiple=2, smallest_side=16
    ),
    "fid": Protocol(50_000),
    "sfid": Protocol(50_000),
    "rfid": Protocol(50_000),
    "kid": Protocol(
        50_000, least=1000, constants={"subsets": 100, "subset_size": 1000}
    ),
    "is": _SCORE,
    "pr": Protocol(50_000, least=4, constants={"k": 3}),
    "classifier": _SCORE,
    # Ten times the samples of one evaluation.
    "modes": Protocol(
        256_000, compared=False, least=20, multiple=10, constants={"evaluations": 10}
    ),
}


@dataclass(frozen=True)
class Counts:
    """Images of one metric in one evaluation.

    Attributes:
      fakes: Of a snapshot.
      reals: That they are compared with; 0 where they are not.
      floor: Reals that are measured in the fakes' place; 0 where the set has too few.
      floor_skip: Reals of the order that are passed over for them: those that they are
        compared with.
    """

    fakes: int
    reals: int
    floor: int
    floor_skip: int


def count_images(metric: str, num_images: int, there: int) -> Counts:
    """Returns how many images a metric takes.

    No real is taken twice: where a set has fewer than fakes are asked for, all of it is
    compared with them, or the floor is left out.

    Args:
      metric: Of PROTOCOLS.
      num_images: Fakes that the user asks for; 0 is the published number.
      there: Images of the set.
    """
    protocol = PROTOCOLS[metric]
    fakes = num_images or protocol.num_images
    if not protocol.compared:
        return Counts(fakes, 0, fakes if fakes <= there else 0, 0)
    reals = min(fakes, there)
    return Counts(fakes, reals, reals if 2 * reals <= there else 0, reals)


def check_images(
    metric: str, num_images: int, there: int, resolution: int, name: str
) -> None:
    """Raises UserError if a metric cannot be measured with these images.

    Args:
      metric: Of PROTOCOLS.
      num_images: As `config.eval.num_images` has it.
      there: Images of the set.
      resolution: Their side.
      name: Of the set.
    """
    protocol, counts = PROTOCOLS[metric], count_images(metric, num_images, there)
    if resolution < protocol.smallest_side:
        raise UserError(
            f"config.eval.metrics: {metric} needs images of "
            f"{protocol.smallest_side}x{protocol.smallest_side} or more, and "
            f"config.model.resolution = {resolution}; leave {metric} out"
        )
    published = "" if num_images else f" (the published {counts.fakes:,})"
    field = f"config.eval.num_images = {num_images}{published}"
    step, least = protocol.multiple, protocol.least
    if counts.fakes < least or counts.fakes % step:
        of = f", a multiple of {step}" if step > 1 else ""
        raise UserError(f"{field}: {metric} takes at least {least}{of}; change it")
    needed = counts.fakes if protocol.equal else least
    if protocol.compared and there < needed:
        fix = f"set it to {there} or less" if needed > least else f"leave {metric} out"
        raise UserError(
            f"{field}: {metric} takes {needed:,} reals or more, and {name} has "
            f"{there:,}; {fix}"
        )
