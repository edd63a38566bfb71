"""The sliced Wasserstein distance as its formulas read, in NumPy and SciPy, float64."""

import numpy as np
from scipy import ndimage

KERNEL = np.outer([1, 4, 6, 4, 1], [1, 4, 6, 4, 1]) / 256


def filtered(image, gain=1.0):
    layers = [
        ndimage.convolve(layer, gain * KERNEL, mode="mirror")
        for layer in np.moveaxis(image, -1, 0)
    ]
    return np.stack(layers, axis=-1)


def expanded(image):
    spread = np.zeros((2 * image.shape[0], 2 * image.shape[1], image.shape[2]))
    spread[::2, ::2] = image
    return filtered(spread, gain=4.0)


def pyramid(image, levels):
    """The Laplacian pyramid of one image [R, R, C]."""
    images, image = [], image.astype(np.float64)
    for _ in range(levels - 1):
        smaller = filtered(image)[::2, ::2]
        images.append(image - expanded(smaller))
        image = smaller
    return [*images, image]


def descriptors(images, rng, patches=128):
    """Normalised patches of each level, [n * patches, 147] each."""
    levels = int(np.log2(images.shape[1] // 16)) + 1
    rows = [[] for _ in range(levels)]
    for image in images:
        for level, found in zip(pyramid(image, levels), rows, strict=True):
            centres = rng.integers(3, len(level) - 3, (patches, 2))
            found += [level[y - 3 : y + 4, x - 3 : x + 4] for y, x in centres]
    normal = []
    for found in map(np.stack, rows):
        scaled = (found - found.mean((0, 1, 2))) / found.std((0, 1, 2))
        normal.append(scaled.reshape(len(found), -1))
    return normal


def swd(reals, fakes, rng, repeats=4, directions=128):
    """The distance x 1e3 for each level, R first."""
    distances = []
    sets = zip(descriptors(reals, rng), descriptors(fakes, rng), strict=True)
    for a, b in sets:
        gaps = []
        for _ in range(repeats):
            axes = rng.normal(size=(directions, a.shape[1]))
            axes /= np.sqrt(np.sum(axes**2, axis=1, keepdims=True))
            sorted_a, sorted_b = (np.sort(x @ axes.T, axis=0) for x in (a, b))
            gaps.append(np.mean(np.abs(sorted_a - sorted_b)))
        distances.append(1e3 * np.mean(gaps))
    return distances
