"""Maps of four sizes of a vision transformer's tokens, by random layers.

A transformer has as many tokens in its last blocks as in its first. For the
discriminator they become a pyramid as that of a convolutional network. The layers are
those that Ranftl et al. 2021 train ("Vision transformers for dense prediction"), and
frozen here. Source: Sauer et al. 2022.
"""

from collections.abc import Sequence

import jax
from flax import linen as nn

from progan_jax.models.stylegan_xl.random_layers import RandomConv, RandomEnlargement


def reassembled_channels(width: int) -> tuple[int, ...]:
    """Returns the number of maps of each level, of tokens of a width."""
    return width // 8, width // 4, width // 2, width


class Reassembly(nn.Module):
    """Enlarges the first two levels, and halves the last."""

    @nn.compact
    def __call__(self, tokens: Sequence[jax.Array]) -> tuple[jax.Array, ...]:
        """Maps four times [N, t, t, D] to sides of 4 t, 2 t, t and t / 2.

        Their numbers of maps are those of `reassembled_channels`.
        """
        widths = reassembled_channels(tokens[0].shape[-1])
        levels = [
            RandomConv(width, name=f"project{k}")(x)
            for k, (x, width) in enumerate(zip(tokens, widths, strict=True))
        ]
        return (
            RandomEnlargement(widths[0], 4, name="resize0")(levels[0]),
            RandomEnlargement(widths[1], 2, name="resize1")(levels[1]),
            levels[2],
            RandomConv(widths[3], 3, name="resize3")(levels[3]),
        )
