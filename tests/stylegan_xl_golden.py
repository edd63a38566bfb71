"""Golden numbers of StyleGAN-XL's authors' program, as they are stored.

tests/golden/README.md describes them. Images are [N, C, H, W] there, convolution
kernels [out, in, height, width] and dense kernels [out, in]. The weights of the
discriminators follow from their names and shapes by a rule, `by_rule`.
"""

import functools
import json
import re
import zlib
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np

from progan_jax.models.common import weight_shapes
from progan_jax.models.stylegan_xl.generator import Generator
from progan_jax.models.stylegan_xl.official import our_layout, their_name
from progan_jax.models.stylegan_xl.options import Options

# Last parts of the names whose arrays are scaled by the factor.
_SCALES = {
    "running_mean": 0.1,
    "bias": 0.1,
    "cls_token": 0.2,
    "dist_token": 0.2,
    "pos_embed": 0.2,
}


@functools.cache
def golden():
    path = Path(__file__).parent / "golden" / "stylegan_xl.npz"
    with np.load(path) as file:
        return dict(file)


@functools.cache
def meta():
    """Returns the configuration, and what was cut out of large arrays, by name."""
    return json.loads(str(golden()["meta"]))


def below(prefix):
    """Returns the arrays whose names start with "PREFIX/", by the rest of the name."""
    start = f"{prefix}/"
    return {
        k.removeprefix(start): v for k, v in golden().items() if k.startswith(start)
    }


def shapes(case):
    """Returns the shapes of the variables of a case such as "D16c", by name."""
    names, rows = golden()[f"{case}/names"], golden()[f"{case}/shapes"]
    return {
        str(name): tuple(int(side) for side in str(row).split())
        for name, row in zip(names, rows, strict=True)
    }


def by_rule(name, shape):
    """Returns the variable of a name and shape, float32."""
    seed = zlib.crc32((meta()["salt"] + name).encode())
    x = np.random.RandomState(seed).randn(*shape)
    return _scaled(x, name, shape).astype(np.float32)


def _scaled(x, name, shape):
    last = name.rpartition(".")[2]
    if last in ("weight_u", "weight_v"):
        return x / np.linalg.norm(x)
    if last == "running_var":
        return np.exp(0.2 * x)
    if last in _SCALES:
        return _SCALES[last] * x
    if name.endswith("embed_proj.weight"):
        return x
    if name.endswith("embed.weight"):
        return 0.5 * x
    if len(shape) == 1:
        return 1 + 0.1 * x
    gain = np.sqrt(2) if len(shape) == 4 else 1
    return x * gain / np.sqrt(np.prod(shape[1:]))


def assert_close(ours, theirs, tolerance=1e-5):
    """Asserts that no value is off by more than a part of the largest one."""
    atol = tolerance * np.abs(theirs).max()
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=atol)


# The generators' options.
STEM = Options(
    latent_size=16,
    w_size=32,
    num_classes=5,
    embedding_rows=8,
    embedding_size=24,
    fmap_base=128,
    fmap_max=16,
)
UNCOND = replace(STEM, num_classes=0, layers=7, fmap_base=64, fmap_max=8)
G_OPTIONS = {
    "stem": STEM,
    "uncond": UNCOND,
    "radial": replace(UNCOND, equivariance="rotation", latent_size=8, w_size=16),
    "superres": replace(STEM, resolution=32, stages="16", head_layers=4),
}


def generator(case, **settings):
    """Returns our generator of a case: "stem", "uncond", "radial" or "superres"."""
    return Generator(G_OPTIONS[case].resolution, G_OPTIONS[case], **settings)


@functools.cache
def _g_paths():
    paths = {path for case in G_OPTIONS for path in weight_shapes(generator(case))}
    return {their_name(path): path for path in paths}


def g_path(name):
    """Returns our path, from the collection on, of a variable of their generator."""
    path = _g_paths()[name]
    return path if path[0] == "stats" else ("params", *path)


def g_leaf(name, array):
    """Returns a variable of their generator, or its gradient, in our layout."""
    return our_layout(g_path(name), array)


def g_arrays(case):
    """Returns their generator's variables by name, without the filters."""
    found = below(f"{case}/G")
    if case == "superres":
        found = below("stem/G") | found
    if G_OPTIONS[case].num_classes:
        found["mapping.embed.weight"] = golden()["class_embedding"]
    layers = {"input", *golden()[f"{case}/layer_names"]}
    return {
        name: array
        for name, array in found.items()
        if not re.search(r"_filter$", name)
        and (name.startswith("mapping") or name.split(".")[1] in layers)
    }


def g_variables(case):
    """Returns their generator's variables as our tree."""
    tree = {"params": {}, "stats": {}}
    for name, array in g_arrays(case).items():
        *parents, leaf = g_path(name)
        place = functools.reduce(lambda t, p: t.setdefault(p, {}), parents, tree)
        place[leaf] = g_leaf(name, array)
    return tree


def g_labels(case):
    """Returns the one-hot labels of a case's latents; None without classes."""
    classes = G_OPTIONS[case].num_classes
    if not classes:
        return None
    return np.eye(classes, dtype=np.float32)[golden()[f"{case}/class"]]


@functools.cache
def compiled(network, **settings):
    """Returns the network's `apply` at the highest precision."""

    def apply(variables, *inputs):
        with jax.default_matmul_precision("highest"):
            return network.apply(variables, *inputs, **settings)

    return jax.jit(apply)


def channels_first(images):
    return np.asarray(images).transpose(0, 3, 1, 2)
