"""Golden numbers of StyleGAN's authors' program, in our layout.

tests/golden/README.md describes them. What differs, and is undone here:

- theirs emit and take images of the final resolution, ours of the stage's: their
  nearest neighbours and means are applied outside;
- lod counts from the final resolution, our layers are named by theirs;
- images are [N, C, H, W] there, which orders the inputs and outputs of dense layers;
- kernels of fused upsampling are turned by 180 degrees;
- the groups of the minibatch statistic are strided there and consecutive here.
"""

import functools
import math
import re
from pathlib import Path

import jax
import numpy as np

from progan_jax.models.stylegan.networks import Discriminator, Generator
from progan_jax.models.stylegan.options import Options

GROUP = 4
SHARED = {"latent_size": 16, "w_size": 16, "mapping_width": 16, "fmap_max": 16}
OPTIONS = {
    "plain": Options(resolution=32, fmap_base=128, **SHARED),
    "fused": Options(
        resolution=16,
        fmap_base=64,
        num_classes=5,
        mapping_layers=4,
        truncation_cutoff=4,
        **SHARED | {"mapping_width": 20},
    ),
}
LAYERS = {"Const": "constant", "Dense": "dense", "Conv": "conv"}
LEAVES = {
    ("weight",): ("kernel",),
    ("const",): ("constant",),
    ("bias",): ("bias",),
    ("Noise", "weight"): ("noise_strength",),
    ("StyleMod", "weight"): ("style", "kernel"),
    ("StyleMod", "bias"): ("style", "bias"),
}


@functools.cache
def golden():
    path = Path(__file__).parent / "golden" / "stylegan_networks.npz"
    with np.load(path) as file:
        return dict(file)


def consecutive(batch):
    """Moves strided groups together: image n of N is in group n mod (N / G) there."""
    n = len(batch)
    groups = batch.reshape(GROUP, n // GROUP, *batch.shape[1:])
    return groups.swapaxes(0, 1).reshape(batch.shape)


def strided(batch):
    """Undoes `consecutive`."""
    n = len(batch)
    groups = batch.reshape(n // GROUP, GROUP, *batch.shape[1:])
    return groups.swapaxes(0, 1).reshape(batch.shape)


def block(side):
    return f"block_{side}x{side}"


def layer_of(name):
    """Returns our path of their layer, such as "8x8/Conv0_up"."""
    scope, layer = name.split("/")
    name = LAYERS.get(layer) or layer.lower().split("_")[0]
    return block(scope.split("x")[0]), name


def g_path(name, resolution, constant=True):
    """Returns our path, from the collection on, of a variable of their G."""
    if name == "dlatent_avg":
        return "stats", "w_average"
    network, _, name = name.partition("/")
    if network == "G_mapping":
        layer, kind = name.split("/")
        if layer == "LabelConcat":
            return "params", "mapping", "label"
        kind = {"weight": "kernel", "bias": "bias"}[kind]
        return "params", "mapping", layer.lower(), kind
    if noise := re.fullmatch(r"noise(\d+)", name):
        index = int(noise[1])
        first = "constant" if constant else "dense"
        names = (first, "conv") if index < 2 else ("conv0", "conv1")
        path = block(4 << (index // 2)), names[index % 2], "noise"
        return "stats", "synthesis", *path
    if rgb := re.fullmatch(r"ToRGB_lod(\d)/(weight|bias)", name):
        side = resolution >> int(rgb[1])
        kind = {"weight": "kernel", "bias": "bias"}[rgb[2]]
        return "params", "synthesis", f"to_rgb_{side}x{side}", kind
    scope, layer, *leaf = name.split("/")
    path = layer_of(f"{scope}/{layer}")
    return "params", "synthesis", *path, *LEAVES[tuple(leaf)]


def d_path(name, resolution):
    """Returns our path of a variable of their D."""
    scope, *layer, kind = name.split("/")
    kind = {"weight": "kernel", "bias": "bias"}[kind]
    if not layer:
        side = resolution >> int(scope.removeprefix("FromRGB_lod"))
        return "params", f"from_rgb_{side}x{side}", kind
    return "params", block(scope.split("x")[0]), layer[0].lower().split("_")[0], kind


def our_layout(name, array, fused=False):
    """Reorders a variable of theirs, or its gradient, as ours."""
    if fused and name.endswith("Conv0_up/weight"):
        return array[::-1, ::-1]
    if name.endswith("4x4/Const/const"):
        return array[0].transpose(1, 2, 0)
    if re.search(r"/noise\d+$", name):
        return array[0, 0]
    if name.endswith("4x4/Dense/weight"):  # From w to [C, 4, 4].
        pixels = array.reshape(len(array), -1, 4, 4)
        return pixels.transpose(0, 2, 3, 1).reshape(array.shape)
    if name == "4x4/Dense0/weight":
        pixels = array.reshape(-1, 4, 4, array.shape[1])
        return pixels.transpose(1, 2, 0, 3).reshape(array.shape)
    return array


def by_our_path(prefix, network, resolution):
    """Returns all arrays below a prefix such as "plain/G" in our layout, by path."""
    names = [key[len(prefix) + 1 :] for key in golden() if key.startswith(prefix + "/")]
    constant = f"{prefix}/G_synthesis/4x4/Dense/weight" not in golden()
    found = {}
    for name in names:
        if name.rpartition("/")[2] == "lod":
            continue
        path = (
            g_path(name, resolution, constant)
            if network == "G"
            else d_path(name, resolution)
        )
        array = golden()[f"{prefix}/{name}"]
        found[path] = our_layout(name, array, prefix.startswith("fused"))
    return found


def resolution_of(path):
    """Returns the side that a layer belongs to; 0 for those of all stages."""
    sides = [int(side) for side in re.findall(r"_(\d+)x\d+", "/".join(path))]
    return max(sides, default=0)


def as_tree(arrays):
    tree = {"params": {}, "stats": {}}
    for path, array in arrays.items():
        *parents, leaf = path
        place = functools.reduce(lambda t, p: t.setdefault(p, {}), parents, tree)
        place[leaf] = array
    return tree


def variables(net, network, resolution=None):
    """Returns their variables of "G" or "D" as our tree, up to a stage."""
    final = OPTIONS[net].resolution
    arrays = by_our_path(f"{net}/{network}", network, final)
    most = resolution or final
    return as_tree({p: a for p, a in arrays.items() if resolution_of(p) <= most})


def stage(net, lod):
    """Returns the stage's resolution, and alpha."""
    return OPTIONS[net].resolution >> math.floor(lod), np.float32(1 - lod % 1)


def networks(net, resolution=None):
    """Returns our G, with the fixed noise, and our D."""
    options = OPTIONS[net]
    side = resolution or options.resolution
    return Generator(side, options, noise_mode="fixed"), Discriminator(side, options)


def one_hot(net):
    labels = golden()[f"{net}/labels"]
    return labels if labels.shape[1] else None


def classes(net):
    labels = one_hot(net)
    return None if labels is None else labels.argmax(axis=1).astype(np.int32)


def channels_last(images):
    return np.asarray(images).transpose(0, 2, 3, 1)


def full_size(net, images):
    """Returns [N, C, R, R] of ours, by repeating pixels."""
    factor = OPTIONS[net].resolution // images.shape[1]
    images = np.asarray(images).repeat(factor, 1).repeat(factor, 2)
    return images.transpose(0, 3, 1, 2)


def stage_size(images, side):
    """Returns the means over pixels [N, side, side, C] of [N, R, R, C]."""
    n, full, _, c = images.shape
    factor = full // side
    return images.reshape(n, side, factor, side, factor, c).mean((2, 4))


@functools.cache
def compiled(network, **settings):
    def apply(variables, *inputs):
        with jax.default_matmul_precision("highest"):
            return network.apply(variables, *inputs, **settings)

    return jax.jit(apply)


def assert_close_to_largest(ours, theirs, tolerance=1e-5):
    atol = tolerance * np.abs(theirs).max()
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=atol)
