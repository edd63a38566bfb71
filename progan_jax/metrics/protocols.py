"""The table of metrics, and the numbers of images that they take.

A new metric is a row here and a file with its `measure`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from progan_jax.errors import UserError
from progan_jax.images import SMALLEST_LEVEL
from progan_jax.metrics import (
    classifier_score,
    equivariance,
    frechet,
    inception_score,
    kid,
    modes,
    ms_ssim,
    perceptual_path,
    precision_recall,
    separability,
    swd,
)
from progan_jax.metrics.metric import Metric


def _distance(extractor: str, tap: str = "", latents: int = 1) -> Metric:
    return Metric(
        frechet.measure,
        50_000,
        {"{metric}{suffix}": "lower"},
        extractor=extractor,
        tap=tap,
        latents=latents,
        constants={} if latents == 1 else {"latents": latents},
    )


def _score(measure: Callable[..., dict[str, float]], value: str, **of: str) -> Metric:
    return Metric(
        measure,
        50_000,
        {value: "higher"},
        compared=False,
        least=20,
        multiple=10,
        constants={"splits": 10},
        **of,  # type: ignore[arg-type]
    )


def _path(space: str, at_end: bool) -> Metric:
    return Metric(
        partial(perceptual_path.measure, space=space, at_end=at_end),
        perceptual_path.PAIRS,
        {"{metric}": "lower"},
        extractor="lpips",
        compared=False,
        space=space,
        unit="pairs",
        least=1,
        smallest_side=perceptual_path.SMALLEST_SIDE,
        constants={"epsilon": perceptual_path.EPSILON},
    )


def _equivariance(value: str, fractional: bool) -> Metric:
    return Metric(
        partial(equivariance.measure, fractional=fractional),
        equivariance.SAMPLES,
        {value: "higher"},
        compared=False,
        space="w",
        moves=True,
        unit="samples",
        least=4,
        multiple=4,
        constants={"farthest": equivariance.FARTHEST},
    )


METRICS = {
    "swd": Metric(
        swd.measure,
        swd.NUM_IMAGES,
        {"swd_average": "lower"},
        by_level=True,
        equal=True,
        smallest_side=SMALLEST_LEVEL,
        constants={"patches": 128, "directions": 512},
    ),
    "ms_ssim": Metric(
        ms_ssim.measure,
        ms_ssim.NUM_IMAGES,
        {},  # Neither high nor low is better.
        compared=False,
        multiple=2,
        smallest_side=16,
    ),
    "fid": _distance("inception"),
    "sfid": _distance("inception", tap="spatial"),
    "rfid": _distance("random"),
    # Karras et al. 2019, table 2.
    "fid_mixed_2": _distance("inception", latents=2),
    "fid_mixed_3": _distance("inception", latents=3),
    "fid_mixed_4": _distance("inception", latents=4),
    "fd_dinov2": _distance("dinov2", tap="cls"),
    "kid": Metric(
        kid.measure,
        50_000,
        {"kid{suffix}_mean": "lower"},
        extractor="inception",
        least=1000,
        constants={"subsets": 100, "subset_size": 1000},
    ),
    "is": _score(
        inception_score.measure,
        "inception_score{suffix}_mean",
        extractor="inception",
        tap="logits",
    ),
    "pr": Metric(
        precision_recall.measure,
        50_000,
        {"precision{suffix}": "higher", "recall{suffix}": "higher"},
        extractor="inception",
        least=4,
        constants={"k": 3},
    ),
    # The authors' pr50k3_full.
    "pr_vgg16": Metric(
        partial(precision_recall.measure, of="_vgg16"),
        50_000,
        {"precision_vgg16": "higher", "recall_vgg16": "higher"},
        extractor="vgg16",
        tap="fc2",
        most_reals=200_000,
        least=4,
        constants={"k": 3},
    ),
    "classifier": _score(
        classifier_score.measure, "classifier_score_mean", extractor="classifier"
    ),
    # Ten times the samples of one evaluation.
    "modes": Metric(
        modes.measure,
        256_000,
        {"modes_found": "higher", "modes_kl": "lower"},
        extractor="classifier",
        compared=False,
        least=20,
        multiple=10,
        constants={"evaluations": 10},
    ),
    "ppl_zfull": _path("z", at_end=False),
    "ppl_wfull": _path("w", at_end=False),
    "ppl_zend": _path("z", at_end=True),
    "ppl_wend": _path("w", at_end=True),
    "eqt_int": _equivariance("eqt_int", fractional=False),
    "eqt_frac": _equivariance("eqt_frac", fractional=True),
    # In W, too, if there is a mapping.
    "ls": Metric(
        separability.measure,
        separability.SAMPLES,
        {"{metric}_z": "lower", "{metric}_w": "lower"},
        extractor="attributes",
        compared=False,
        space="z",
        least=4,
        multiple=2,
    ),
}


def is_higher_better(value: str) -> bool:
    """Returns whether a value, by its name, is better when it is higher."""
    stems = (
        pattern.partition("{")[0]
        for metric in METRICS.values()
        for pattern, better in metric.values.items()
        if better == "higher"
    )
    return value.startswith(tuple(stems))


def metric_of(value: str) -> str | None:
    """Returns the metric of a value with a best, by its name; None if there is none."""
    stems = {
        pattern.format(metric=metric, suffix="{").partition("{")[0]: metric
        for metric, row in METRICS.items()
        for pattern in row.values
    }
    found = [stem for stem in stems if value.startswith(stem)]
    return stems[max(found, key=len)] if found else None


@dataclass(frozen=True)
class Counts:
    """Numbers of images of one metric in one evaluation.

    Attributes:
      fakes: Images of a snapshot.
      reals: Real images that they are compared with; 0 where they are not.
      floor: Real images that are measured in place of fakes; 0 if the set has too few.
      floor_skip: Real images of the random order before those of the floor: the ones
        that these are compared with.
    """

    fakes: int
    reals: int
    floor: int
    floor_skip: int


def count_images(metric: str, num_images: int, there: int) -> Counts:
    """Returns the numbers of images that a metric takes.

    No real image is taken twice: if a set has fewer images than there are fakes, all of
    them are compared, and the floor is left out.

    Args:
      metric: A name in METRICS.
      num_images: Number of fakes that the user asks for; 0 is the published number.
      there: Number of images in the set.
    """
    row = METRICS[metric]
    fakes = num_images or row.num_images
    if row.space:
        return Counts(fakes, 0, 0, 0)
    if not row.compared:
        return Counts(fakes, 0, fakes if fakes <= there else 0, 0)
    reals = min(fakes if num_images else max(fakes, row.most_reals), there)
    floor = min(fakes, reals)
    return Counts(fakes, reals, floor if reals + floor <= there else 0, reals)


def check_images(
    metric: str,
    num_images: int,
    there: int,
    resolution: int,
    name: str,
    fix: str = "",
) -> None:
    """Raises UserError if a metric cannot be measured with these images.

    Args:
      metric: A name in METRICS.
      num_images: As in `config.eval.num_images`.
      there: Number of images in the set.
      resolution: Their side.
      name: Name of the set.
      fix: What to do, where it is not to change `config.eval`.
    """
    row, counts = METRICS[metric], count_images(metric, num_images, there)
    if resolution < row.smallest_side:
        raise UserError(
            f"config.eval.metrics: {metric} needs images of "
            f"{row.smallest_side}x{row.smallest_side} or more, and these are of "
            f"{resolution}x{resolution}; {fix or f'leave {metric} out'}"
        )
    published = "" if num_images else f" (the published {counts.fakes:,})"
    field = f"config.eval.num_images = {num_images}{published}"
    step, least = row.multiple, row.least
    if counts.fakes < least or counts.fakes % step:
        of = f", a multiple of {step}" if step > 1 else ""
        raise UserError(
            f"{field}: {metric} needs at least {least}{of}; {fix or 'change it'}"
        )
    needed = counts.fakes if row.equal else least
    if row.compared and there < needed:
        usual = (
            f"set it to {there} or less" if needed > least else f"leave {metric} out"
        )
        raise UserError(
            f"{field}: {metric} needs {needed:,} real images or more, and {name} has "
            f"{there:,}; {fix or usual}"
        )
