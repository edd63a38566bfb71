"""Augmentations as matrices, against which losses of augmented images are computed."""

import jax
import jax.numpy as jnp
import numpy as np

from progan_jax.models.augmentation import augment, draw

POLICY = ("color", "translation", "cutout")


def drawn_for(key, constant, what, n, side, policy=POLICY):
    """Returns the draws of n images, by the keys that a family folds."""
    key = jax.random.fold_in(jax.random.fold_in(key, constant), what)
    return draw(key, jnp.arange(n, dtype=jnp.int32), side, policy)


def affine_maps(drawn, n, side):
    """Returns matrices [n, P, P] and offsets [n, P] of changes of grey images."""
    pixels = side * side
    basis = np.concatenate([np.zeros((1, pixels)), np.eye(pixels)])
    basis = jnp.asarray(basis.reshape(-1, side, side, 1))
    matrices, offsets = [], []
    for i in range(n):
        of_image = jax.tree.map(
            lambda x, i=i: jnp.repeat(x[i : i + 1], pixels + 1, axis=0), drawn
        )
        seen = np.float64(augment(basis, of_image)).reshape(-1, pixels)
        offsets.append(seen[0])
        matrices.append((seen[1:] - seen[0]).T)
    return np.stack(matrices), np.stack(offsets)


def see(maps, images):
    """Returns what D sees of images, [n, P] in float64."""
    matrices, offsets = maps
    flat = np.float64(images).reshape(len(images), -1)
    return np.einsum("npq,nq->np", matrices, flat) + offsets


def pull_back(maps, gradients):
    """Returns gradients by the images [n, P] of those by what D sees of them."""
    return np.einsum("npq,np->nq", maps[0], gradients)
