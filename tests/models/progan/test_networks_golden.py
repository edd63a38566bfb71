"""Networks and losses, against numbers of the authors' TensorFlow program.

tests/golden/README.md describes the data. What differs in layout, and is undone here:

- theirs emit and take images of the final resolution, ours of the stage's: their
  nearest neighbours and means are applied outside, and resolution_ratio makes up for
  it;
- lod counts from the final resolution, our layers are named by theirs;
- images are [N, C, H, W] there, which orders the inputs and outputs of dense layers;
- the kernels of fused upsampling are stored [kh, kw, out, in] and turned by 180
  degrees;
- the groups of the minibatch statistic are strided there and consecutive here.
"""

import functools
import math
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from progan_jax.models.common import (
    Examples,
    LossInputs,
    Networks,
    Progress,
    Variables,
)
from progan_jax.models.layers import downscale2d, upscale2d
from progan_jax.models.progan.losses import Draws, d_loss, g_loss
from progan_jax.models.progan.networks import Discriminator, Generator
from progan_jax.models.progan.options import LossOptions, Options

RESOLUTION = 16
GROUP = 4
NETS = {
    "fused": {"fmap_base": 64, "fmap_max": 16},
    "cond": {"fmap_base": 64, "fmap_max": 12, "num_classes": 5},
}
LODS = (0.0, 0.3, 0.75, 1.0, 1.5, 1.75, 2.0)
LOSS_LODS = (0.0, 0.3, 1.0, 1.5)

all_lods = pytest.mark.parametrize("lod", LODS)
loss_lods = pytest.mark.parametrize("lod", LOSS_LODS)
both_nets = pytest.mark.parametrize("net", NETS)


@functools.cache
def golden():
    path = Path(__file__).parents[2] / "golden" / "official_networks.npz"
    with np.load(path) as file:
        return dict(file)


def consecutive(batch):
    """Moves strided groups together: image n of N is in group n mod (N / G) there."""
    n = len(batch)
    return (
        batch.reshape(GROUP, n // GROUP, *batch.shape[1:])
        .swapaxes(0, 1)
        .reshape(batch.shape)
    )


def inputs(net):
    data = {k: consecutive(golden()[f"{net}/{k}"]) for k in ("z", "labels", "mix")}
    data["reals"] = consecutive(golden()[f"{net}/reals"]).transpose(0, 2, 3, 1)
    if not data["labels"].shape[1]:
        data["labels"] = None
    return data


def our_path(name):
    """Returns the path in our tree of a variable by its name in theirs."""
    layer, kind = name.rsplit("/", 1)
    kind = {"weight": "kernel", "bias": "bias"}[kind]
    if rgb := re.fullmatch(r"(To|From)RGB_lod(\d)", layer):
        r = RESOLUTION >> int(rgb[2])
        return f"{rgb[1].lower()}_rgb_{r}x{r}", kind
    block, layer = layer.split("/")
    return f"block_{block}", layer.lower().split("_")[0], kind


def our_layout(net_name, name, array):
    """Reorders a variable of theirs, or its gradient, as ours."""
    if name.endswith("Conv0_up/weight"):
        return array[::-1, ::-1].swapaxes(2, 3)
    if (net_name, name) == ("G", "4x4/Dense/weight"):
        return (
            array.reshape(len(array), -1, 4, 4)
            .transpose(0, 2, 3, 1)
            .reshape(array.shape)
        )
    if (net_name, name) == ("D", "4x4/Dense0/weight"):
        return (
            array.reshape(-1, 4, 4, array.shape[1])
            .transpose(1, 2, 0, 3)
            .reshape(array.shape)
        )
    return array


def theirs_by_our_path(prefix):
    """Returns every variable or gradient below a prefix such as "cond/D"."""
    network = prefix.split("/")[1][0]
    return {
        our_path(name): our_layout(network, name, array)
        for key, array in golden().items()
        if key.startswith(prefix + "/") and (name := key[len(prefix) + 1 :]) != "lod"
    }


def resolution_of(path):
    return int(re.search(r"_(\d+)x", path[0])[1])


def variables(net, network, resolution):
    """Their variables as our tree, up to the stage."""
    tree = {}
    for path, array in theirs_by_our_path(f"{net}/{network}").items():
        if resolution_of(path) <= resolution:
            *parents, leaf = path
            functools.reduce(lambda t, p: t.setdefault(p, {}), parents, tree)[leaf] = (
                array
            )
    return tree


def stage(lod):
    """Returns the stage's resolution and alpha."""
    return RESOLUTION >> math.floor(lod), np.float32(1 - lod % 1)


def networks(net, resolution):
    options = Options(
        latent_size=golden()[f"{net}/z"].shape[1],
        normalize_labels=True,
        fused_resampling=net == "fused",
        mbstd_group_size=GROUP,
        **NETS[net],
    )
    return Generator(resolution, options), Discriminator(resolution, options)


@functools.cache
def compiled_outputs(net, resolution):
    g, d = networks(net, resolution)

    @jax.jit
    def outputs(g_params, d_params, alpha, z, labels, reals):
        fakes = g.apply({"params": g_params}, z, labels, alpha)
        return fakes, d.apply({"params": d_params}, reals, alpha=alpha)

    return outputs


@functools.cache
def outputs_at(net, lod):
    """Returns our fakes at full size and what D says of the reals."""
    resolution, alpha = stage(lod)
    data, factor = inputs(net), RESOLUTION // resolution
    with jax.default_matmul_precision("highest"):
        fakes, out = compiled_outputs(net, resolution)(
            variables(net, "G", resolution),
            variables(net, "D", resolution),
            alpha,
            data["z"],
            data["labels"],
            downscale2d(data["reals"], factor),
        )
    return upscale2d(fakes, factor), out


@functools.cache
def compiled_losses(net, resolution):
    g, d = networks(net, resolution)
    options, ratio = LossOptions(), RESOLUTION / resolution

    @jax.jit
    def losses(g_params, d_params, alpha, data, classes):
        fakes = g.apply({"params": g_params}, data["z"], data["labels"], alpha)
        inputs = LossInputs(
            Networks(g, d),
            Variables({"stats": {}}, {"params": d_params, "stats": {}}),
            Examples(data["reals"], classes),
            None,
            Draws(data["z"], classes, data["mix"], numbers=None),
            Progress(alpha, ratio, jax.random.key(0)),
            {},
            options,
        )
        with_fakes = inputs.with_fakes(Examples(fakes, classes), {})
        of_d = jax.value_and_grad(d_loss, has_aux=True)(d_params, with_fakes)
        of_g = jax.value_and_grad(g_loss, has_aux=True)(g_params, inputs)
        return {
            network: (loss, gradients)
            for network, ((loss, _), gradients) in {"D": of_d, "G": of_g}.items()
        }

    return losses


@functools.cache
def losses_at(net, lod):
    """Returns {"D": (loss, gradients), "G": (loss, gradients)} of ours."""
    resolution, alpha = stage(lod)
    data = inputs(net)
    data["reals"] = downscale2d(data["reals"], RESOLUTION // resolution)
    classes = None if data["labels"] is None else jnp.argmax(data["labels"], axis=1)
    g_params, d_params = (variables(net, n, resolution) for n in "GD")
    with jax.default_matmul_precision("highest"):
        return compiled_losses(net, resolution)(
            g_params, d_params, alpha, data, classes
        )


def by_path(tree):
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {tuple(key.key for key in path): np.asarray(leaf) for path, leaf in leaves}


def assert_close_to_largest(ours, theirs):
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5 * np.abs(theirs).max())


@both_nets
@pytest.mark.parametrize("resolution", [4, 8, 16])
def test_variables_are_those_of_our_networks(net, resolution):
    g, d = networks(net, resolution)
    data, key = inputs(net), jax.random.key(0)
    images = jnp.zeros((8, resolution, resolution, 3))
    ours = {
        "G": jax.eval_shape(g.init, key, data["z"], data["labels"]),
        "D": jax.eval_shape(d.init, key, images),
    }
    for network, tree in ours.items():
        expected = jax.tree.map(jnp.shape, tree["params"])
        found = jax.tree.map(jnp.shape, variables(net, network, resolution))
        assert found == expected


@all_lods
@both_nets
def test_generator_emits_the_same_images(net, lod):
    fakes, _ = outputs_at(net, lod)
    theirs = consecutive(golden()[f"{net}/G_out/lod{lod:.2f}"])
    assert_close_to_largest(fakes.transpose(0, 3, 1, 2), theirs)


@all_lods
@both_nets
def test_discriminator_gives_the_same_scores(net, lod):
    _, out = outputs_at(net, lod)
    theirs = consecutive(golden()[f"{net}/D_scores/lod{lod:.2f}"])
    assert_close_to_largest(out.scores, theirs[:, 0])


@all_lods
def test_discriminator_gives_the_same_class_logits(lod):
    _, out = outputs_at("cond", lod)
    theirs = consecutive(golden()[f"cond/D_labels/lod{lod:.2f}"])
    assert_close_to_largest(out.logits, theirs)


@loss_lods
@both_nets
@pytest.mark.parametrize("network", ["D", "G"])
def test_losses_are_the_same(network, net, lod):
    ours, _ = losses_at(net, lod)[network]
    theirs = golden()[f"{net}/{network}_loss/lod{lod:.2f}"]
    assert abs(ours - theirs) <= 1e-5 * max(1, abs(theirs))


@loss_lods
@both_nets
@pytest.mark.parametrize("network", ["D", "G"])
def test_gradients_are_the_same(network, net, lod):
    ours = by_path(losses_at(net, lod)[network][1])
    theirs = theirs_by_our_path(f"{net}/{network}_grad/lod{lod:.2f}")
    whole = np.linalg.norm([np.linalg.norm(array) for array in theirs.values()])
    for path, expected in theirs.items():
        if resolution_of(path) > stage(lod)[0]:
            # Not yet grown: no such variable here, and no part taken there.
            assert path not in ours
            assert not expected.any(), path
        elif not expected.any():
            assert not ours[path].any(), path
        else:
            scale = max(np.linalg.norm(expected), 0.01 * whole)
            assert np.linalg.norm(ours[path] - expected) <= 1e-4 * scale, path
    assert ours.keys() <= theirs.keys()
