"""Directions of the latents along which a property of images changes.

A direction comes from labels that somebody gave to some images of a generator, or from
a score of images that can be differentiated.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

from progan_jax.errors import UserError
from progan_jax.inference.editing import Direction
from progan_jax.inference.fixed import fix_noise
from progan_jax.inference.generator import TrainedGenerator
from progan_jax.inference.linear import fit_plane, held_out_accuracy, split_in_two
from progan_jax.inference.sampling import draw_inputs
from progan_jax.models.common import one_hot

# Of images float [N, r, r, C], about [-1, 1], to a number for each, [N]; of jax.numpy.
Score = Callable[[jax.Array], jax.Array]

# Latents whose mean w is that of their class: of all classes, and limits of one's.
_FOR_MEANS, _LEAST, _MOST = 65_536, 256, 4096

_FOR_COVARIANCE = 4096

_AT_ONCE = 8  # Images that are differentiated together.


def find_direction(
    generator: TrainedGenerator,
    z: np.ndarray,
    labels: Sequence[float] | np.ndarray,
    classes: Sequence[int] | np.ndarray | None = None,
) -> Direction:
    """Returns the direction across the plane that tells labels apart.

    The plane is fitted by logistic regression; `agreement` is of five parts, each held
    out in turn. With classes the mean w of each is taken away first: what tells two
    classes apart is no property of an image of one.

    Args:
      generator: Of any family.
      z: Latents [N, latent_dim] of the labelled images.
      labels: [N]; the larger of two values is where the direction leads. Of more
        values, those above the median are.
      classes: Class of each image, by number; None without classes.

    Raises:
      UserError: if one kind of labels has less than two images.

    Source: Shen et al. 2020, "Interpreting the Latent Space of GANs for Semantic Face
    Editing", section 3, with a support vector machine in the place of the regression.
    """
    latents = _within_classes(generator, np.asarray(z, np.float32), classes)
    positive = split_in_two(np.asarray(labels, np.float64))
    normal = fit_plane(latents, positive)
    told = held_out_accuracy(latents, positive)
    return Direction(_scale(generator, normal, latents), told)


def find_rising(
    generator: TrainedGenerator,
    score: Score,
    count: int = 64,
    seed: int = 0,
    label: int | None = None,
) -> Direction:
    """Returns the direction along which a score of images rises fastest on average.

    It is the mean gradient of the score by the latents, times the covariance of w: the
    largest rise for a move that is as likely as any other.

    Args:
      generator: Of any family; noise, if it has any, is fixed.
      score: From images, float32 [N, r, r, C] of about [-1, 1], to [N]: such as how
        near CLIP finds each to a text. JAX differentiates it.
      count: Number of images whose gradients are averaged.
      seed: Of their latents, and of their classes if `label` is None.
      label: Class of all images, by number.

    Raises:
      UserError: if the score is not one number for each image, or not finite.
    """
    z, classes = draw_inputs(generator.network, count, seed, label)
    style_based = generator.num_layers > 0
    latents = generator.mapping(z, classes) if style_based else z
    slopes = _slopes(generator, score, latents, classes)
    others = draw_inputs(generator.network, _FOR_COVARIANCE, seed, label)
    mean, within = slopes.mean(axis=0), _within_classes(generator, *others)
    if style_based:
        mean = np.cov(within.T) @ mean
    if not np.isfinite(mean).all() or not mean.any():
        raise UserError(
            "score: its gradient is zero or not finite; write it with jax.numpy, and "
            "without rounding or comparing"
        )
    vector = _scale(generator, mean, within)
    return Direction(vector, float(np.mean(slopes @ vector > 0)))


def _within_classes(
    generator: TrainedGenerator, z: np.ndarray, classes: Any
) -> np.ndarray:
    """Returns z, or w without the mean of its class."""
    if not generator.num_layers:
        return z
    w = generator.mapping(z, classes)
    if classes is None:
        return w
    known = np.unique(classes)
    count = min(max(_FOR_MEANS // len(known), _LEAST), _MOST)
    others, _ = draw_inputs(generator.network, count, 0)
    for label in known:
        mean = generator.mapping(others, int(label)).mean(axis=0)
        w[np.asarray(classes) == label] -= mean
    return w


def _scale(
    generator: TrainedGenerator, vector: np.ndarray, latents: np.ndarray
) -> np.ndarray:
    """Returns a vector as long as the deviation of w along it; of z that is 1."""
    unit = vector / np.linalg.norm(vector)
    length = np.std(latents @ unit) if generator.num_layers else 1
    return (unit * length).astype(np.float32)


def _slopes(
    generator: TrainedGenerator,
    score: Score,
    latents: np.ndarray,
    classes: np.ndarray | None,
) -> np.ndarray:
    """Returns the gradients [N, size] of a score by latents or w [N, size]."""
    network, alpha = fix_noise(generator.network), np.float32(generator.alpha)

    def total(latents: jax.Array, labels: Any, variables: Any, score: Score) -> Any:
        inputs, method = (latents, labels, alpha), "__call__"
        if generator.num_layers:
            inputs, method = (latents, alpha), "synthesis"
        images: Any = network.apply(variables, *inputs, method=method)
        scores = score(images)
        if jnp.shape(scores) != images.shape[:1]:
            raise UserError(
                f"score: of {len(images)} images it returns the shape "
                f"{list(jnp.shape(scores))}; return one number for each image"
            )
        return jnp.sum(scores)

    # As an argument a pytree brings its weights; a function is a part of the program.
    given = score if isinstance(score, Partial) else Partial(score)
    slope, parts = jax.jit(jax.grad(total)), []
    for start in range(0, len(latents), _AT_ONCE):
        rows = np.arange(start, start + _AT_ONCE) % len(latents)
        labels = one_hot(network, None if classes is None else classes[rows])
        parts.append(
            np.asarray(slope(latents[rows], labels, generator.variables, given))
        )
    return np.concatenate(parts)[: len(latents)].astype(np.float64)
