"""Random weights of LPIPS, by the names of torchvision and of the lpips package."""

import functools

import numpy as np

WIDTHS = (64, 128, 256, 512, 512)

# Places of the convolutions in torchvision's `vgg16().features`.
CONVOLUTIONS = {
    **{"conv1_1": 0, "conv1_2": 2, "conv2_1": 5, "conv2_2": 7},
    **{"conv3_1": 10, "conv3_2": 12, "conv3_3": 14},
    **{"conv4_1": 17, "conv4_2": 19, "conv4_3": 21},
    **{"conv5_1": 24, "conv5_2": 26, "conv5_3": 28},
}


@functools.cache
def random_vgg16():
    """A state dictionary whose maps keep their scale, with a layer that is not used."""
    random, inputs = np.random.default_rng(0), 3
    state = {"classifier.0.bias": np.zeros(3, np.float32)}
    for name, place in CONVOLUTIONS.items():
        width = WIDTHS[int(name[4]) - 1]
        kernel = random.standard_normal((width, inputs, 3, 3), np.float32)
        kernel *= np.sqrt(np.float32(2 / (9 * inputs)))
        bias = random.standard_normal(width, np.float32) / np.float32(10)
        state |= {f"features.{place}.weight": kernel, f"features.{place}.bias": bias}
        inputs = width
    return state


@functools.cache
def random_heads():
    random = np.random.default_rng(1)
    return {
        f"lin{n}.model.1.weight": random.random((1, width, 1, 1), np.float32)
        for n, width in enumerate(WIDTHS)
    }
