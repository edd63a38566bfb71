"""Networks before training: weights that NumPy draws, so that nothing is compiled."""

from functools import partial

import jax
import numpy as np

CONSTANTS = {"bias": 0, "noise_strength": 0, "w_average": 0, "constant": 1, "gain": 1}
MAPPING = 100  # Deviation of the kernels of StyleGAN's mapping, which learns slowly.


def untrained(init, *networks, seed=0):
    """Returns what a function of `models.common` would, but for the numbers drawn."""
    shapes = jax.eval_shape(lambda key: init(key, *networks), jax.random.key(0))
    rng = np.random.default_rng(seed)
    return jax.tree_util.tree_map_with_path(partial(_draw, rng), shapes)


def _draw(rng, path, leaf):
    name = path[-1].key
    if name in CONSTANTS:
        return np.full(leaf.shape, CONSTANTS[name], leaf.dtype)
    slow = name == "kernel" and "['mapping']" in jax.tree_util.keystr(path)
    scale = MAPPING if slow else 1
    return (scale * rng.standard_normal(leaf.shape)).astype(leaf.dtype)
