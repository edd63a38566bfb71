"""Editing: images whose latents move along a direction, and directions in files.

`inference.learned_directions` finds directions. They are those of w, or of z where a
generator has no w.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from progan_jax.errors import UserError, reason
from progan_jax.files import write_whole
from progan_jax.inference.generator import TrainedGenerator
from progan_jax.inference.styles import Layers, read_layers


@dataclass(frozen=True)
class Direction:
    """A direction of w, or of z.

    Attributes:
      vector: float32 [w_size] or [latent_dim]; as long as the standard deviation of the
        latents along it.
      agreement: In [0, 1]; of labels the share of held-out ones that it tells, the mean
        of both kinds', so that chance is 0.5; of a score the share of images whose
        score rises along it.
    """

    vector: np.ndarray
    agreement: float


def edit(
    generator: TrainedGenerator,
    z: np.ndarray,
    direction: Direction,
    strengths: Sequence[float],
    label: Any = None,
    *,
    layers: Layers | None = None,
    truncation_psi: float | None = None,
    truncation_cutoff: int | None = None,
    noise: str | None = None,
    seed: int = 0,
) -> np.ndarray:
    """Returns images that are moved along a direction.

    Args:
      generator: The one that the direction is of.
      z: Latents [N, latent_dim].
      direction: What to move along.
      strengths: How far, in standard deviations; 0 leaves images as they are.
      label: See `TrainedGenerator.__call__`.
      layers: Those that are moved, of a style-based generator; all if None.
      truncation_psi: See `TrainedGenerator.__call__`.
      truncation_cutoff: See `TrainedGenerator.__call__`.
      noise: See `TrainedGenerator.__call__`.
      seed: Of random noise.

    Returns:
      float32 [len(strengths), N, r, r, C].

    Raises:
      UserError: if an argument is invalid.
    """
    style = generator.read_style(truncation_psi, truncation_cutoff, noise)
    if not generator.num_layers:
        if layers is not None:
            generator.check_style_based(f"layers={layers}", "leave it out")
        rows = (
            np.stack([move(one, direction.vector[None], np.array([s])) for one in z])
            for s in strengths
        )
        return np.stack([generator(row, label) for row in rows])
    chosen = range(generator.num_layers)
    if layers is not None:
        chosen = read_layers("layers", layers, generator.num_layers)
    w = np.repeat(generator.mapping(z, label)[:, None], generator.num_layers, axis=1)
    images = []
    for strength in strengths:
        moved = w.copy()
        moved[:, list(chosen)] += strength * direction.vector
        moved = generator.truncate(moved, *style[:2], label)
        images.append(generator.synthesis(moved, noise=style.noise, seed=seed))
    return np.stack(images)


def write_direction(path: Path, direction: Direction) -> None:
    """Writes a direction as .npz."""
    buffer = io.BytesIO()
    agreement = np.float64(direction.agreement)
    np.savez(buffer, vector=direction.vector, agreement=agreement)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, buffer.getvalue())


def read_direction(path: Path, generator: TrainedGenerator) -> Direction:
    """Reads what `write_direction` wrote.

    Args:
      path: The .npz.
      generator: That the direction is for.

    Raises:
      UserError: if it cannot be read, or is of latents of another width.
    """
    try:
        with np.load(path) as file:
            vector, agreement = file["vector"], float(file["agreement"])
    except Exception as error:  # Of damaged files, zipfile and NumPy raise many kinds.
        raise UserError(
            f"{path}: it cannot be read as a direction ({reason(error)}); name an .npz "
            "of tools.edit"
        ) from error
    size = generator.latent_dim
    if generator.num_layers:
        size = generator.network.options.w_size
    if vector.shape != (size,) or not np.isfinite(vector).all():
        raise UserError(
            f"{path}: its direction has the shape {list(vector.shape)}, and that of "
            f"{generator.name} must have [{size}] finite numbers; choose another"
        )
    return Direction(vector.astype(np.float32), agreement)


def move(latent: np.ndarray, vectors: np.ndarray, amounts: np.ndarray) -> np.ndarray:
    """Moves a latent along directions, and back to the length that it had.

    A generator that normalises its latents projects them on the sphere of radius
    sqrt(latent_size), and others were trained with latents close to it.

    Args:
      latent: [latent_size], not zero.
      vectors: [K, latent_size], orthonormal.
      amounts: [K], in standard deviations of a latent along a direction.

    Returns:
      float32 [latent_size]; the latent itself, bit for bit, if all amounts are zero.
    """
    if not np.any(amounts):
        return latent.astype(np.float32)
    moved = latent + amounts @ vectors
    length = max(np.linalg.norm(moved), np.finfo(np.float32).tiny)
    return (moved * (np.linalg.norm(latent) / length)).astype(np.float32)
