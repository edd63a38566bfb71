"""Interface of the networks and losses of all families, and their parameters.

A family's G is called as `apply(variables, z, labels, alpha, numbers, train=...)`:
latents [N, latent_size], one-hot labels [N, num_classes] or None, a scalar, the images'
numbers int [N] or None, and whether the call is part of training, in which `stats`
change. Its noise comes from Flax's random numbers "noise" and from the images' numbers,
so that an image does not depend on its batch; without numbers there is none. D is
called by the family's own losses, and once to initialise it: as `init(key, images,
labels, alpha)`, with images [N, r, r, channels] and classes int [N] or None.
"""

import re
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax import traverse_util

Params = dict[str, Any]
# A network's arrays as files store them: its parameters, and its stats under "stats".
Weights = dict[str, Any]
Scalars = dict[str, jax.Array]
# What losses carry from step to step: running means. They are averaged over the parts
# of a batch, so that they do not depend on how the batch is split.
LossState = dict[str, jax.Array]

NETWORKS: tuple[str, ...] = (
    "G",
    "D",
    "Gs",
)  # Gs is the average of G. In the order of authors' files.


class Paper(NamedTuple):
    """The publication of a family, for model cards and reports.

    Attributes:
      model: Name of the model.
      authors: Authors and year.
      url: Address of the paper.
      tags: The Hugging Face Hub's tags of the family.
    """

    model: str
    authors: str
    url: str
    tags: tuple[str, ...]


class DiscriminatorOutput(NamedTuple):
    """Outputs of D for a batch.

    Attributes:
      scores: [N], unbounded, higher for images that look real.
      logits: Class logits [N, num_classes] (AC-GAN head).
      stddev: [N], the value that the minibatch statistic appended; 0 without it.
    """

    scores: jax.Array
    logits: jax.Array
    stddev: jax.Array


class Networks(NamedTuple):
    """Both networks of a stage, Flax modules."""

    generator: Any
    discriminator: Any


class Stats(NamedTuple):
    """The variables that change in training without gradients, Flax's "stats"."""

    g: dict[str, Any]
    d: dict[str, Any]


class Variables(NamedTuple):
    """The variables of both networks, in Flax's collections.

    "params" are trained. "stats" change in training without gradients.
    """

    g: dict[str, Any]
    d: dict[str, Any]

    @property
    def stats(self) -> Stats:
        """Both networks' stats."""
        return Stats(self.g["stats"], self.d["stats"])

    def with_stats(self, stats: Stats) -> "Variables":
        """Returns the variables with other stats."""
        return Variables(self.g | {"stats": stats.g}, self.d | {"stats": stats.d})

    def g_with(self, params: Params) -> dict[str, Any]:
        """Returns G's variables with other values of the parameters in training."""
        return self.g | {"params": carry_over(self.g.get("params", {}), params)}


class Examples(NamedTuple):
    """Images [N, r, r, C] in [-1, 1], and their classes int [N], or None."""

    images: jax.Array
    labels: jax.Array | None


class Progress(NamedTuple):
    """Position of a run in its schedule.

    Attributes:
      alpha: Weight of the newest block in G and D, a scalar in [0, 1]. Real images are
        faded by the same alpha before D sees them: `training.steps.prepare_reals`.
      resolution_ratio: Final side over the stage's, by which gradient norms are divided
        to be those of the full-resolution space; see `penalties.gradient_penalty`.
      key: Key of the step; the source of the random numbers inside networks.
      part: Number of the part of the batch that is computed, from 0.
      num_parts: Number of equal parts of the batch.
      nimg: Number of real images shown before the step, a scalar.
    """

    alpha: jax.Array
    resolution_ratio: float
    key: jax.Array
    part: jax.typing.ArrayLike = 0
    num_parts: int = 1
    nimg: jax.typing.ArrayLike = 0.0


class LossInputs(NamedTuple):
    """Inputs of a loss besides the parameters that it is differentiated by.

    Attributes:
      networks: Both networks.
      variables: Those of both; a loss replaces the parameters that it is given.
      reals: Real images, faded as G's are; None for a loss of G that takes fakes only.
      fakes: Images of G and the classes that G was given; None if G's loss makes them
        from `draws`.
      draws: The step's random arrays, from the family's `draw_for_d` or `draw_for_g`.
      progress: Position of the run.
      loss_state: What the family's losses carry from step to step.
      options: The family's `LossOptions`.
      frozen: What the family's `load_frozen` returned.
      augment: Changes of `augmentation.POLICIES` that D sees all images with.
    """

    networks: Networks
    variables: Variables
    reals: Examples | None
    fakes: Examples | None
    draws: Any
    progress: Progress
    loss_state: LossState
    options: Any
    frozen: Any = None
    augment: tuple[str, ...] = ()

    def with_fakes(self, fakes: Examples, g_stats: dict[str, Any]) -> "LossInputs":
        """Returns the inputs with G's images, and its stats after making them."""
        stats = self.variables.stats._replace(g=g_stats)
        return self._replace(fakes=fakes, variables=self.variables.with_stats(stats))


# Outputs of a loss besides its value: scalars for the log, both networks' stats, and
# the losses' new state.
LossOutputs = tuple[Scalars, Stats, LossState]


class Penalty(NamedTuple):
    """A penalty on G that is taken in some steps only.

    Attributes:
      times: Maps the family's `LossOptions` to every how many pairs it is taken, 0 for
        never, and to the number of images shown from which on it is.
      loss: As a family's `g_loss`, on draws of half as many images. The names of its
        scalars begin with "penalty_", and one is "penalty_loss".
    """

    times: Callable[[Any], tuple[int, float]]
    loss: Callable[[Params, LossInputs], tuple[jax.Array, LossOutputs]]


def generate(
    generator: Any,
    variables: dict[str, Any],
    z: jax.Array,
    labels: jax.Array | None,
    alpha: jax.Array,
    numbers: jax.Array,
    key: jax.Array,
) -> jax.Array:
    """Returns G's images of latents [N, latent_size] and classes int [N] or None.

    The noise of an image, if G has any, is that of its number and the key.
    """
    labels = one_hot(generator, labels)
    rngs = {"noise": key}
    images: Any = generator.apply(variables, z, labels, alpha, numbers, rngs=rngs)
    return images


def map_latents(
    generator: Any,
    variables: dict[str, Any],
    z: jax.Array,
    labels: jax.Array | None,
    *_: jax.Array,
) -> jax.Array:
    """Returns w [N, w_size] of a style-based G; takes what `generate` takes.

    A G is style-based if it has `num_layers`; then it also has the methods `mapping`,
    `truncate` and `synthesis`.
    """
    labels = one_hot(generator, labels)
    w: Any = generator.apply(variables, z, labels, method="mapping")
    return w


def synthesise(
    generator: Any,
    variables: dict[str, Any],
    w: jax.Array,
    labels: jax.Array | None,
    alpha: jax.Array,
    numbers: jax.Array,
    key: jax.Array,
) -> jax.Array:
    """Returns images of w [N, num_layers, w_size]: `generate` without its mapping.

    w is not truncated, and labels are ignored: w depends on them already.
    """
    del labels
    images: Any = generator.apply(
        variables, w, alpha, numbers, rngs={"noise": key}, method="synthesis"
    )
    return images


def generate_in_training(
    generator: Any,
    variables: dict[str, Any],
    z: jax.Array,
    labels: jax.Array | None,
    progress: Progress,
) -> tuple[jax.Array, dict[str, Any]]:
    """Returns the images of a G without noise, and its stats after the call."""
    images, changed = generator.apply(
        variables,
        z,
        one_hot(generator, labels),
        progress.alpha,
        train=True,
        mutable=["stats"],
    )
    return images, changed.get("stats", {})


def one_hot(generator: Any, labels: jax.Array | np.ndarray | None) -> jax.Array | None:
    """Returns [N, num_classes] of classes int [N]; None for None, or without any."""
    if labels is None or not generator.num_classes:
        return None
    return jax.nn.one_hot(jnp.asarray(labels), generator.num_classes)


def check_labels(labels: jax.Array | None, num_classes: int, network: str) -> None:
    """Raises ValueError if labels are missing, or given to an unconditional network.

    Args:
      labels: One-hot [N, num_classes], or None.
      num_classes: The network's; 0 if it is unconditional.
      network: What it is, for the message.
    """
    if (labels is None) != (num_classes == 0):
        given = "no labels" if labels is None else "labels"
        raise ValueError(f"{given} given to a {network} of {num_classes} classes")


def score_together(
    apply: Callable[[jax.Array, jax.Array | None], DiscriminatorOutput],
    reals: Examples,
    fakes: Examples,
) -> tuple[DiscriminatorOutput, DiscriminatorOutput]:
    """Applies D once to real images and fakes, which take turns in the batch.

    So each device keeps the images that it has: one half after the other would move
    them. It takes half as many kernels, each of twice the size.

    Args:
      apply: D as a function of images, of two sets that take turns, and classes or
        None.
      reals: N real images.
      fakes: N fakes; with classes if the real images have some.
    """
    n = len(reals.images)
    pairs = jax.tree.map(lambda a, b: jnp.stack([a, b], axis=1), reals, fakes)
    both = jax.tree.map(lambda x: x.reshape(2 * n, *x.shape[2:]), pairs)
    out = apply(both.images, both.labels)
    apart = jax.tree.map(lambda x: x.reshape(n, 2, *x.shape[1:]), out)
    real, fake = (jax.tree.map(lambda x, i=i: x[:, i], apart) for i in range(2))
    return real, fake


def draw_labels(
    key: jax.Array, n: int, log_probs: tuple[float, ...]
) -> jax.Array | None:
    """Draws n classes with the given log probabilities, int [n]; None without any."""
    if not log_probs:
        return None
    logits = jnp.asarray(log_probs, jnp.float32)
    return jax.random.categorical(key, logits, shape=(n,))


def init_variables(key: jax.Array, generator: Any, discriminator: Any) -> Variables:
    """Initialises both networks; linen folds a layer's path into the key."""
    key_g, key_d = jax.random.split(key)
    return Variables(_init_g(key_g, generator), _init_d(key_d, discriminator))


def init_params(
    key: jax.Array, generator: Any, discriminator: Any
) -> tuple[Params, Params]:
    """Returns the parameters of `init_variables`."""
    g, d = init_variables(key, generator, discriminator)
    return g["params"], d["params"]


def init_generator(key: jax.Array, generator: Any) -> Params:
    """Returns new parameters of G alone."""
    return _init_g(key, generator)["params"]


def init_discriminator(key: jax.Array, discriminator: Any) -> Params:
    """Returns new parameters of D alone."""
    return _init_d(key, discriminator)["params"]


def _init_g(key: jax.Array, generator: Any) -> dict[str, Any]:
    labels = jnp.zeros((1, generator.num_classes)) if generator.num_classes else None
    z = jnp.zeros((1, generator.latent_size))
    return {"stats": {}} | generator.init(key, z, labels, jnp.ones([]))


def _init_d(key: jax.Array, discriminator: Any) -> dict[str, Any]:
    side, channels = discriminator.resolution, discriminator.channels
    images = jnp.zeros((1, side, side, channels))
    labels = jnp.zeros((1,), jnp.int32) if discriminator.num_classes else None
    return {"stats": {}} | discriminator.init(key, images, labels, jnp.ones([]))


def to_weights(variables: Mapping[str, Any]) -> Weights:
    """Returns a network's parameters, and its stats under "stats" if it has any."""
    stats = variables["stats"]
    return variables["params"] | ({"stats": stats} if stats else {})


def to_variables(weights: Weights) -> dict[str, Any]:
    """Returns what `to_weights` was given."""
    params = {name: layer for name, layer in weights.items() if name != "stats"}
    return {"params": params, "stats": weights.get("stats", {})}


def weight_shapes(network: nn.Module) -> dict[tuple[str, ...], tuple[int, ...]]:
    """Returns the shapes of a network's weights by path, without computing them."""
    init = _init_g if hasattr(network, "latent_size") else _init_d  # G has latents.
    variables = jax.eval_shape(lambda: init(jax.random.key(0), network))
    flat = traverse_util.flatten_dict(to_weights(variables))
    return {path: array.shape for path, array in flat.items()}


# The shape of a layer's kernel, and the number of pixels of an image it is applied at.
Layer = tuple[tuple[int, ...], int]


@cache  # The runs of one table share their networks.
def block_layers(generator: Any) -> tuple[Layer, ...]:
    """Returns the layers within a generator's blocks, from their shapes alone.

    Blocks are named by `block_name`, at any depth; the other layers are those of RGB,
    and of networks before the blocks.
    """
    layers = []
    for path, shape in weight_shapes(generator).items():
        block = re.search(r"\bblock_(\d+)x\1\b", "/".join(path))
        if block and path[-1] == "kernel":
            # A dense kernel makes all pixels at once.
            side = int(block[1]) if len(shape) == 4 else 1
            layers.append((shape, side * side))
    return tuple(layers)


def carry_over(born: Params, carried: Params) -> Params:
    """Returns `born` with the leaves of `carried` in place of its own."""
    flat = traverse_util.flatten_dict(born) | traverse_util.flatten_dict(carried)
    return traverse_util.unflatten_dict(flat)


def carry_shared(born: Params, carried: Params) -> Params:
    """Returns `born` with those leaves of `carried` that it has by path, too."""
    flat = traverse_util.flatten_dict(born, keep_empty_nodes=True)
    given = traverse_util.flatten_dict(carried)
    return traverse_util.unflatten_dict({p: given.get(p, x) for p, x in flat.items()})


def split_trained(generator: Any, params: Params) -> tuple[Params, Params]:
    """Splits G's parameters into those that its stage trains, and the fixed ones.

    A G without `is_trained` trains all.
    """
    if not hasattr(generator, "is_trained"):
        return params, {}
    flat = traverse_util.flatten_dict(params)
    trained = {p: x for p, x in flat.items() if generator.is_trained(p)}
    fixed = {p: x for p, x in flat.items() if p not in trained}
    return traverse_util.unflatten_dict(trained), traverse_util.unflatten_dict(fixed)


def stage_resolutions(resolution: int, start: int = 4) -> list[int]:
    """Returns start, 2 * start, ..., resolution.

    Examples:
      >>> stage_resolutions(32)
      [4, 8, 16, 32]
      >>> stage_resolutions(64, start=16)
      [16, 32, 64]
    """
    return [2**k for k in range(start.bit_length() - 1, resolution.bit_length())]


def block_name(resolution: int) -> str:
    """Returns the name of a resolution's block."""
    return f"block_{resolution}x{resolution}"


RESOLUTIONS = tuple(stage_resolutions(1024))
