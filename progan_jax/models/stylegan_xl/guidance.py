"""Guidance of the generator by a classifier of ImageNet.

Source: Sauer et al. 2022, section 3.3. The published program takes DeiT-small.
"""

import jax
import jax.numpy as jnp

from progan_jax.models.common import Params
from progan_jax.models.stylegan_xl.backbone_inputs import normalise, resize
from progan_jax.models.stylegan_xl.backbones import NATIVE, Backbone
from progan_jax.models.stylegan_xl.options import Options


def class_logits(images: jax.Array, classifier: Backbone, params: Params) -> jax.Array:
    """Returns a classifier's logits [N, 1000] of images [N, r, r, 3] in [-1, 1]."""
    return classifier.logits(params, resize(normalise(images, classifier), NATIVE))


def imagenet_classes(labels: jax.Array, options: Options) -> jax.Array:
    """Returns ImageNet's class of each label [N]: the row chosen for it, or itself."""
    rows = [int(row) for row in options.chosen_rows]
    return jnp.asarray(rows, jnp.int32)[labels] if rows else labels


def guidance_loss(
    images: jax.Array, labels: jax.Array, classifier: Backbone, params: Params
) -> jax.Array:
    """Returns the mean cross entropy of the images' classes, a scalar.

    Args:
      images: [N, r, r, 3] in about [-1, 1].
      labels: Classes int [N], numbered as ImageNet's.
      classifier: A backbone with a classifier.
      params: Its weights.
    """
    log_probs = jax.nn.log_softmax(class_logits(images, classifier, params))
    one_hot = jax.nn.one_hot(labels, log_probs.shape[-1], dtype=log_probs.dtype)
    return -jnp.mean(jnp.sum(one_hot * log_probs, axis=-1))
