"""Perceptual path length: how far images move for a small step of the latents.

Pairs of latents are joined by a path, in Z or in W, and the distance of the images at
two near places of it is divided by the square of the step. "full" takes places anywhere
on the path, "end" its beginning.

Source: Karras et al. 2019, section 4.1; constants, crop and filter as in the authors'
program (`PPL`).
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from progan_jax.metrics.image_sources import Fakes
from progan_jax.metrics.metric import Measurement
from progan_jax.models.common import generate, one_hot
from progan_jax.models.layers import downscale2d, upscale2d

PAIRS = 100_000

EPSILON = 1e-4

SMALLEST_SIDE = 32  # Of the images: VGG-16 needs 16 pixels, half of them.

_BATCH = 16  # Pairs that share their noise.

_LARGEST = 256  # Crops are shrunk to this side.

# A purpose of the run's seed, other than those of training, of grids and of samples.
_KEY = 4

# Distance of two batches of images, float [n, h, w, C] in 0..255, as [n].
Distance = Callable[[jax.Array, jax.Array], jax.Array]


def measure(images: Measurement, *, space: str, at_end: bool) -> dict[str, float]:
    """Returns the path length of a snapshot's generator.

    Args:
      images: The generator's, and LPIPS.
      space: "z" or "w"; for the latter the generator needs a mapping.
      at_end: Whether places are the beginnings of the paths.
    """
    fakes, distance = images.source, images.distance
    assert isinstance(fakes, Fakes) and distance is not None, "checked before"
    options = replace(fakes.sampler.generator.options, dtype="float32")
    generator = fakes.sampler.generator.clone(options=options)
    factor = fakes.reals.resolution // generator.resolution
    settings = {"space": space, "epsilon": EPSILON, "enlarge": factor}
    state = fakes.variables, fakes.alpha
    parts = [
        np.asarray(_compiled(generator, distance, *state, *inputs, **settings))
        for inputs in _draw(images, fakes, at_end)
    ]
    distances = np.concatenate(parts)[: images.num_images]
    return {"{metric}": filtered_mean(distances)}


def _draw(images: Measurement, fakes: Fakes, at_end: bool) -> Iterator[tuple[Any, ...]]:
    """Yields latents, classes and places of a batch of pairs, and a key of its noise.

    Both latents of a pair have the same class, that of a real image.
    """
    generator, count = fakes.sampler.generator, images.num_images
    whole = -(-count // _BATCH) * _BATCH
    sharding = images.sharding
    if sharding and _BATCH % sharding.num_devices:
        sharding = None  # On one device: noise must not depend on their number.
    labels = np.zeros(whole, np.int32)
    if generator.num_classes:
        labels = np.resize(np.asarray(fakes.reals.labels(count)), whole)
    for start in range(0, whole, _BATCH):
        key = jax.random.fold_in(jax.random.key(images.seed), _KEY)
        keys = jax.random.split(jax.random.fold_in(key, start // _BATCH), 3)
        z = jax.random.normal(keys[0], (2 * _BATCH, generator.latent_size))
        t = jax.random.uniform(keys[1], (_BATCH,))
        classes = labels[start : start + _BATCH].repeat(2)
        inputs = z, classes, jnp.zeros(_BATCH) if at_end else t
        yield *jax.device_put(inputs, sharding), keys[2]


def path_distances(
    generator: Any,
    distance: Distance,
    variables: dict[str, Any],
    alpha: jax.Array,
    z: jax.Array,
    labels: jax.Array,
    t: jax.Array,
    key: jax.Array,
    *,
    space: str,
    epsilon: float,
    enlarge: int = 1,
) -> jax.Array:
    """Returns the distances of a batch of pairs over the square of the step, [n].

    All images have the same noise. Everything is computed in float32 at the highest
    precision: of the difference of two images about three digits are left.

    Args:
      generator: The network, of float32.
      distance: Of two batches of images.
      variables: The generator's.
      alpha: Weight of its newest block.
      z: Latents [2n, latent_size]; even and odd rows are the ends of the paths.
      labels: Classes int [2n].
      t: Places on the paths, [n] in [0, 1].
      key: Of the noise.
      space: "z" or "w": where paths are arcs or lines.
      epsilon: The step.
      enlarge: Pixels of the images are repeated this often.
    """
    with jax.default_matmul_precision("highest"):
        places = jnp.concatenate([t, t + epsilon])[:, None]
        twice = partial(jnp.tile, reps=(2, 1))
        numbers = jnp.zeros(len(places), jnp.int32)
        if space == "z":
            latents = slerp(twice(z[::2]), twice(z[1::2]), places)
            classes = jnp.tile(labels[::2], 2)
            images = generate(
                generator, variables, latents, classes, alpha, numbers, key
            )
        else:
            classes = one_hot(generator, labels)
            w = generator.apply(variables, z, classes, method="mapping")
            start, end = twice(w[::2]), twice(w[1::2])
            images = generator.apply(
                variables,
                start + (end - start) * places,
                alpha,
                numbers,
                rngs={"noise": key},
                method="synthesis",
            )
        crops = crop(upscale2d(images, enlarge) if enlarge > 1 else images)
        first, second = jnp.split((crops + 1) * 127.5, 2)
        return distance(first, second) / epsilon**2


# One for all snapshots of a resolution, and for both kinds of places on a path.
_compiled = jax.jit(
    path_distances, static_argnames=("generator", "space", "epsilon", "enlarge")
)


def slerp(a: jax.Array, b: jax.Array, t: jax.Array) -> jax.Array:
    """Returns unit vectors on the arcs from the directions of a to those of b.

    Unlike the latents of a film (`display.frames.slerp`) they have no length.

    Args:
      a: [n, d], not zero.
      b: [n, d], in no row a multiple of a.
      t: [n, 1], 0 for a and 1 for b.

    Source: `slerp` in the authors' program.
    """
    a, b = _unit(a), _unit(b)
    cosine = jnp.sum(a * b, axis=-1, keepdims=True)
    angle = t * jnp.arccos(cosine)
    across = _unit(b - cosine * a)
    return _unit(a * jnp.cos(angle) + across * jnp.sin(angle))


def _unit(x: jax.Array) -> jax.Array:
    return x / jnp.sqrt(jnp.sum(jnp.square(x), axis=-1, keepdims=True))


def crop(images: jax.Array) -> jax.Array:
    """Returns the middle of faces, at most 256 pixels wide, of [n, h, w, C].

    It is taken of all images, whatever they show, and shrunk by means over blocks.
    """
    eighth = images.shape[1] // 8
    images = images[:, 3 * eighth : 7 * eighth, 2 * eighth : 6 * eighth]
    factor = images.shape[1] // _LARGEST
    return downscale2d(images, factor) if factor > 1 else images


def filtered_mean(distances: np.ndarray) -> float:
    """Returns the mean of [n] without what lies outside the 1st and 99th percentiles.

    The bounds are samples, the next lower and the next higher one, and are kept.

    Raises:
      ValueError: if a distance is not finite.
    """
    if not np.isfinite(distances).all():
        raise ValueError("distances of images are not finite")
    low = np.percentile(distances, 1, method="lower")
    high = np.percentile(distances, 99, method="higher")
    kept = distances[(low <= distances) & (distances <= high)]
    return float(np.mean(kept, dtype=np.float64))
