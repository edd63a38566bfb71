"""Each step of StyleGAN's networks, against those of the authors' program."""

import functools
import re
from dataclasses import replace

import jax
import numpy as np
import pytest
import scipy.ndimage

from progan_jax.models.layers import EqualizedConv, EqualizedDense
from progan_jax.models.stylegan.mapping import Mapping
from tests.stylegan_golden import (
    OPTIONS,
    assert_close_to_largest,
    channels_last,
    classes,
    compiled,
    consecutive,
    golden,
    layer_of,
    networks,
    one_hot,
    strided,
    variables,
)


def steps(network, pattern):
    """Returns their keys of such steps of "G" or "D" as parameters of a test."""
    form = re.compile(f"({'|'.join(OPTIONS)})/steps/{network}/{pattern}")
    return pytest.mark.parametrize("key", list(filter(form.fullmatch, golden())))


def is_dense_or_conv(module, _):
    return isinstance(module, EqualizedConv | EqualizedDense)


@functools.cache
def intermediates(net, network, resolution=None):
    """Returns what our layers gave: a tree of tuples of one array."""
    g, d = networks(net, resolution)
    if network == "G":
        module, inputs = g, (golden()[f"{net}/z"], one_hot(net))
    else:
        labels = classes(net)
        labels = None if labels is None else consecutive(labels)
        images = channels_last(consecutive(golden()[f"{net}/reals"]))
        module, inputs = d, (images, labels)
    with jax.default_matmul_precision("highest"):
        _, found = module.apply(
            variables(net, network, resolution),
            *inputs,
            capture_intermediates=is_dense_or_conv,
            mutable=["intermediates"],
        )
    return found["intermediates"]


def at(tree, *path):
    for name in path:
        tree = tree[name]
    return np.asarray(tree[0])


def leaky(x):
    return np.where(x < 0, 0.2 * x, x)


def blurred(x):
    """Returns the blur of [N, H, W, C] by SciPy."""
    taps = np.array([1, 2, 1]) / 4
    for axis in (1, 2):
        x = scipy.ndimage.convolve1d(x, taps, axis, mode="constant")
    return x


def assert_same_maps(ours, theirs):
    assert_close_to_largest(ours.transpose(0, 3, 1, 2)[: len(theirs)], theirs)


@pytest.mark.parametrize("net", OPTIONS)
def test_the_normalised_latents_are_the_same(net):
    none = Mapping(replace(OPTIONS[net], mapping_layers=0))
    params = variables(net, "G")["params"]["mapping"]
    params = {name: params[name] for name in params if name == "label"}
    ours = none.apply({"params": params}, golden()[f"{net}/z"], one_hot(net))
    assert_close_to_largest(ours, golden()[f"{net}/steps/G/mapping/PixelNorm"])


@steps("G", r"mapping/Dense\d")
def test_each_mapping_layer_is_the_same(key):
    net, name = key.split("/")[0], key.split("/")[-1].lower()
    ours = at(intermediates(net, "G"), "mapping", name, "__call__")
    assert_close_to_largest(leaky(ours), golden()[key])


@steps("G", r"\d+x\d+/.*")
def test_each_step_of_synthesis_is_the_same(key):
    net, _, _, *layer, step = key.split("/")
    tree = intermediates(net, "G")["synthesis"]
    path = layer_of("/".join(layer))
    if step == "StyleVector":
        ours = at(tree, *path, "style", "__call__")
        return assert_close_to_largest(ours, golden()[key])
    name = {"style": "styled"}.get(step, step)
    assert_same_maps(at(tree, *path, name), golden()[key])


@steps("G", r"ToRGB_lod\d")
def test_each_rgb_layer_is_the_same(key):
    net = key.split("/")[0]
    side = OPTIONS[net].resolution >> int(key[-1])
    tree = intermediates(net, "G", side)["synthesis"]
    ours = at(tree, f"to_rgb_{side}x{side}", "__call__")
    assert_same_maps(ours, golden()[key])


@steps("D", r"FromRGB_lod0/act|\d+x\d+/Conv.*")
def test_each_map_of_the_discriminator_is_the_same(key):
    net, _, _, *layer, step = key.split("/")
    tree, side = intermediates(net, "D"), OPTIONS[net].resolution
    if layer == ["FromRGB_lod0"]:
        ours = leaky(at(tree, f"from_rgb_{side}x{side}", "__call__"))
    elif step == "blur":
        block, _ = layer_of("/".join(layer))
        ours = blurred(leaky(at(tree, block, "conv0", "__call__")))
    else:
        path = layer_of("/".join(layer))
        ours = at(tree, *path, "__call__")
        if step == "act":
            ours = leaky(ours)
        else:  # Before the bias.
            ours = ours - variables(net, "D")["params"][path[0]][path[1]]["bias"]
    assert_same_maps(strided(ours), golden()[key])


@pytest.mark.parametrize("net", OPTIONS)
def test_the_end_of_the_discriminator_is_the_same(net):
    tree, data = intermediates(net, "D")["block_4x4"], f"{net}/steps/D/4x4"
    hidden = leaky(at(tree, "dense0", "__call__"))
    assert_close_to_largest(strided(hidden), golden()[f"{data}/Dense0/act"])
    outputs = strided(at(tree, "dense1", "__call__"))
    assert_close_to_largest(outputs, golden()[f"{data}/Dense1/bias"])
    _, d = networks(net)
    images = channels_last(consecutive(golden()[f"{net}/reals"]))
    labels = classes(net)
    labels = None if labels is None else consecutive(labels)
    out = compiled(d)(variables(net, "D"), images, labels)
    theirs = golden()[f"{data}/mbstd"][:, 0]
    assert_close_to_largest(strided(np.asarray(out.stddev)), theirs)
