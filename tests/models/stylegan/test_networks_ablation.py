"""StyleGAN's networks with parts switched off, against the authors' program."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from progan_jax.models.stylegan.networks import Generator
from progan_jax.models.stylegan.options import Options
from tests.stylegan_golden import (
    as_tree,
    assert_close_to_largest,
    by_our_path,
    golden,
)

TRADITIONAL = {
    "styles": False,
    "pixel_norm": True,
    "instance_norm": False,
    "mapping_layers": 0,
    "constant_input": False,
    "noise": False,
}
SWITCHES = {
    "B_tuned_baseline": TRADITIONAL,
    "C_mapping_and_styles": {"constant_input": False, "noise": False},
    "D_constant_input": {"noise": False},
    "E_noise": {},
    "traditional_8": TRADITIONAL | {"mapping_layers": 8},
    "stylebased_0": {"mapping_layers": 0},
    "no_wscale": {"equalized": False},
    "no_instance_norm": {"instance_norm": False},
    "pixel_norm_too": {"pixel_norm": True},
    "no_normalize_latents": {"normalize_latents": False},
    "relu": {"activation": "relu"},
    "no_blur": {"blur": False},
    "structure_fixed": {"structure": "fixed"},
}
RESOLUTION = 8
all_nets = pytest.mark.parametrize("net", SWITCHES)


@functools.cache
def make(net):
    """Returns G, with the fixed noise, and their variables."""
    fields = {"resolution": RESOLUTION, "fmap_base": 32, "fmap_max": 8}
    fields |= {"latent_size": 8, "w_size": 8, "mapping_width": 8, "mapping_layers": 2}
    g = Generator(RESOLUTION, Options(**fields | SWITCHES[net]), noise_mode="fixed")
    return g, as_tree(by_our_path(f"ablation/{net}/G", "G", RESOLUTION))


@functools.cache
def compiled(net):
    """Returns a function to w, images, and gradients of their mean square."""
    g, _ = make(net)

    def loss(params, state, z, alpha):
        images = g.apply(state | {"params": params}, z, None, alpha)
        return jnp.mean(jnp.square(images)), images

    @jax.jit
    def run(state, z, alpha):
        w = g.apply(state, g.apply(state, z, method="mapping"), method="truncate")
        differentiate = jax.grad(loss, has_aux=True)
        gradients, images = differentiate(state["params"], state, z, alpha)
        return w, images, gradients

    return run


@functools.cache
def results(net, lod):
    _, state = make(net)
    z, alpha = golden()[f"ablation/{net}/z"], np.float32(1 - lod % 1)
    with jax.default_matmul_precision("highest"):
        return jax.device_get(compiled(net)(state, z, alpha))


def lods(net, name):
    prefix = f"ablation/{net}/{name}/lod"
    return [float(key.removeprefix(prefix)) for key in golden() if prefix in key]


def test_every_net_of_theirs_is_compared():
    assert {key.split("/")[1] for key in golden() if "ablation/" in key} == {*SWITCHES}


@all_nets
def test_variables_are_those_of_our_networks(net):
    g, theirs = make(net)
    ours = jax.eval_shape(g.init, jax.random.key(0), golden()[f"ablation/{net}/z"])
    assert jax.tree.map(jnp.shape, theirs) == jax.tree.map(jnp.shape, ours)


@all_nets
def test_mapping_gives_the_same_w(net):
    w, _, _ = results(net, lods(net, "G_out")[0])
    assert_close_to_largest(w, golden()[f"ablation/{net}/dlatents"])


@all_nets
def test_generator_emits_the_same_images(net):
    for lod in lods(net, "G_out"):
        _, images, _ = results(net, lod)
        theirs = golden()[f"ablation/{net}/G_out/lod{lod:.2f}"]
        assert_close_to_largest(images.transpose(0, 3, 1, 2), theirs)


@all_nets
def test_gradients_have_the_same_norm(net):
    for lod in lods(net, "grad_norm_mean_square"):
        _, _, gradients = results(net, lod)
        squares = [np.sum(np.square(x)) for x in jax.tree.leaves(gradients)]
        theirs = golden()[f"ablation/{net}/grad_norm_mean_square/lod{lod:.2f}"]
        assert np.sqrt(sum(squares)) == pytest.approx(theirs, rel=1e-5)
