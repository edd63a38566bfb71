"""StyleGAN's networks, against numbers of the authors' TensorFlow program."""

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


@both_nets
@pytest.mark.parametrize("resolution", [4, 8, 16, 32])
def test_variables_are_those_of_our_networks(net, resolution):
    if resolution > OPTIONS[net].resolution:
        pytest.skip("larger than this net")
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
