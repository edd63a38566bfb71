"""Paths through the latents, which films follow."""

from collections.abc import Sequence

import numpy as np
from scipy.ndimage import gaussian_filter1d

from progan_jax.sampling import draw_latents, seed_key, seeded_latents


def wander(
    seed: int, frames: int, images: int, latent_size: int, smoothing: float
) -> np.ndarray:
    """Returns latents that move smoothly and end where they begin.

    Independent latents of every frame are smoothed over time and divided by the root
    of their mean square, which smoothing makes small.

    Args:
      seed: Of the latents.
      frames: Moments of the path.
      images: Paths side by side.
      latent_size: Width of the latents.
      smoothing: Standard deviation of the Gaussian, in frames; 0 leaves the latents as
        independent as they are.

    Returns:
      float32 [frames, images, latent_size], of mean square 1.

    Source: Karras et al. 2018, the authors' program for the paper's video.
    """
    latents = draw_latents(seed_key(seed), frames * images, latent_size)
    path = latents.reshape(frames, images, latent_size).astype(np.float64)
    if smoothing:
        path = gaussian_filter1d(path, smoothing, axis=0, mode="wrap")
    return (path / np.sqrt(np.mean(path**2))).astype(np.float32)


def travel(seeds: Sequence[int], frames: int, latent_size: int) -> np.ndarray:
    """Returns latents that go from seed to seed, and from the last to the first.

    Args:
      seeds: Two at least; the first image that each draws is passed.
      frames: Moments of the path, about equally many from each seed to the next.
      latent_size: Width of the latents.

    Returns:
      float32 [frames, 1, latent_size].
    """
    stops = np.concatenate([seeded_latents(seed, 1, latent_size) for seed in seeds])
    times = np.arange(frames) / frames * len(seeds)
    path = [
        slerp(stops[int(t)], stops[(int(t) + 1) % len(seeds)], t % 1) for t in times
    ]
    return np.stack(path)[:, None].astype(np.float32)


def slerp(a: np.ndarray, b: np.ndarray, t: float) -> np.ndarray:
    """Goes from a to b along an arc, its length from the one's to the other's.

    Args:
      a: A latent [latent_size], not zero.
      b: Another; if it points exactly away from a, there is no one arc, and the way
        is straight.
      t: Weight of b, 0..1.

    Source: Shoemake 1985, for unit vectors.
    """
    length_a, length_b = np.linalg.norm(a), np.linalg.norm(b)
    unit_a, unit_b = a / length_a, b / length_b
    angle = np.arccos(np.clip(unit_a @ unit_b, -1, 1))
    if np.sin(angle) < 1e-6:
        return (1 - t) * a + t * b
    arc = np.sin((1 - t) * angle) * unit_a + np.sin(t * angle) * unit_b
    return arc / np.sin(angle) * ((1 - t) * length_a + t * length_b)
