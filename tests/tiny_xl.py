"""A tiny StyleGAN-XL: lite0 of random weights at 64x64, and coloured digits."""

import functools
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from safetensors.numpy import save_file

from progan_jax.data.pyramid import build_pyramid
from progan_jax.data.sources import load_digits
from progan_jax.models import stylegan_xl
from progan_jax.models.stylegan_xl import Options
from progan_jax.models.stylegan_xl.backbones import BACKBONES

SIDE, CLASSES = 16, 5

SIZES = {
    "resolution": SIDE,
    "num_classes": CLASSES,
    "layers": 4,
    "fmap_base": 64,
    "fmap_max": 8,
    "latent_size": 8,
    "w_size": 16,
    "embedding_rows": 6,
    "embedding_size": 4,
    "backbones": "lite0",
    "backbone_size": 64,
}
MODEL = Options(**SIZES)


@functools.cache
def lite0():
    """Returns arrays by timm's names that keep the size of what passes through them."""
    random, arrays = np.random.default_rng(0), {}
    for name, shape in BACKBONES["lite0"].timm_shapes().items():
        last = name.rpartition(".")[2]
        if len(shape) == 4:
            array = random.normal(0, np.sqrt(2 / np.prod(shape[1:])), shape)
        elif last == "bias":
            array = random.normal(0, 0.1, shape)
        else:  # A factor, a mean or a variance.
            array = np.full(shape, last != "running_mean")
        arrays[name] = array.astype(np.float32)
    return arrays


class Pooled(nn.Module):
    """Stands for lite0 where programs would take minutes to compile."""

    def features(self, x):
        return self(x)

    @nn.compact
    def __call__(self, x):
        levels = []
        for size, width in ((4, 24), (8, 40), (16, 112), (32, 320)):
            pooled = nn.avg_pool(x, (size, size), (size, size))
            kernel = self.param(f"kernel{size}", nn.initializers.normal(2), (3, width))
            levels.append(jnp.tanh(pooled @ kernel))
        return levels


@functools.cache
def pooled():
    """Returns what the family's `load_frozen` would, of `Pooled`."""
    params = Pooled().init(jax.random.key(0), jnp.zeros((1, 64, 64, 3)))["params"]
    return {"backbones": {"lite0": jax.device_get(params)}, "classifier": None}


def use_pooled(monkeypatch):
    """Puts `Pooled` in the place of lite0, with random weights."""
    monkeypatch.setattr(stylegan_xl, "load_frozen", lambda *_: pooled())
    backbone = replace(BACKBONES["lite0"], network=Pooled())
    monkeypatch.setitem(BACKBONES, "lite0", backbone)


def write_lite0(path, **changed):
    """Writes a file for `backbone_weights`, and returns its path."""
    save_file(lite0() | changed, path)
    return path


@functools.cache
def coloured_digits(side=SIDE):
    """Returns 320 digits of five classes, each class of a colour of its own."""
    digits = load_digits(side)
    chosen = np.flatnonzero(digits.labels < CLASSES)[:320]
    labels = digits.labels[chosen]
    colours = np.random.default_rng(1).uniform(0.3, 1, (CLASSES, 1, 1, 3))
    images = digits.levels[side][chosen] * colours[labels]
    return build_pyramid("coloured", images.astype(np.uint8), labels, CLASSES)


def reals(n):
    """Returns the first images, in [-1, 1], and their classes."""
    digits = coloured_digits()
    images = jnp.asarray(digits.levels[SIDE][:n], jnp.float32) / 127.5 - 1
    return images, jnp.asarray(digits.labels[:n])
