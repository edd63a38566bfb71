"""Linear separability: do the two sides of a plane in the latents differ in attributes?

Images are sorted by the user's classifiers of attributes, a linear support vector
machine is fitted to their latents for each attribute, and what remains unknown of the
attribute on a given side of its plane is summed: exp of the conditional entropies.

Source: Karras et al. 2019, section 4.2; constants as in the authors' program (`LS`).
"""

import warnings
from collections.abc import Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from progan_jax.errors import MissingWeightsError
from progan_jax.inference.styles import is_style_based
from progan_jax.metrics.attributes import Attributes
from progan_jax.metrics.image_sources import Fakes
from progan_jax.metrics.metric import Measurement
from progan_jax.models.common import generate, one_hot
from progan_jax.models.layers import downscale2d, upscale2d

SAMPLES = 200_000

_BATCH_PIXELS = 2**22  # Of the images of a batch: 64 of 256x256, 4 of 1024x1024.

# A purpose of the run's seed, other than those of other metrics.
_KEY = 5


def measure(images: Measurement) -> dict[str, float]:
    """Returns the separability in Z, and in W if the generator has a mapping."""
    fakes, attributes = images.source, images.attributes
    assert isinstance(fakes, Fakes) and attributes is not None, "checked before"
    drawn = list(_draw(fakes, attributes, images.num_images, images.seed))
    z, w, logits = (
        np.concatenate(parts)[: images.num_images] for parts in zip(*drawn, strict=True)
    )
    values = {"{metric}_z": separability(z, logits)}
    return values | ({"{metric}_w": separability(w, logits)} if w.shape[1] else {})


def _draw(
    fakes: Fakes, attributes: Attributes, count: int, seed: int
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Yields z, w (of no width without a mapping) and logits of batches."""
    generator, side = fakes.sampler.generator, fakes.reals.resolution
    size = max(min(_BATCH_PIXELS // side**2, count), 1)
    run = jax.jit(partial(_classify, generator, attributes, side))
    key = jax.random.fold_in(jax.random.key(seed), _KEY)
    labels = np.zeros(count, np.int32)
    if generator.num_classes:
        labels = np.asarray(fakes.reals.labels(count))
    for start in range(0, count, size):
        key_z, key_noise = jax.random.split(jax.random.fold_in(key, start))
        z = jax.random.normal(key_z, (size, generator.latent_size))
        classes = np.resize(labels[start : start + size], size)
        w, logits = run(fakes.variables, fakes.alpha, z, classes, key_noise)
        yield np.asarray(z), np.asarray(w), np.asarray(logits)


def _classify(
    generator: Any,
    attributes: Attributes,
    side: int,
    variables: dict[str, Any],
    alpha: jax.Array,
    z: jax.Array,
    labels: jax.Array,
    key: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    """Returns w [n, w_size] and logits [n, attributes] of latents."""
    numbers = jnp.arange(len(z), dtype=jnp.int32)
    images = generate(generator, variables, z, labels, alpha, numbers, key)
    images = upscale2d(images.astype(jnp.float32), side // generator.resolution)
    images = downscale2d(images, side // attributes.side)
    if images.shape[3] < attributes.channels:
        images = jnp.repeat(images, attributes.channels, axis=3)
    w = jnp.zeros((len(z), 0))
    if is_style_based(generator):
        classes = one_hot(generator, labels)
        w = generator.apply(variables, z, classes, method="mapping")
    return w, attributes.logits(images)


def separability(latents: np.ndarray, logits: np.ndarray) -> float:
    """Returns 2 to the sum of the attributes' conditional entropies, from 1.

    Args:
      latents: [n, d].
      logits: [n, attributes]; 0 or more for the first of an attribute's classes. The
        half of the images of which the classifier is surest is kept.
    """
    entropies = []
    for column in logits.T:
        # The larger probability of softmax([o, -o]); in float32 many are 1.
        sure = 1 / (1 + np.exp(-2 * np.abs(column.astype(np.float32))))
        surest = np.argsort(-sure, kind="stable")[: len(column) // 2]
        labels = (column[surest] < 0).astype(np.int64)
        predicted = predict(latents[surest], labels)
        entropies.append(conditional_entropy(shares(predicted, labels)))
    return float(np.exp2(np.sum(entropies)))


def predict(latents: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Returns on which side of a linear machine's plane the latents lie, int [n].

    The machine is fitted to the same latents [n, d] and labels 0 or 1 [n]; labels that
    are all alike are returned.
    """
    if len(np.unique(labels)) < 2:
        return labels
    # The defaults of scikit-learn in 2019: hinge squared, C = 1, the dual problem.
    machine = import_machine()(dual=True, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Of 1,000 iterations that were too few.
        return machine.fit(latents, labels).predict(latents)


def import_machine() -> Any:
    """Returns scikit-learn's linear support vector machine.

    Raises:
      MissingWeightsError: if scikit-learn is missing.
    """
    try:
        from sklearn.svm import LinearSVC
    except ImportError as error:
        raise MissingWeightsError(
            "config.eval.metrics: ls needs scikit-learn; install it with: pip install "
            "scikit-learn"
        ) from error
    return LinearSVC


def shares(predicted: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Returns the shares of predictions (rows) with labels, float32 [2, 2]."""
    counts = np.bincount(2 * predicted + labels, minlength=4).reshape(2, 2)
    return (counts / len(labels)).astype(np.float32)


def conditional_entropy(table: np.ndarray) -> float:
    """Returns H(Y|X) in bits, not below 0, of shares of X (rows) with Y (columns)."""
    both = table.astype(np.float64)
    entropies = [_entropy(p) for p in (both.sum(axis=0), both.sum(axis=1), both)]
    of_y, of_x, of_both = entropies
    information = of_x + of_y - of_both
    return max(of_y - information, 0.0)


def _entropy(shares: np.ndarray) -> float:
    there = shares[shares > 0]
    return float(-np.sum(there * np.log2(there)))
