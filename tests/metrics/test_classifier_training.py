import itertools

import jax
import numpy as np
import pytest

from progan_jax.data.sources import load_digits
from progan_jax.errors import UserError
from progan_jax.metrics import classifier_training
from progan_jax.metrics.classifier import ARCHITECTURES, make_classifier
from progan_jax.metrics.classifier_training import (
    LabelledImages,
    TrainOptions,
    _augment,
    train,
)

# Ten classes as likely as each other: an untrained network is right for a tenth.
_LEARNT = 0.35


@pytest.fixture(scope="module")
def digits():
    pyramid = load_digits(8)
    images, labels = pyramid.levels[8][:], pyramid.labels
    return (
        LabelledImages(images[:1500], labels[:1500]),
        LabelledImages(images[1500:], labels[1500:]),
    )


def run(digits, architecture="digit", width=8, **options):
    network = ARCHITECTURES[architecture](num_classes=10, width=width)
    return train(network, *digits, TrainOptions(**{"epochs": 1} | options))


@pytest.mark.parametrize(("architecture", "width"), [("digit", 8), ("residual", 8)])
def test_both_architectures_learn_the_digits_in_seconds(digits, architecture, width):
    _, curve = run(digits, architecture, width, epochs=6)
    assert [row.epoch for row in curve] == [1, 2, 3, 4, 5, 6]
    assert curve[-1].test_accuracy > _LEARNT
    assert curve[-1].train_accuracy > _LEARNT
    assert curve[-1].loss < curve[0].loss
    assert sorted(curve, key=lambda row: row.wall_sec) == curve


def digest(variables):
    return make_classifier(variables, {}).digest


def test_seed_alone_decides_the_weights(digits):
    first, curve = run(digits, seed=1)
    again, same_curve = run(digits, seed=1)
    other, _ = run(digits, seed=2)
    assert digest(first) == digest(again) != digest(other)
    assert curve[0][:4] == same_curve[0][:4]


def test_accuracy_of_the_curve_is_that_of_the_returned_weights(digits):
    variables, curve = run(digits, epochs=2)
    network = ARCHITECTURES["digit"](num_classes=10, width=8)
    logits = network.apply(variables, digits[1].images, train=False)
    right = np.argmax(logits, axis=1) == digits[1].labels
    assert curve[-1].test_accuracy == pytest.approx(np.sum(right) / len(right))


def test_test_images_do_not_change_what_is_learnt(digits):
    train_set, test_set = digits
    few = LabelledImages(test_set.images[:7], test_set.labels[:7])
    assert digest(run((train_set, few))[0]) == digest(run(digits)[0])


def test_clock_ends_the_training_with_the_cycle_complete(digits, monkeypatch):
    seconds = itertools.count(1)
    pace = classifier_training._Pace
    monkeypatch.setattr(pace, "elapsed", lambda self: (next(seconds), 0.0))
    seen = []
    network = ARCHITECTURES["digit"](num_classes=10, width=8)
    options = TrainOptions(epochs=1000, minutes=0.25)
    _, curve = train(network, *digits, options, on_step=seen.append)
    # Eleven steps and the test images of an epoch take a second each.
    expected = [second / 15 for second in range(1, 16) if second != 12]
    assert seen == pytest.approx(expected)
    assert [row.wall_sec for row in curve] == [12, 16]


def test_epochs_end_the_training_before_the_clock(digits):
    seen = []
    network = ARCHITECTURES["digit"](num_classes=10, width=8)
    train(network, *digits, TrainOptions(1, minutes=1e6), on_step=seen.append)
    assert seen == pytest.approx([step / 11 for step in range(1, 12)])


def test_sets_smaller_than_a_batch_are_one_batch(digits):
    few = LabelledImages(digits[0].images[:20], digits[0].labels[:20])
    seen = []
    network = ARCHITECTURES["digit"](num_classes=10, width=8)
    train(network, few, few, TrainOptions(epochs=3), on_step=seen.append)
    assert seen == pytest.approx([1 / 3, 2 / 3, 1])


def test_a_loss_that_is_not_finite_is_an_error(digits, monkeypatch):
    monkeypatch.setattr(classifier_training, "_PEAK_RATE", 1e30)
    with pytest.raises(UserError, match=r"loss is nan in epoch 1; .*--seed"):
        run(digits)


@pytest.mark.parametrize("mirror", [False, True])
def test_augmented_images_are_shifted_by_an_eighth_at_most(key, mirror):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (64, 16, 16, 3), np.uint8)
    drawn = np.asarray(jax.jit(_augment, static_argnums=2)(key, images, mirror))
    places = [find(a, b) for a, b in zip(drawn, images, strict=True)]
    # Of 25 shifts 64 images take many.
    assert len({place[:2] for place in places}) > 15
    assert {place[2] for place in places} == ({False, True} if mirror else {False})


def find(drawn, image):
    """Returns the shift of the middle of an image, and whether it is mirrored."""
    for flipped in (False, True):
        shown = drawn[:, ::-1] if flipped else drawn
        for y in range(-2, 3):
            for x in range(-2, 3):
                middle = image[4 + y : 12 + y, 4 + x : 12 + x]
                if np.array_equal(shown[4:12, 4:12], middle):
                    return y, x, flipped
    raise AssertionError("the image is not there")


@pytest.mark.slow
def test_residual_classifier_reads_97_of_100_digits():
    pyramid = load_digits(16)
    held = np.arange(pyramid.num_images) % 10 == 9
    images, labels = pyramid.levels[16][:], pyramid.labels
    sets = [LabelledImages(images[rows], labels[rows]) for rows in (~held, held)]
    _, curve = run(sets, "residual", width=32, epochs=30)
    assert curve[-1].test_accuracy > 0.97
