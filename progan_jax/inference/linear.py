"""Linear classifiers of latents: logistic regression."""

from functools import partial

import numpy as np
from scipy.optimize import minimize

from progan_jax.errors import UserError

_RIDGE = 1.0  # Weight of half the square of the normal.

_PARTS, _LEAST = 5, 2


def split_in_two(labels: np.ndarray) -> np.ndarray:
    """Returns which labels [N] are the larger of two values, or above the median.

    Raises:
      UserError: if one kind has less than two.
    """
    values = np.unique(labels)
    bound = values[0] if len(values) == 2 else np.median(labels)
    positive = labels > bound
    least = min(positive.sum(), (~positive).sum())
    if not np.isfinite(labels).all() or least < _LEAST:
        raise UserError(
            f"labels: {len(labels)} images have {positive.sum()} of one kind and "
            f"{(~positive).sum()} of the other; label at least {_LEAST} of each"
        )
    return positive


def fit_plane(latents: np.ndarray, positive: np.ndarray) -> np.ndarray:
    """Returns the normal of the plane that tells latents apart, float64 [d].

    Args:
      latents: [N, d].
      positive: bool [N], true where the normal points to.
    """
    return _fit(_with_ones(latents), positive)[:-1]


def held_out_accuracy(latents: np.ndarray, positive: np.ndarray) -> float:
    """Returns how many of the latents are told that a plane was not fitted to.

    Args:
      latents: [N, d].
      positive: bool [N], with two of each kind at least.

    Returns:
      The mean of both kinds' shares, in [0, 1]; 0.5 is chance.
    """
    parts = min(_PARTS, positive.sum(), (~positive).sum())
    part, told = np.empty(len(positive), int), np.empty(len(positive), bool)
    for kind in (positive, ~positive):  # Each part has some of each kind.
        part[kind] = np.random.default_rng(0).permutation(kind.sum()) % parts
    rows = _with_ones(latents)
    for one in range(parts):
        kept = part != one
        told[~kept] = rows[~kept] @ _fit(rows[kept], positive[kept]) > 0
    right = told == positive
    return float((right[positive].mean() + right[~positive].mean()) / 2)


def _with_ones(latents: np.ndarray) -> np.ndarray:
    """Returns centred latents of mean square 1, with a column for the constant."""
    centred = latents.astype(np.float64) - latents.mean(axis=0)
    size = np.sqrt(np.mean(centred**2)) or 1.0
    return np.column_stack([centred / size, np.ones(len(centred))])


def _fit(rows: np.ndarray, positive: np.ndarray) -> np.ndarray:
    """Returns the plane [d + 1] of the least regularised logistic loss."""
    signs = np.where(positive, 1.0, -1.0)
    start = np.zeros(rows.shape[1])
    found = minimize(partial(_loss, rows, signs), start, jac=True, method="L-BFGS-B")
    return found.x


def _loss(
    rows: np.ndarray, signs: np.ndarray, plane: np.ndarray
) -> tuple[float, np.ndarray]:
    """Returns the loss and its gradient; the constant is not regularised."""
    margins, normal = signs * (rows @ plane), np.append(plane[:-1], 0.0)
    value = np.logaddexp(0, -margins).sum() + _RIDGE / 2 * np.sum(normal**2)
    wrong = np.exp(-np.logaddexp(0, margins))
    return float(value), _RIDGE * normal - rows.T @ (signs * wrong)
