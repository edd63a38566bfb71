"""Vision transformers, frozen: features of four levels, and ImageNet's classes.

DeiT is a vision transformer with one more token, trained by distillation; its
classifier is the mean of two heads. The same module is DINOv2, which has no such token
but a factor after each branch. Sources: Touvron et al. 2021, "Training data-efficient
image transformers"; Oquab et al. 2023, "DINOv2".
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax import traverse_util

from progan_jax.models.common import Params

_HEAD_WIDTH = 64

_EPSILON = 1e-6  # Of the norms.

_LINEAR = ("weight", "bias")  # The arrays of timm's layers.

_CUBIC = -0.75  # The parameter of PyTorch's bicubic kernel.


class VisionTransformer(nn.Module):
    """A vision transformer, whose weights are those of `from_timm`.

    Attributes:
      width: Width D of the tokens, a multiple of 64.
      patch: Side of the patches that become tokens.
      side: Side of the images, a multiple of the patch.
      distilled: Whether it is DeiT, with a second token and a second classifier.
      layer_scale: Whether there is a factor after each branch (DINOv2).
      stored_tokens: Patches along a side whose positions files hold; 0 for `side`'s.
      depth: Number of blocks, a multiple of four.
      overshoot: Part of a patch by which a side is too long where positions are
        resized; 0.1 in DINOv2's own program.
    """

    width: int
    patch: int = 16
    side: int = 224
    distilled: bool = True
    layer_scale: bool = False
    stored_tokens: int = 0
    depth: int = 12
    overshoot: float = 0.0

    @property
    def tokens(self) -> int:
        """Patches along a side."""
        return self.side // self.patch

    @property
    def extra(self) -> int:
        """Number of tokens before those of the patches."""
        return 2 if self.distilled else 1

    @property
    def num_classes(self) -> int:
        """Number of classes; 0 without a classifier."""
        return 1000 if self.distilled else 0

    def setup(self) -> None:
        """Makes the layers; those that a method does not use get no weights."""
        normal = nn.initializers.normal(0.02)
        shape = (self.extra, self.width)
        self.first_tokens = self.param("first_tokens", normal, shape)
        shape = (self.extra + self.tokens**2, self.width)
        self.positions = self.param("positions", normal, shape)
        self.embed = nn.Dense(self.width)
        # One program for all blocks, whose weights are stacked along a first axis.
        scanned = nn.scan(
            _Block,
            variable_axes={"params": 0},
            split_rngs={"params": True},
            length=self.depth,
        )
        self.blocks = scanned(self.layer_scale)
        self.norm = _norm()
        self.heads = [nn.Dense(self.num_classes) for _ in range(self.extra)]

    def __call__(self, images: jax.Array) -> jax.Array:
        """Returns the logits of ImageNet's classes, [N, 1000]: the mean of both heads'.

        Without a classifier it is the first token after the last norm, [N, D].

        Args:
          images: [N, side, side, 3], RGB in units of ImageNet's deviation.
        """
        x = self.norm(self._run(images)[-1])
        if not self.num_classes:
            return x[:, 0]
        logits = [head(x[:, index]) for index, head in enumerate(self.heads)]
        return sum(logits[1:], logits[0]) / len(logits)

    def features(self, images: jax.Array) -> tuple[jax.Array, ...]:
        """Returns the patches' tokens after each quarter of blocks, [N, t, t, D]."""
        n, t, quarter = len(images), self.tokens, self.depth // 4
        outputs = self._run(images)[quarter - 1 :: quarter]
        return tuple(x[:, self.extra :].reshape(n, t, t, -1) for x in outputs)

    def _run(self, images: jax.Array) -> jax.Array:
        """Returns the outputs of all blocks, [depth, N, tokens, D]."""
        n, p, t = len(images), self.patch, self.tokens
        patches = images.reshape(n, t, p, t, p, 3).swapaxes(2, 3)
        x = self.embed(patches.reshape(n, t * t, -1))
        first = jnp.broadcast_to(self.first_tokens[None], (n, self.extra, self.width))
        x = jnp.concatenate([first, x], axis=1) + self.positions[None]
        _, outputs = self.blocks(x)
        return outputs


class _Block(nn.Module):
    """Attention and a layer of two products, each added to its input."""

    layer_scale: bool

    @nn.compact
    def __call__(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Returns the result twice: for the next block, and as an output."""
        width = x.shape[-1]
        y = _attend(nn.Dense(3 * width, name="qkv")(_norm("norm1")(x)))
        x = x + self._scale("scale1", nn.Dense(width, name="out")(y))
        y = nn.Dense(4 * width, name="expand")(_norm("norm2")(x))
        y = nn.Dense(width, name="project")(nn.gelu(y, approximate=False))
        x = x + self._scale("scale2", y)
        return x, x

    def _scale(self, name: str, x: jax.Array) -> jax.Array:
        if not self.layer_scale:
            return x
        scale = self.param(name, nn.initializers.ones_init(), x.shape[-1:])
        return x * scale.reshape(1, 1, -1)


def _attend(qkv: jax.Array) -> jax.Array:
    """Mixes values by the similarity of queries and keys: [N, T, 3 D] to [N, T, D]."""
    n, tokens, width = qkv.shape
    heads = width // (3 * _HEAD_WIDTH)
    q, k, v = jnp.moveaxis(qkv.reshape(n, tokens, 3, heads, _HEAD_WIDTH), 2, 0)
    similarity = jnp.einsum("nqhc,nkhc->nhqk", q, k) / math.sqrt(_HEAD_WIDTH)
    weights = jax.nn.softmax(similarity)
    return jnp.einsum("nhqk,nkhc->nqhc", weights, v).reshape(n, tokens, width // 3)


def _norm(name: str | None = None) -> nn.LayerNorm:
    return nn.LayerNorm(_EPSILON, use_fast_variance=False, name=name)


class _Part(NamedTuple):
    """An array of ours, and its name and shape in timm's files.

    Attributes:
      path: Where it is in our tree.
      names: Its name in files; those of all blocks for what is stacked.
      shape: Its shape there: [O, I] of a dense kernel.
    """

    path: tuple[str, ...]
    names: tuple[str, ...]
    shape: tuple[int, ...]

    @property
    def is_stacked(self) -> bool:
        """Whether it has a first axis for the blocks."""
        return self.path[0] == "blocks"


def timm_shapes(
    network: VisionTransformer, classifier: bool = False
) -> dict[str, tuple[int, ...]]:
    """Returns the shapes of the arrays that are used, by timm's names.

    Args:
      network: The network.
      classifier: Whether the layers after the features are, too.
    """
    side, width = network.stored_tokens or network.tokens, network.width
    tokens = ("cls_token", "dist_token")[: network.extra]
    shapes: dict[str, tuple[int, ...]] = dict.fromkeys(tokens, (1, 1, width))
    shapes["pos_embed"] = (1, network.extra + side**2, width)
    patch = (width, 3, network.patch, network.patch)
    shapes |= {"patch_embed.proj.weight": patch, "patch_embed.proj.bias": (width,)}
    parts = _parts(network, classifier)
    return shapes | {name: part.shape for part in parts for name in part.names}


def from_timm(
    arrays: Mapping[str, np.ndarray],
    network: VisionTransformer,
    classifier: bool = False,
) -> Params:
    """Returns the weights of a network of arrays by timm's names.

    Args:
      arrays: Those of `timm_shapes`; others are ignored.
      network: The network.
      classifier: See `timm_shapes`.
    """
    tokens = ("cls_token", "dist_token")[: network.extra]
    kernel = arrays["patch_embed.proj.weight"].transpose(2, 3, 1, 0)
    flat = {
        ("first_tokens",): np.concatenate([arrays[name][0] for name in tokens]),
        ("positions",): _positions(arrays["pos_embed"][0], network),
        ("embed", "kernel"): kernel.reshape(-1, network.width),
        ("embed", "bias"): arrays["patch_embed.proj.bias"],
    }
    for part in _parts(network, classifier):
        stored = [arrays[name].T for name in part.names]
        flat[part.path] = np.stack(stored) if part.is_stacked else stored[0]
    return traverse_util.unflatten_dict({k: np.float32(v) for k, v in flat.items()})


def _parts(network: VisionTransformer, classifier: bool) -> Iterator[_Part]:
    width = network.width
    dense = {
        "qkv": ("attn.qkv", 3 * width, width),
        "out": ("attn.proj", width, width),
        "expand": ("mlp.fc1", 4 * width, width),
        "project": ("mlp.fc2", width, 4 * width),
    }
    theirs = [f"blocks.{index}" for index in range(network.depth)]
    for layer, (name, *shape) in dense.items():
        names = [f"{block}.{name}" for block in theirs]
        yield from _dense(("blocks", layer), names, *shape)
    for number in (1, 2):
        names = [f"{block}.norm{number}" for block in theirs]
        yield from _scaled(("blocks", f"norm{number}"), names, width)
        if network.layer_scale:
            factors = tuple(f"{block}.ls{number}.gamma" for block in theirs)
            yield _Part(("blocks", f"scale{number}"), factors, (width,))
    if classifier:
        yield from _scaled(("norm",), ["norm"], width)
        heads = ("head", "head_dist")[: network.extra] if network.num_classes else ()
        for index, name in enumerate(heads):
            yield from _dense((f"heads_{index}",), [name], network.num_classes, width)


def _dense(
    path: tuple[str, ...], names: Sequence[str], features: int, width: int
) -> Iterator[_Part]:
    weights, biases = (tuple(f"{n}.{part}" for n in names) for part in _LINEAR)
    yield _Part((*path, "kernel"), weights, (features, width))
    yield _Part((*path, "bias"), biases, (features,))


def _scaled(path: tuple[str, ...], names: Sequence[str], width: int) -> Iterator[_Part]:
    weights, biases = (tuple(f"{n}.{part}" for n in names) for part in _LINEAR)
    yield _Part((*path, "scale"), weights, (width,))
    yield _Part((*path, "bias"), biases, (width,))


def _positions(stored: np.ndarray, network: VisionTransformer) -> np.ndarray:
    """Returns the positions [tokens, D] of a network's side, resized bicubically."""
    first, grid = stored[: network.extra], stored[network.extra :]
    side = math.isqrt(len(grid))
    if side == network.tokens:
        return stored
    weights = _bicubic(side, network.tokens, network.overshoot)
    square = np.float64(grid).reshape(side, side, -1)
    resized = np.einsum("ij,kl,jlc->ikc", weights, weights, square)
    return np.concatenate([first, resized.reshape(network.tokens**2, -1)])


def _bicubic(old: int, new: int, overshoot: float) -> np.ndarray:
    """Returns the weights [new, old] of Keys' kernel, without antialiasing.

    Pixels lie at half numbers, as if there were new + overshoot of them; those beyond a
    border are its copies.
    """
    places = (np.arange(new) + 0.5) * old / (new + overshoot) - 0.5
    nearest = np.floor(places).astype(int)
    weights = np.zeros((new, old))
    for offset in range(-1, 3):
        distance = np.abs(places - (nearest + offset))
        taps = np.clip(nearest + offset, 0, old - 1)
        np.add.at(weights, (np.arange(new), taps), _keys(distance))
    return weights


def _keys(distance: np.ndarray) -> np.ndarray:
    """Returns the kernel of Keys 1981 at distances below 2."""
    d, a = distance, _CUBIC
    near = (a + 2) * d**3 - (a + 3) * d**2 + 1
    far = a * (d**3 - 5 * d**2 + 8 * d - 4)
    return np.where(d <= 1, near, far)
