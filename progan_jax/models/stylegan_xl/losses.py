"""Losses of StyleGAN-XL: hinge over projected logits, guidance, and path length.

D sees all images blurred at first, and each backbone sees them by augmentations of its
own. Spectral norms and batch statistics change whenever D is applied, also in G's
steps. Source: Sauer et al. 2022, section 3, and the losses of the authors' program.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from progan_jax.models import augmentation
from progan_jax.models.common import (
    Examples,
    LossInputs,
    LossOutputs,
    LossState,
    Params,
    Penalty,
    Scalars,
    draw_labels,
    map_latents,
)
from progan_jax.models.defaults import make_fakes
from progan_jax.models.layers import statistics_dtype
from progan_jax.models.stylegan.layers import broadcast_w
from progan_jax.models.stylegan_xl.backbone_weights import (
    blank_backbone,
    identify,
    load_backbone,
)
from progan_jax.models.stylegan_xl.backbones import BACKBONES
from progan_jax.models.stylegan_xl.blurring import blur, blur_sigma
from progan_jax.models.stylegan_xl.guidance import (
    guidance_loss,
    imagenet_classes,
)
from progan_jax.models.stylegan_xl.hinge import d_hinge, g_hinge
from progan_jax.models.stylegan_xl.options import LossOptions, Options
from progan_jax.models.stylegan_xl.path_length import path_lengths, penalty

# Charts of a run's report: scalars, and their names in the legend.
CURVES: Mapping[str, Mapping[str, str]] = {
    "Mean sign of the logits": {
        "Health/real_signs": "real images",
        "Health/fake_signs": "fakes",
    },
    "Cross entropy of the fakes' classes": {"Loss/g_guidance": ""},
    "Length of paths in w": {"Loss/penalty_path_length": ""},
}

# Random numbers inside the losses, folded into the key of the step.
_REALS, _FAKES, _PATHS = 0, 1, 2


class Draws(NamedTuple):
    """The random arrays of one step, each [N, ...] with one row per image.

    Attributes:
      z: Latents [N, latent_size].
      labels: Classes of the fakes, int [N]; None without classes.
      numbers: int [N], the images' places in the batch, for their augmentations.
    """

    z: jax.Array
    labels: jax.Array | None
    numbers: jax.Array


def draw(
    keys: jax.Array,
    n: int,
    options: Options,
    loss: LossOptions,
    log_probs: tuple[float, ...],
) -> Draws:
    """Draws the random arrays of a step of either network on n fakes.

    Their classes are random in D's steps, too.
    """
    key_latents, key_labels, _ = keys
    z = jax.random.normal(key_latents, (n, options.latent_size))
    if loss.labels == "uniform":
        log_probs = (0.0,) * options.num_classes
    labels = draw_labels(key_labels, n, log_probs) if options.num_classes else None
    return Draws(z, labels, jnp.arange(n, dtype=jnp.int32))


def files(options: Options, loss: LossOptions) -> dict[str, dict[str, str]]:
    """Returns name and SHA-256 of each frozen network's file, by the networks' names.

    Raises:
      UserError: if a file is missing.
    """
    names = list(options.backbone_names)
    if loss.guidance_weight and loss.classifier not in names:
        names.append(loss.classifier)
    paths = options.weight_paths
    return {name: identify(name, paths.get(name, "")) for name in names}


def load_frozen(options: Options, loss: LossOptions, blank: bool) -> dict[str, Any]:
    """Reads the weights of the backbones, and of the classifier of the guidance.

    Args:
      options: The networks'.
      loss: The losses'.
      blank: Whether to take ones instead, and read nothing.

    Returns:
      Parameters by the backbones' names, as "backbones", and as "classifier".

    Raises:
      UserError: if a file is missing, damaged or of another network.
    """
    paths = options.weight_paths

    def load(name: str, classifier: bool = False) -> Params:
        if blank:
            return blank_backbone(name, classifier)
        return load_backbone(name, paths.get(name, ""), classifier).params

    backbones = {name: load(name) for name in options.backbone_names}
    guided = bool(loss.guidance_weight)
    classifier = load(loss.classifier, classifier=True) if guided else None
    return {"backbones": backbones, "classifier": classifier}


def init_loss_state(options: LossOptions) -> LossState:
    """Returns the average length of paths, 0 at the start; empty without a penalty."""
    return {"path_length": jnp.zeros([])} if _path_times(options)[0] else {}


def g_takes_reals(options: LossOptions) -> bool:
    """Returns False: G's losses take fakes only."""
    del options
    return False


def is_zero_sum(options: Options, loss: LossOptions) -> bool:
    """Returns False: D's hinge stops where G's loss goes on."""
    del options, loss
    return False


def d_loss(d_params: Params, inputs: LossInputs) -> tuple[jax.Array, LossOutputs]:
    """Returns the loss of D's parameters.

    D is applied to the fakes first: its stats change from one pass to the next.
    """
    reals, fakes, options = inputs.reals, inputs.fakes, inputs.options
    assert reals is not None and fakes is not None, "D takes both"
    fake, inputs = _judge(d_params, inputs, fakes, _FAKES)
    real, inputs = _judge(d_params, inputs, reals, _REALS)
    weight = _weight_of_sum(inputs, len(fakes.images))
    loss = weight * d_hinge(real, fake, options.reduction)
    scalars = _describe("real", real) | _describe("fake", fake) | {"d_loss": loss}
    return loss, (scalars, inputs.variables.stats, inputs.loss_state)


def g_loss(g_params: Params, inputs: LossInputs) -> tuple[jax.Array, LossOutputs]:
    """Returns the loss of G's parameters, or of the given fakes.

    The averages of w follow the fakes of D's steps alone, as in the authors' program.
    """
    options, fakes = inputs.options, inputs.fakes
    if fakes is None:
        draws, g = inputs.draws, inputs.variables.g_with(g_params)
        images, _ = make_fakes(
            inputs.networks.generator, g, draws, draws.labels, inputs.progress
        )
        fakes = Examples(images, draws.labels)
    out, inputs = _judge(inputs.variables.d["params"], inputs, fakes, _FAKES)
    weight = _weight_of_sum(inputs, len(fakes.images))
    loss, scalars = weight * g_hinge(out, options.reduction), {}
    if options.guidance_weight and fakes.labels is not None:
        classifier = BACKBONES[options.classifier], inputs.frozen["classifier"]
        classes = imagenet_classes(fakes.labels, inputs.networks.generator.options)
        guidance = guidance_loss(fakes.images, classes, *classifier)
        scalars["g_guidance"] = guidance
        loss += options.guidance_weight * guidance
    stats, loss_state = inputs.variables.stats, inputs.loss_state
    return loss, (scalars | {"g_loss": loss}, stats, loss_state)


def _path_loss(g_params: Params, inputs: LossInputs) -> tuple[jax.Array, LossOutputs]:
    """Returns the penalty of path lengths: Karras et al. 2020, section 3.2."""
    draws, options, progress = inputs.draws, inputs.options, inputs.progress
    generator = _at_full_precision(inputs.networks.generator)
    variables = inputs.variables.g_with(g_params)
    w = map_latents(generator, variables, draws.z, draws.labels)
    w = broadcast_w(w, generator.num_layers)

    def synthesise(w: jax.Array) -> jax.Array:
        return generator.apply(variables, w, method="synthesis")

    side, channels = generator.resolution, generator.options.channels
    key = jax.random.fold_in(progress.key, _PATHS)
    keys = jax.vmap(jax.random.fold_in, (None, 0))(key, draws.numbers)
    noise = jax.vmap(lambda key: jax.random.normal(key, (side, side, channels)))(keys)
    with jax.default_matmul_precision("highest"):
        lengths = path_lengths(synthesise, w, noise)
    average = inputs.loss_state["path_length"]
    rate, weight = options.path_decay, options.path_weight
    loss, average = penalty(lengths, average, rate, weight)
    scalars = {"penalty_loss": loss, "penalty_path_length": jnp.mean(lengths)}
    loss_state = inputs.loss_state | {"path_length": lax.stop_gradient(average)}
    return loss, (scalars, inputs.variables.stats, loss_state)


def _at_full_precision(generator: Any) -> Any:
    """Returns the generator with activations in float32 at least."""
    dtype = str(statistics_dtype(generator.options.dtype))
    return generator.clone(options=replace(generator.options, dtype=dtype))


def _path_times(options: LossOptions) -> tuple[int, float]:
    every = options.path_every if options.path_weight else 0
    return every, options.path_start_kimg * 1000


G_PENALTY: Penalty | None = Penalty(_path_times, _path_loss)


def _judge(
    params: Params, inputs: LossInputs, examples: Examples, what: int
) -> tuple[tuple[jax.Array, ...], LossInputs]:
    """Returns D's logits, and the inputs with its stats after the pass."""
    discriminator, options = inputs.networks.discriminator, inputs.options
    variables = inputs.variables.d | {"params": params}
    dtype = inputs.networks.generator.options.dtype
    images = examples.images.astype(statistics_dtype(dtype))
    if options.blur_kimg:
        sigma = blur_sigma(inputs.progress.nimg, options.blur_sigma, options.blur_kimg)
        images = blur(images, sigma)
    features = discriminator.apply(
        variables,
        images,
        inputs.frozen["backbones"],
        _augmentations(inputs, what),
        method="project",
    )
    logits, changed = discriminator.apply(
        variables, features, examples.labels, method="judge", mutable=["stats"]
    )
    d = inputs.variables.d | changed
    return logits, inputs._replace(variables=inputs.variables._replace(d=d))


def _augmentations(
    inputs: LossInputs, what: int
) -> dict[str, augmentation.Draws] | None:
    """Draws the changes that each backbone sees the images with."""
    if not inputs.augment:
        return None
    discriminator = inputs.networks.discriminator
    key = jax.random.fold_in(inputs.progress.key, what)
    return {
        name: augmentation.draw(
            jax.random.fold_in(key, index),
            inputs.draws.numbers,
            discriminator.resolution,
            inputs.augment,
        )
        for index, name in enumerate(discriminator.backbones)
    }


def _weight_of_sum(inputs: LossInputs, n: int) -> float:
    """Returns the weight that makes sums over n images those over a group of them.

    The authors' program sums over the images that a device takes at a time.
    """
    group = inputs.networks.discriminator.stats_batch or n
    return group / n if inputs.options.reduction == "sum" else 1.0


def _describe(name: str, logits: tuple[jax.Array, ...]) -> Scalars:
    every = jnp.concatenate([part.ravel() for part in logits])
    return {
        f"{name}_scores": jnp.mean(every),
        f"{name}_signs": jnp.mean(jnp.sign(every)),
    }
