"""A family unlike Progressive GAN: stats in both networks, a loss state, own draws.

Its G averages latents, adds that average, a label and noise to its images, its D counts
the images that it is applied to in training, and G's loss compares fakes with real
images. Everything is small enough for a formula.
"""

from dataclasses import dataclass
from types import SimpleNamespace
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from progan_jax.models.common import (
    Examples,
    Paper,
    block_name,
    draw_labels,
    stage_resolutions,
)
from progan_jax.models.layers import upscale2d
from progan_jax.models.options import option

DECAY = 0.5
SCALE = 3.0  # Of all scores; "frozen".


@dataclass(frozen=True)
class Options:
    """The fields that all families share, and one more."""

    resolution: int = option(16, choices=(4, 8, 16), of="")
    channels: int = option(1, choices=(1,))
    latent_size: int = option(16, choices=(16,), of="G")
    num_classes: int = option(0, least=0)
    dtype: str = option("float32", choices=("float32",), of="")
    remat: str = option("none", choices=("none",), of="")
    mbstd_group_size: int = option(0, least=0, of="")
    contrast: float = option(1.0, least=0, of="G")
    noise: float = option(0.0, least=0, of="")
    stddev_group, group_field, keeps_groups = None, "mbstd_group_size", False
    advised_group = 0
    whole_batch = one_stage = ()

    def matters(self, name):
        del name
        return True


@dataclass(frozen=True)
class LossOptions:
    """One field, of no other family."""

    power: float = option(2.0, least=1, most=4)
    in_full_space = False


class Generator(nn.Module):
    """Images z * gain + mean of the average of latents, which is in `stats`."""

    resolution: int
    options: Options = Options()
    latent_size, sees_batch = 16, False

    @property
    def num_classes(self):
        return self.options.num_classes

    def layers(self):
        return [((1, 1, 1, 1), self.resolution**2)]

    @nn.compact
    def __call__(self, z, labels=None, alpha=1.0, numbers=None, *, train=False):
        del alpha
        average = self.variable("stats", "average", lambda: jnp.zeros(16))
        if train:
            average.value = DECAY * average.value + (1 - DECAY) * z.mean(axis=0)
        x = self.options.contrast * z.reshape(-1, 4, 4, 1)
        if self.num_classes:
            x = x + 0.1 * labels.argmax(axis=1).reshape(-1, 1, 1, 1)
        for r in stage_resolutions(self.resolution):
            x = upscale2d(x) if r > 4 else x
            x = x * self.param(block_name(r), nn.initializers.ones, ())
        if self.options.noise and numbers is not None:
            key = self.make_rng("noise")
            keys = jax.vmap(jax.random.fold_in, (None, 0))(key, numbers)
            noise = jax.vmap(jax.random.normal)(keys)
            x = x + self.options.noise * noise.reshape(-1, 1, 1, 1)
        return x if train else x + average.value.mean()


class Discriminator(nn.Module):
    """Scores gain * mean(images); `stats` count the images of the training."""

    resolution: int
    num_classes: int = 0
    channels = 1

    @nn.compact
    def __call__(self, images, labels=None, alpha=1.0, *, train=False):
        del labels, alpha
        seen = self.variable("stats", "seen", lambda: jnp.zeros([]))
        if train:
            seen.value += images.shape[0]
        gain = self.param("gain", nn.initializers.ones, ())
        return gain * images.mean(axis=(1, 2, 3))


class Draws(NamedTuple):
    """Latents have another name than in other families."""

    w: jax.Array
    labels: jax.Array | None
    numbers: jax.Array


def make_networks(options, resolution, per_device_batch=0):
    del per_device_batch
    return Generator(resolution, options), Discriminator(
        resolution, options.num_classes
    )


def draw(keys, n, options, loss, log_probs):
    del options, loss
    labels = draw_labels(keys[1], n, log_probs)
    return Draws(jax.random.normal(keys[0], (n, 16)), labels, jnp.arange(n))


def make_fakes(generator, variables, draws, labels, progress):
    """Returns images with noise by the images' numbers, and G's stats."""
    classes = generator.num_classes
    one_hot = jax.nn.one_hot(labels, classes) if classes else None
    inputs = variables, draws.w, one_hot, progress.alpha, draws.numbers
    rngs = {"noise": jax.random.fold_in(progress.key, 0)}
    images, changed = generator.apply(*inputs, train=True, rngs=rngs, mutable=["stats"])
    return images, changed["stats"]


def scores(inputs, params, images):
    variables = inputs.variables.d | {"params": params}
    out, changed = inputs.networks.discriminator.apply(
        variables, images, train=True, mutable=["stats"]
    )
    if inputs.frozen is not None:
        out = out * inputs.frozen["scale"]
    variables = inputs.variables._replace(d=variables | changed)
    return out, inputs._replace(variables=variables)


def d_loss(params, inputs):
    real, inputs = scores(inputs, params, inputs.reals.images)
    fake, inputs = scores(inputs, params, inputs.fakes.images)
    loss = fake.mean() - real.mean()
    mean = DECAY * inputs.loss_state["mean"] + (1 - DECAY) * fake.mean()
    scalars = {"real_scores": real.mean(), "fake_scores": fake.mean(), "d_loss": loss}
    return loss, (scalars, inputs.variables.stats, {"mean": mean})


def g_loss(params, inputs):
    if inputs.fakes is None:
        images, g_stats = make_fakes(
            inputs.networks.generator,
            inputs.variables.g | {"params": params},
            inputs.draws,
            inputs.draws.labels,
            inputs.progress,
        )
        inputs = inputs.with_fakes(Examples(images, inputs.draws.labels), g_stats)
    d_params = inputs.variables.d["params"]
    real, inputs = scores(inputs, d_params, inputs.reals.images)
    fake, inputs = scores(inputs, d_params, inputs.fakes.images)
    loss = (fake.mean() - real.mean()) ** 2
    scalars = {"g_loss": loss, "g_square": loss**2}
    return loss, (scalars, inputs.variables.stats, inputs.loss_state)


FAMILY = SimpleNamespace(
    G_PENALTY=None,
    RESTARTS=False,
    CURVES={"Square": {"Loss/g_square": ""}},
    IMPORTED=("G", "D", "Gs"),
    RECORD_CLASSES=("second.Network",),
    PAPER=Paper("Second GAN", "Doe 2026", "https://example.org/second", ("second",)),
    Options=Options,
    LossOptions=LossOptions,
    describe=lambda options: {"contrast": f"{options.contrast:g}"},
    joint_faults=lambda options, loss: iter(()),
    loss_at=lambda options, loss, resolution: loss,
    make_networks=make_networks,
    draw_for_d=draw,
    draw_for_g=draw,
    load_frozen=lambda options, loss, blank: {"scale": np.float32(SCALE)},
    files=lambda options, loss: {},
    begin=lambda options, born: born,
    make_fakes=make_fakes,
    g_takes_reals=lambda loss: True,
    is_zero_sum=lambda options, loss: False,
    init_loss_state=lambda loss: {"mean": jnp.ones([])},
    d_loss=d_loss,
    g_loss=g_loss,
    num_to_fit=lambda options, num_images: 0,
    fit=None,
    recognises=lambda value: False,
    import_value=None,
)
