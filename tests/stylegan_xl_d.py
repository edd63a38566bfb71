"""StyleGAN-XL's golden discriminators as our trees, whose names differ from theirs."""

import functools
import re
import zlib

import jax
import jax.numpy as jnp
import numpy as np

from progan_jax.models.augmentation import Draws
from progan_jax.models.stylegan_xl.backbones import BACKBONES
from progan_jax.models.stylegan_xl.discriminator import Discriminator
from tests.stylegan_xl_golden import below, by_rule, golden, meta, shapes

# Backbones of their cases, by their names.
NAMES = {
    "tf_efficientnet_lite0": "lite0",
    "deit_tiny_distilled_patch16_224": "deit_tiny",
    "deit_base_distilled_patch16_224": "deit_base",
}

# Resolution and number of classes of their cases.
CASES = {"D16c": (16, 5), "D32u": (32, 0), "D256c": (256, 5), "D16base": (16, 5)}

# Where timm's modules of lite0 are in theirs.
_LITE0 = {
    "layer0.0": "conv_stem",
    "layer0.1": "bn1",
    "layer0.3": "blocks.0",
    "layer0.4": "blocks.1",
    "layer1.0": "blocks.2",
    "layer2.0": "blocks.3",
    "layer2.1": "blocks.4",
    "layer3.0": "blocks.5",
    "layer3.1": "blocks.6",
}

_NORM = {
    "weight": ("params", "scale"),
    "bias": ("params", "bias"),
    "running_mean": ("stats", "mean"),
    "running_var": ("stats", "variance"),
}

_SPECTRAL = {
    "weight_orig": ("params", "kernel"),
    "bias": ("params", "bias"),
    "weight_u": ("stats", "u"),
    "weight_v": ("stats", "v"),
}


def backbones(case):
    """Returns the names of a case's backbones, theirs by ours, in order."""
    found = [name.split(".")[1] for name in shapes(case)]
    return {NAMES[name]: name for name in dict.fromkeys(found)}


def discriminator(case, **settings):
    resolution, classes = CASES[case]
    sizes = {"num_classes": classes, "embedding": (8, 24)} | settings
    return Discriminator(resolution, backbones=tuple(backbones(case)), **sizes)


def images(case):
    """Returns the images of a case, [N, R, R, 3]."""
    if case == "D256c":
        seed = zlib.crc32((meta()["salt"] + "images/D256c").encode())
        x = np.random.RandomState(seed).randn(2, 3, 256, 256)
        return channels_last(np.tanh(0.6 * x).astype(np.float32))
    if case == "D16base":
        return images("D16c")[:2]
    return channels_last(golden()[f"{case}/images"])


def labels(case):
    classes = golden().get(f"{case}/class")
    return None if classes is None else classes.astype(np.int32)


def draws(prefix):
    """Returns our draws of theirs below a prefix; their x are rows."""
    theirs = below(prefix)
    pairs = (
        np.stack([theirs[f"{name}_x"], theirs[f"{name}_y"]], axis=1).astype(np.int32)
        for name in ("translation", "cutout")
    )
    colours = (theirs[name] for name in ("brightness", "saturation", "contrast"))
    return Draws(*map(jnp.asarray, (*colours, *pairs)))


@functools.cache
def frozen(case):
    """Returns the weights of a case's backbones, by their names."""
    return {name: _backbone(case, name, of) for name, of in backbones(case).items()}


def _backbone(case, name, theirs):
    start, arrays = f"feature_networks.{theirs}.pretrained.", {}
    for full, shape in shapes(case).items():
        rest = full.removeprefix(start)
        if rest == full or re.match(r"layer\d\.[34]\.(weight|bias)", rest):
            continue
        if name == "lite0":
            place = re.match(r"layer\d\.\d", rest)[0]
            rest = _LITE0[place] + rest.removeprefix(place)
        arrays[rest.removeprefix("model.")] = by_rule(full, shape)
    return BACKBONES[name].from_timm(arrays)


@functools.cache
def classifier():
    """Returns the weights of their DeiT-tiny that classifies."""
    start = "classifier."
    arrays = {
        name.removeprefix(start): by_rule(name, shape)
        for name, shape in shapes("classifier").items()
    }
    return BACKBONES["deit_tiny"].from_timm(arrays, classifier=True)


@functools.cache
def d_variables(case):
    """Returns the variables of a case's D: "params" and "stats"."""
    tree = {}
    for name, shape in shapes(case).items():
        if path := d_path(name):
            *parents, leaf = path
            place = functools.reduce(lambda t, p: t.setdefault(p, {}), parents, tree)
            place[leaf] = our_layout(name, by_rule(name, shape))
    return tree


def d_path(name):
    """Returns our path of a variable of theirs; None for those of backbones."""
    network, backbone, name = name.split(".", 2)
    ours = NAMES[backbone]
    if network == "feature_networks":
        path = _random_layer(name)
        return path and ("stats", ours, *path)
    parts = re.match(r"mini_discs\.(\d)\.(.*)\.(\w+)$", name)
    path = _head_layer(int(parts[1]), parts[2], parts[3])
    return path and (path[0], ours, f"heads_{parts[1]}", *path[1:])


def _random_layer(name):
    leaf = {"weight": "kernel", "bias": "bias"}
    if of := re.fullmatch(r"pretrained\.layer(\d)\.([34])\.(weight|bias)", name):
        # lite0 has layers 0 and 3 there, of backbones: those have no such leaves.
        part = {"3": "project", "4": "resize"}[of[2]]
        return "reassembly", f"{part}{int(of[1]) - 1}", leaf[of[3]]
    if of := re.fullmatch(r"scratch\.layer(\d)_ccm\.(\w+)", name):
        return "channel_mixing", f"level{of[1]}", leaf[of[2]]
    if of := re.fullmatch(r"scratch\.layer(\d)_csm\.out_conv\.(\w+)", name):
        return "scale_mixing", f"level{of[1]}", leaf[of[2]]
    return None


def _head_layer(level, layer, leaf):
    if leaf == "num_batches_tracked":
        return None
    if layer == "embed":
        return "params", "embedding"
    if layer == "embed_proj":
        kind = {"weight": "kernel", "bias": "bias"}[leaf]
        return "params", "project", kind
    if layer in ("cls", f"main.{4 - level}"):
        collection, leaf = _SPECTRAL[leaf]
        return collection, "last", leaf
    block, part = re.fullmatch(r"main\.(\d)\.main\.([01])", layer).groups()
    table, kind = {"0": (_SPECTRAL, "conv"), "1": (_NORM, "norm")}[part]
    collection, leaf = table[leaf]
    return collection, f"{kind}{block}", leaf


def our_layout(name, array):
    """Reorders a variable of theirs as ours."""
    if name.endswith("weight_v"):
        return array.reshape(-1, 4, 4).transpose(1, 2, 0).ravel()
    if re.search(r"layer[12]\.4\.weight", name):
        return array.transpose(0, 2, 3, 1)
    if array.ndim == 4:
        return array.transpose(2, 3, 1, 0)
    return array.T if name.endswith("embed_proj.weight") else array


def channels_last(x):
    return np.asarray(x).transpose(0, 2, 3, 1)


def channels_first(x):
    return np.asarray(x).transpose(0, 3, 1, 2)


def projected(case, images, **drawn):
    """Returns the features of a case's D; compiled once for both kinds of passes."""
    project = compiled(discriminator(case), method="project")
    return project(d_variables(case), images, frozen=frozen(case), **drawn)


@functools.cache
def compiled(network, **settings):
    def apply(variables, *inputs, **named):
        with jax.default_matmul_precision("highest"):
            return network.apply(variables, *inputs, **named, **settings)

    return jax.jit(apply)
