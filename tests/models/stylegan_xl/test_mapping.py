"""The mapping network and the average of w."""

import jax
import numpy as np
import pytest

from progan_jax.models.stylegan_xl.mapping import update_average
from tests.stylegan_xl_golden import (
    G_OPTIONS,
    assert_close,
    below,
    compiled,
    g_labels,
    g_variables,
    generator,
    golden,
)

all_cases = pytest.mark.parametrize("case", G_OPTIONS)


def w_of(case):
    mapping = compiled(generator(case), method="mapping")
    return mapping(g_variables(case), golden()[f"{case}/z"], g_labels(case))


def one_after_the_other(average, w, classes, decay):
    average = average.copy()
    for row, k in zip(w, classes, strict=True):
        average[k] = decay * average[k] + (1 - decay) * row
    return average


def draw(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


@all_cases
def test_mapping_gives_the_same_w(case):
    theirs = golden()[f"{case}/ws"]
    assert_close(w_of(case)[: len(theirs)], theirs)


@pytest.mark.parametrize("case", ["stem", "uncond"])
def test_the_average_of_w_becomes_the_same(case):
    average = g_variables(case)["stats"]["w_average"]
    new = update_average(average, w_of(case), g_labels(case), 0.998)
    theirs = golden()[f"{case}/ema/w_avg"]
    assert_close(new, theirs)
    # The change is the same, too: the average's digits hold it to 1e-5 at least.
    assert_close(new - average, theirs - average, 1e-4)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("decay", [0.0, 0.7, 0.998, 1.0])
def test_averages_of_classes_follow_images_one_after_the_other(decay):
    classes = np.array([2, 0, 2, 2, 3, 0, 2])
    average, w = draw(5, 6), draw(7, 6, seed=1)
    new = np.asarray(update_average(average, w, np.eye(5)[classes], decay))
    expected = one_after_the_other(average, w, classes, decay)
    np.testing.assert_allclose(new, expected, rtol=0, atol=1e-14)
    np.testing.assert_array_equal(new[[1, 4]], average[[1, 4]])


@pytest.mark.usefixtures("float64")
def test_parts_of_a_batch_move_the_averages_of_classes_as_the_whole():
    labels = np.eye(3)[[0, 1, 0, 0, 2, 0]]
    average, w = draw(3, 4), draw(6, 4, seed=1)
    whole = update_average(average, w, labels, 0.9)
    parts = update_average(average, w[:2], labels[:2], 0.9)
    parts = update_average(parts, w[2:], labels[2:], 0.9)
    np.testing.assert_allclose(parts, whole, rtol=0, atol=1e-14)


def test_without_classes_the_average_moves_once_to_the_mean():
    new = update_average(np.zeros(2), np.array([[1.0, 2.0], [3.0, 6.0]]), None, 0.75)
    np.testing.assert_allclose(new, [0.5, 1.0])


def test_classes_use_the_first_rows_of_the_table():
    """Of the other rows, neither values nor gradients have an effect."""
    g, state = generator("stem"), g_variables("stem")
    z, labels = golden()["stem/z"], g_labels("stem")

    def total(params):
        w = g.apply(state | {"params": params}, z, labels, method="mapping")
        return (w * w).sum()

    gradient = jax.jit(jax.grad(total))(state["params"])["mapping"]["embedding"]
    seen = np.abs(gradient).max(axis=1) > 0
    assert seen.tolist() == [k in golden()["stem/class"] for k in range(8)]


@pytest.mark.parametrize(("case", "given"), [("stem", "no labels"), ("uncond", "lab")])
def test_labels_must_be_as_the_network_is(case, given):
    labels = None if case == "stem" else np.eye(5)[:4]
    with pytest.raises(ValueError, match=f"{given}.* given to a generator of"):
        generator(case).apply(
            g_variables(case), golden()[f"{case}/z"], labels, method="mapping"
        )


def test_embeddings_are_in_the_golden_file_by_class():
    """The table is apart from the other variables."""
    assert "mapping.embed.weight" not in below("stem/G")
    assert golden()["class_embedding"].shape == (8, 24)
