"""Directions of the latent space along which a generator's images change most.

The distribution of the latents is the same in all directions, so only the network
makes some of them differ. Its layers up to a small resolution are approximated by a
linear map; the principal directions are the singular vectors of that map. The w of a
style-based generator have principal directions of their own.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from progan_jax.inference.generator import TrainedGenerator
from progan_jax.models.common import block_name

_RESOLUTION = 8  # Of the layers; finer ones take four times as long each.

_LATENTS = 1024  # For the regression, at least.

_STYLES = 4096  # Latents that are mapped to w.


@dataclass(frozen=True)
class Directions:
    """Principal directions, the one of the largest change first.

    Attributes:
      vectors: [K, latent_size], orthonormal; of each, the largest number is positive.
        Those of w [K, w_size] are orthogonal, and as long as the standard deviation of
        w along them.
      shares: [K], of the sum of squares of all changes, in [0, 1].
    """

    vectors: np.ndarray
    shares: np.ndarray


def find_directions(generator: TrainedGenerator, count: int) -> Directions:
    """Returns the principal directions of a generator; always the same ones.

    Args:
      generator: Its layers up to 8x8 are used.
      count: K at most; there are no more than latents are wide.

    Source: Härkönen et al. 2020 (GANSpace), who take the principal components of an
    early layer and regress them to the latents; here the regression comes first, so
    that noise in other directions does not enter. For one linear layer it is what Shen
    and Zhou 2021 (SeFa) take from its weights.
    """
    rounds = max(1, _LATENTS // (2 * generator.latent_dim))
    slopes = fit_slopes(_early_layers(generator), generator.latent_dim, rounds)
    return decompose(slopes, count)


def find_style_directions(generator: TrainedGenerator, count: int) -> Directions:
    """Returns the principal components of w; always the same ones.

    With classes they are those within a class: differences of classes are no changes
    of an image.

    Args:
      generator: A style-based one.
      count: K at most; there are no more than w is wide.

    Source: Härkönen et al. 2020 (GANSpace), section 3.1.
    """
    classes = np.arange(_STYLES) % max(generator.num_classes, 1)
    rng = np.random.default_rng(0)
    latents = rng.standard_normal((_STYLES, generator.latent_dim))
    w = generator.mapping(latents, classes if generator.num_classes else None)
    for one in range(classes.max() + 1):
        w[classes == one] -= w[classes == one].mean(axis=0)
    found = decompose(w.T / np.sqrt(_STYLES), count)
    variances = found.shares * np.square(w).sum() / _STYLES
    return Directions(found.vectors * np.sqrt(variances)[:, None], found.shares)


def fit_slopes(
    layers: Callable[[np.ndarray], np.ndarray], latent_size: int, rounds: int
) -> np.ndarray:
    """Returns the linear map that is nearest to `layers`, in least squares.

    The latents of the regression lie on the sphere of radius sqrt(latent_size), in
    orthogonal sets and their opposites: its columns are orthogonal, and even functions
    of the latents drop out.

    Args:
      layers: From latents [latent_size, latent_size] to as many rows [M].
      latent_size: Width of the latents.
      rounds: Orthogonal sets.

    Returns:
      [latent_size, M]; latents times it is about `layers` of them, but for a constant.
    """
    rng, total = np.random.default_rng(0), 0.0
    for _ in range(rounds):
        rotation, _ = np.linalg.qr(rng.standard_normal((latent_size, latent_size)))
        latents = (rotation * np.sqrt(latent_size)).astype(np.float32)
        total = total + latents.T @ (layers(latents) - layers(-latents))
    return np.asarray(total) / (2 * latent_size * rounds)


def decompose(slopes: np.ndarray, count: int) -> Directions:
    """Returns the left singular vectors of [latent_size, M] whose values are largest.

    Args:
      slopes: See `fit_slopes`.
      count: K at most.
    """
    wide = slopes.astype(np.float64)
    squares, vectors = np.linalg.eigh(wide @ wide.T)
    squares, vectors = squares[::-1].clip(0), vectors[:, ::-1].T
    largest = np.abs(vectors).argmax(axis=1)
    signs = np.sign(vectors[np.arange(len(vectors)), largest])
    shares = squares / max(squares.sum(), np.finfo(np.float64).tiny)
    return Directions((vectors * signs[:, None])[:count], shares[:count])


def _early_layers(generator: TrainedGenerator) -> Callable[[np.ndarray], np.ndarray]:
    """Returns the function from latents to the activations of the block at 8x8."""
    side = min(_RESOLUTION, generator.resolution)
    network, classes = generator.network.clone(resolution=side), generator.num_classes

    @jax.jit
    def respond(variables: Any, latents: jax.Array) -> jax.Array:
        labels = None
        if classes:
            labels = jax.nn.one_hot(np.arange(len(latents)) % classes, classes)
        _, state = network.apply(
            variables,
            latents,
            labels,
            1.0,
            capture_intermediates=lambda module, _: module.name == block_name(side),
            mutable=["intermediates"],
        )
        (maps,) = jax.tree.leaves(state)
        return maps.reshape(len(latents), -1).astype(np.float32)

    return lambda latents: np.asarray(respond(generator.variables, latents))
