"""Multi-scale structural similarity of generated pairs: how varied the fakes are.

Source: Wang et al. 2003 for the measure, Odena et al. 2017 for its use on pairs, the
authors' `metrics/ms_ssim.py` for constants.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from progan_jax.metrics.inputs import Images, in_chunks
from progan_jax.metrics.metric import Measurement

NUM_IMAGES = 20_000  # Of the published protocol: 10,000 pairs.

# From the calibration across scales of Wang et al. 2003.
_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)

_WINDOW, _SIGMA = 11, 1.5

_C1, _C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2

_DIVISOR = 2 ** (len(_WEIGHTS) - 1)

_CHUNK_PIXELS = 2**22  # Pixels of both images of the pairs taken at a time.


def measure(images: Measurement) -> dict[str, float]:
    """Returns the mean similarity of pairs of the images."""
    return {"ms_ssim": ms_ssim(images.chunks(), images.sharding)}


def ms_ssim(images: Images, sharding: jax.sharding.Sharding | None = None) -> float:
    """Returns the mean similarity of neighbours, 1 where all images are alike.

    Images 0 and 1 make the first pair, 2 and 3 the second. The lower the value, the
    more varied the images; it says nothing about how real they look.

    Args:
      images: uint8 [n, R, R, 1 or 3] or chunks of them, n even and R divisible by 16;
        grey is taken as RGB, which does not change the value.
      sharding: Splits the pairs over devices, which changes the value by rounding only.

    Raises:
      ValueError: if the images have another form, or their number is 0 or odd.
    """
    values = []
    for chunk in in_chunks(images, _CHUNK_PIXELS, 2 * _num_devices(sharding)):
        _check(chunk)
        values.append(_of_pairs(chunk[::2], chunk[1::2], sharding))
    if not values:
        raise ValueError("0 images make no pair; MS-SSIM needs 2 at least")
    return float(np.mean(np.concatenate(values), dtype=np.float64))


@jax.jit
def similarity(a: jax.Array, b: jax.Array) -> jax.Array:
    """Returns the MS-SSIM of each pair, float32 [n] from 0 to 1.

    Args:
      a: [n, R, R, C] of values from 0 to 255, R divisible by 16.
      b: Likewise.
    """
    a, b = a.astype(jnp.float32), b.astype(jnp.float32)
    result = jnp.ones(len(a))
    for level, weight in enumerate(_WEIGHTS):
        ssim, contrast = _ssim(a, b)
        value = ssim if level == len(_WEIGHTS) - 1 else contrast
        result *= jnp.maximum(value, 0) ** weight  # Wang et al. 2003, eq. 7.
        if level < len(_WEIGHTS) - 1:
            a, b = _halve(a), _halve(b)
    return result


def _ssim(a: jax.Array, b: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Returns SSIM and its contrast-structure part, each the mean of an image, [n].

    Both are written as 1 less a difference: the same as (2 cov + C2) / (var + C2) and
    (2 mean_a mean_b + C1) / (squares + C1) (Wang et al. 2003, eqs. 1 to 3 with
    C3 = C2 / 2), but exact on equal images.
    """
    blur = partial(_filter, window=_gaussian(min(_WINDOW, a.shape[1])))
    mean_a, mean_b = blur(a), blur(b)
    squares, gap = mean_a**2 + mean_b**2, (mean_a - mean_b) ** 2
    variances = blur(a**2 + b**2) - squares
    contrast = 1 - (blur((a - b) ** 2) - gap) / (variances + _C2)
    luminance = 1 - gap / (squares + _C1)
    return _mean(luminance * contrast), _mean(contrast)


def _mean(x: jax.Array) -> jax.Array:
    return jnp.mean(x, axis=(1, 2, 3))


def _gaussian(size: int) -> np.ndarray:
    """Returns a normalised window; smaller ones are narrower in proportion."""
    sigma = _SIGMA * size / _WINDOW
    window = np.exp(-0.5 * ((np.arange(size) - (size - 1) / 2) / sigma) ** 2)
    return window / window.sum()


def _filter(x: jax.Array, window: np.ndarray) -> jax.Array:
    """Filters rows and columns of [n, s, s, C] where the window lies inside.

    As products with a band matrix: four times faster on CPUs than sums of shifted
    images, and suited to matrix units. In full precision, as tensor cores would round
    the pixels.
    """
    outer = x.shape[1] - len(window) + 1
    band = np.zeros((outer, x.shape[1]), np.float32)
    for i in range(outer):
        band[i, i : i + len(window)] = window
    product = partial(jnp.einsum, precision=lax.Precision.HIGHEST)
    return product("oh,nhwc,pw->nopc", band, x, band)


def _halve(x: jax.Array) -> jax.Array:
    """Takes the mean of 2x2 pixels."""
    n, h, w, c = x.shape
    return x.reshape(n, h // 2, 2, w // 2, 2, c).mean(axis=(2, 4))


def _of_pairs(
    a: np.ndarray, b: np.ndarray, sharding: jax.sharding.Sharding | None
) -> np.ndarray:
    # Filled up with black pairs, whose values are dropped, so that all devices have as
    # many.
    missing = -len(a) % _num_devices(sharding)
    filled = (np.pad(x, ((0, missing), (0, 0), (0, 0), (0, 0))) for x in (a, b))
    return np.asarray(similarity(*jax.device_put(tuple(filled), sharding)))[: len(a)]


def _num_devices(sharding: jax.sharding.Sharding | None) -> int:
    return sharding.num_devices if sharding else 1


def _check(images: np.ndarray) -> None:
    n, side = images.shape[:2]
    if side % _DIVISOR:
        raise ValueError(
            f"images of {side}x{side} pixels: MS-SSIM needs a side divisible by "
            f"{_DIVISOR}"
        )
    if n % 2:
        raise ValueError("an odd number of images leaves one without its pair")
