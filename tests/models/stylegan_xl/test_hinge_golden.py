"""A step of D, against numbers of the authors' program: loss and gradients."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from progan_jax.models.stylegan_xl.blurring import blur, blur_sigma
from progan_jax.models.stylegan_xl.hinge import d_hinge
from tests.stylegan_xl_d import (
    channels_last,
    d_path,
    d_variables,
    discriminator,
    frozen,
    our_layout,
)
from tests.stylegan_xl_golden import assert_close, below, golden

_NIMG = 90_000


@functools.cache
def step():
    """Returns the loss, logits of fakes and reals, changed stats, and gradients.

    Fakes are judged first, and reals with the stats that they leave.
    """
    d, variables = discriminator("D16c"), d_variables("D16c")
    sets = [("stem/image", "stem/class"), ("loss/reals", "loss/real_class")]
    images = [blur(channels_last(golden()[k]), blur_sigma(_NIMG)) for k, _ in sets]
    labels = [golden()[k].astype(np.int32) for _, k in sets]
    stacked = jnp.stack(images), np.stack(labels)

    def loss(params, weights):
        def score(stats, inputs):
            given = variables | {"params": params, "stats": stats}
            features = d.apply(given, inputs[0], weights, method="project")
            logits, changed = d.apply(
                given, features, inputs[1], method="judge", mutable=["stats"]
            )
            return changed["stats"], logits

        # A loop, as two copies take twice as long to compile.
        stats, both = jax.lax.scan(score, variables["stats"], stacked)
        fakes, reals = zip(*both, strict=True)  # The lists are by backbone.
        return d_hinge(reals, fakes), (fakes, reals, stats)

    with jax.default_matmul_precision("highest"):
        run = jax.jit(jax.value_and_grad(loss, has_aux=True))
        (value, rest), gradients = run(variables["params"], frozen("D16c"))
    return value, *rest, gradients


def at(tree, path):
    return functools.reduce(lambda tree, part: tree[part], path, tree)


def test_loss_and_logits_are_the_authors():
    value, fakes, reals, _, _ = step()
    assert_close(value, golden()["loss/Dmain/loss"], 1e-6)
    for ours, name in ((fakes, "fake_logits"), (reals, "real_logits")):
        flat = np.concatenate([np.ravel(x) for x in ours])
        assert_close(flat, golden()[f"loss/Dmain/{name}"], 1e-4)


def test_stats_follow_both_sets():
    stats = step()[3]
    for name, theirs in below("loss/Dmain/after").items():
        backbone, rest = name.split(".", 1)
        full = f"discriminators.{backbone}.mini_discs.{rest}"
        ours = at(stats, d_path(full)[1:])
        assert_close(ours, our_layout(full, theirs), 1e-4)


@pytest.mark.parametrize("kind", ["grad", "grad_rows"])
def test_gradients_are_the_authors(kind):
    """To rounding: rectifiers at their corners change single ones by half a percent."""
    gradients = step()[4]
    for name, theirs in below(f"loss/Dmain/{kind}").items():
        ours = np.asarray(at(gradients, d_path(name)[1:]))
        if theirs.ndim == 4:
            ours = ours.transpose(3, 2, 0, 1)
        ours = ours[tuple(map(slice, theirs.shape))]
        if name.endswith("main.0.bias"):  # A normalisation takes it away.
            assert np.abs(ours).max() < 1e-6 > np.abs(theirs).max()
        else:
            assert_close(ours, theirs, 1e-2)


def test_the_norm_of_all_gradients_is_the_authors():
    squares = [np.sum(np.square(x)) for x in jax.tree.leaves(step()[4])]
    theirs = golden()["loss/Dmain/grad_total_norm"]
    np.testing.assert_allclose(np.sqrt(sum(squares)), theirs, rtol=1e-3)
