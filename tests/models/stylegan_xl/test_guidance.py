"""Guidance by a classifier, against numbers of the authors' program."""

import functools

import jax
import numpy as np

from progan_jax.models.stylegan_xl.backbones import BACKBONES
from progan_jax.models.stylegan_xl.guidance import (
    class_logits,
    guidance_loss,
    imagenet_classes,
)
from progan_jax.models.stylegan_xl.options import Options
from tests.stylegan_xl_d import channels_first, channels_last, classifier, labels
from tests.stylegan_xl_golden import assert_close, golden


@functools.cache
def guided():
    """Returns the loss, its gradient, and the logits."""
    given = channels_last(golden()["guidance/images"])
    tiny = BACKBONES["deit_tiny"]

    @jax.jit
    def run(images, params):
        loss = lambda x: guidance_loss(x, labels("D16c"), tiny, params)  # noqa: E731
        logits = class_logits(images, tiny, params)
        return *jax.value_and_grad(loss)(images), logits

    return run(given, classifier())


def test_loss_and_logits_are_the_authors():
    loss, _, logits = guided()
    assert_close(loss, golden()["guidance/loss"])
    assert_close(logits[:, :10], golden()["guidance/logits_first_10"])


def test_gradients_are_the_authors():
    gradient = channels_first(guided()[1])
    assert_close(gradient[:2], golden()["guidance/image_grad"], 1e-4)


def test_any_backbone_with_a_classifier_guides():
    for name in ("lite0", "deit_small"):
        backbone = BACKBONES[name]
        shape = jax.ShapeDtypeStruct((2, 32, 32, 3), np.float32)
        zeros = {k: np.zeros(s, "f4") for k, s in backbone.timm_shapes(True).items()}
        params = backbone.from_timm(zeros, classifier=True)
        run = functools.partial(class_logits, classifier=backbone, params=params)
        assert jax.eval_shape(run, shape).shape == (2, 1000)


def test_labels_are_imagenets_classes_or_the_rows_that_are_chosen_for_them():
    labels = np.array([1, 0, 1], np.int32)
    chosen = Options(num_classes=2, embedding_rows=2, embedding_choice="404,817")
    np.testing.assert_array_equal(imagenet_classes(labels, chosen), [817, 404, 817])
    np.testing.assert_array_equal(imagenet_classes(labels, Options()), labels)
