"""StyleGAN's networks, against numbers of the authors' TensorFlow program."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.stylegan_golden import (
    OPTIONS,
    assert_close_to_largest,
    channels_last,
    classes,
    compiled,
    consecutive,
    full_size,
    golden,
    networks,
    one_hot,
    stage,
    stage_size,
    strided,
    variables,
)

LODS = (0.0, 0.3, 1.0, 1.5, 2.0)

all_lods = pytest.mark.parametrize("lod", LODS)
both_nets = pytest.mark.parametrize("net", OPTIONS)


def images_at(net, lod):
    """Returns our images of `z` in full size."""
    resolution, alpha = stage(net, lod)
    g, _ = networks(net, resolution)
    inputs = golden()[f"{net}/z"], one_hot(net), alpha
    return full_size(net, compiled(g)(variables(net, "G", resolution), *inputs))


def scores_at(net, images, lod):
    """Returns our scores of [N, C, R, R]."""
    resolution, alpha = stage(net, lod)
    _, d = networks(net, resolution)
    labels = classes(net)
    labels = None if labels is None else consecutive(labels)
    images = stage_size(channels_last(consecutive(images)), resolution)
    out = compiled(d)(variables(net, "D", resolution), images, labels, alpha)
    return strided(np.asarray(out.scores))


@pytest.mark.parametrize(
    ("net", "resolution"),
    [(n, r) for n in OPTIONS for r in (4, 8, 16, 32) if r <= OPTIONS[n].resolution],
)
def test_variables_are_those_of_our_networks(net, resolution):
    g, d = networks(net, resolution)
    key, labels = jax.random.key(0), one_hot(net)
    images = jnp.zeros((8, resolution, resolution, 3))
    ours = {
        "G": jax.eval_shape(g.init, key, golden()[f"{net}/z"], labels),
        "D": jax.eval_shape(d.init, key, images, classes(net)),
    }
    for network, tree in ours.items():
        expected = jax.tree.map(jnp.shape, {"stats": {}} | tree)
        assert jax.tree.map(jnp.shape, variables(net, network, resolution)) == expected


@both_nets
def test_mapping_gives_the_same_w(net):
    g, _ = networks(net)
    w = compiled(g, method="mapping")(
        variables(net, "G"), golden()[f"{net}/z"], one_hot(net)
    )
    assert_close_to_largest(w, golden()[f"{net}/dlatents"])


@all_lods
@both_nets
def test_generator_emits_the_same_images(net, lod):
    theirs = golden()[f"{net}/G_out/lod{lod:.2f}"]
    assert_close_to_largest(images_at(net, lod)[: len(theirs)], theirs)


@all_lods
@both_nets
def test_discriminator_gives_the_same_scores(net, lod):
    scores = scores_at(net, golden()[f"{net}/reals"], lod)
    assert_close_to_largest(scores, golden()[f"{net}/D_scores/lod{lod:.2f}"][:, 0])


@all_lods
@both_nets
def test_discriminator_gives_the_same_scores_of_our_images(net, lod):
    scores = scores_at(net, images_at(net, lod), lod)
    theirs = golden()[f"{net}/D_scores_fake/lod{lod:.2f}"]
    assert_close_to_largest(scores, theirs[:, 0])


@both_nets
def test_truncation_gives_the_same_w_and_images(net):
    g, _ = networks(net)
    g = g.clone(truncation_psi=0.7)
    theirs = golden()[f"{net}/truncated/dlatents"]
    state, z, labels = variables(net, "G"), golden()[f"{net}/z"], one_hot(net)
    w = compiled(g, method="mapping")(state, z, labels)
    assert_close_to_largest(compiled(g, method="truncate")(state, w), theirs)
    images = full_size(net, compiled(g)(state, z, labels))
    theirs = golden()[f"{net}/truncated/G_out/lod0.00"]
    assert_close_to_largest(images[: len(theirs)], theirs)


@pytest.mark.parametrize("lod", [0.0, 1.5])
@both_nets
def test_mixed_styles_give_the_same_images(net, lod):
    resolution, alpha = stage(net, lod)
    g, _ = networks(net, resolution)
    inputs = {name: golden()[f"{net}/{name}"] for name in ("z", "z2")}
    cutoff = golden()[f"{net}/mixing/cutoff"]

    @jax.jit
    def mix(state, first, second, cutoff):
        with jax.default_matmul_precision("highest"):
            images, _ = g.apply(
                state,
                first,
                one_hot(net),
                alpha,
                train=True,
                mixed_z=second,
                mixed_from=cutoff,
                mutable=["stats"],
            )
        return images

    state = variables(net, "G", resolution)
    images = full_size(net, mix(state, inputs["z"], inputs["z2"], cutoff))
    theirs = golden()[f"{net}/mixing/G_out/lod{lod:.2f}"]
    assert_close_to_largest(images[: len(theirs)], theirs)
    # The mixing matters.
    unmixed = images_at(net, lod)[: len(theirs)]
    assert np.abs(unmixed - theirs).max() > 0.01 * np.abs(theirs).max()


@both_nets
def test_a_w_for_each_layer_gives_the_mixed_images(net):
    g, _ = networks(net)
    w, theirs = (golden()[f"{net}/mixing/{k}"] for k in ("dlatents", "G_out/lod0.00"))
    images = compiled(g, method="synthesis")(variables(net, "G"), w)
    assert_close_to_largest(full_size(net, images)[: len(theirs)], theirs)


@both_nets
def test_the_average_of_w_follows_training_calls_and_no_others(net):
    g, _ = networks(net)
    state, z = variables(net, "G"), golden()[f"{net}/z"]

    @functools.partial(jax.jit, static_argnames="train")
    def stats_after(state, train=False):
        """Without the images: XLA leaves out what only they need."""
        settings = {"train": train, "mutable": ["stats"]}
        return g.apply(state, z, one_hot(net), **settings)[1]

    for steps in ("one_step", "two_steps"):
        changed = stats_after(state, train=True)
        state = state | changed
        theirs = golden()[f"{net}/dlatent_avg_after_{steps}"]
        assert_close_to_largest(state["stats"]["w_average"], theirs)
    same = stats_after(state)
    for one, other in zip(*map(jax.tree.leaves, (same, changed)), strict=True):
        np.testing.assert_array_equal(one, other)
