"""Path lengths of the stem and their penalty, against the authors' numbers."""

import functools

import jax
import numpy as np
import pytest

from progan_jax.models.stylegan.layers import broadcast_w
from progan_jax.models.stylegan_xl.path_length import (
    path_gradients,
    path_lengths,
    penalty,
)
from tests.stylegan_xl_golden import (
    assert_close,
    below,
    g_labels,
    g_leaf,
    g_path,
    g_variables,
    generator,
    golden,
    meta,
)


@functools.cache
def computed():
    """Returns loss, new average, lengths, gradients by w and by parameters."""
    g, stats = generator("stem"), g_variables("stem")["stats"]
    z, labels = golden()["stem/z"][:2], g_labels("stem")[:2]
    noise = golden()["pl/noise"].transpose(0, 2, 3, 1)

    def loss(params):
        state = {"params": params, "stats": stats}
        w = broadcast_w(g.apply(state, z, labels, method="mapping"), g.num_layers)
        synthesise = functools.partial(g.apply, state, method="synthesis")
        lengths = path_lengths(synthesise, w, noise)
        value, average = penalty(lengths, meta()["pl_mean_before"])
        return value, (average, lengths, path_gradients(synthesise, w, noise))

    @jax.jit
    def both(params):
        with jax.default_matmul_precision("highest"):
            return jax.value_and_grad(loss, has_aux=True)(params)

    (value, rest), gradients = both(g_variables("stem")["params"])
    return value, *rest, gradients


def test_lengths_and_penalty_are_the_same():
    value, average, lengths, by_w, _ = computed()
    theirs = below("pl/full")
    assert_close(by_w, theirs["pl_grads"])
    assert_close(lengths, theirs["pl_lengths"])
    assert_close(value, theirs["loss"])
    assert_close(average, theirs["pl_mean_after"])


def test_gradients_of_the_penalty_are_the_same():
    *_, gradients = computed()
    theirs = below("pl/full/grad")
    assert len(theirs) == 4
    for name, expected in theirs.items():
        _, *path = g_path(name)
        ours = functools.reduce(lambda tree, part: tree[part], path, gradients)
        assert_close(ours, g_leaf(name, expected))
    squares = [np.sum(np.square(x, dtype=float)) for x in jax.tree.leaves(gradients)]
    norm = golden()["pl/full/grad_total_norm"]
    assert np.sqrt(sum(squares)) == pytest.approx(norm, rel=1e-5)


def test_the_authors_program_on_gpus_sees_only_the_input():
    """There gradients stop at kernels, and so at all styles: docs of its loss."""
    _, _, _, by_w, _ = computed()
    theirs = below("pl/as_on_gpu")
    assert_close(by_w[:, 0], theirs["pl_grads"][:, 0])
    assert not theirs["pl_grads"][:, 1:].any()
    only_first = np.sqrt(np.sum(np.square(by_w[:, 0]), axis=1) / by_w.shape[1])
    assert_close(only_first, theirs["pl_lengths"])
    value, average = penalty(only_first, meta()["pl_mean_before"])
    assert_close(value, theirs["loss"])
    assert_close(average, theirs["pl_mean_after"])


def test_gradients_flow_through_the_average():
    """The penalty of one length falls with the square of how far it lags."""
    value, average = penalty(np.array([3.0]), 1.0, rate=0.25, weight=2.0)
    assert (float(value), float(average)) == (2 * 1.5**2, 1.5)
    slope = jax.grad(lambda x: penalty(x, 1.0, 0.25, 2.0)[0])(np.array([3.0]))
    np.testing.assert_allclose(slope, [2 * 2 * 1.5 * 0.75])
