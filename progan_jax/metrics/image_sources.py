"""Images to be measured, in chunks: real ones in random order, or fakes."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, Protocol

import jax
import ml_collections
import numpy as np

from progan_jax.data.index_stream import IndexStream
from progan_jax.data.names import counted, describe_classes
from progan_jax.data.pyramid import Pyramid
from progan_jax.errors import UserError
from progan_jax.images import upscale_nearest
from progan_jax.inference.sampling import Sampler, draw_latents, generator_from_snapshot
from progan_jax.metrics.style_mixing import check_layers, generate_mixed
from progan_jax.models.common import Weights, generate, to_variables

_CHUNK_PIXELS = 2**24

# A purpose of the run's seed, other than those of training and of the grids.
_KEY = 3


def describe_set(config: ml_collections.ConfigDict, pyramid: Pyramid) -> str:
    """Returns a line on the set of a run, and how its classes are used."""
    known, learnt = pyramid.num_classes, config.model.num_classes
    classes = describe_classes(known, pyramid.class_names)
    if known and not learnt:
        classes += ", left out by config.model.num_classes = 0"
    elif learnt < known:
        classes += f", the first {learnt} of them trained by class"
    elif known:
        classes += ", trained by class"
    side = config.model.resolution
    return (
        f"{pyramid.name}: {counted(pyramid.num_images, 'image')} of {side}x{side}, "
        f"{counted(pyramid.channels, 'channel')}, {classes}"
    )


class ImageSource(Protocol):
    """Images of one kind, always the same ones in the same order."""

    def chunks(self, num_images: int) -> Iterator[np.ndarray]:
        """Yields the first `num_images`, uint8 [m, R, R, C]."""
        ...


@dataclass(frozen=True)
class Reals:
    """Images of a set in a random order; each appears once per epoch.

    Attributes:
      pyramid: The set.
      resolution: R.
      seed: Seed for the order.
      mirror: Whether half of them are mirrored, as in training.
      skip: Number of images of the order that are skipped.
    """

    pyramid: Pyramid
    resolution: int
    seed: int
    mirror: bool
    skip: int = 0

    def chunks(self, num_images: int) -> Iterator[np.ndarray]:
        """Yields the first `num_images`, uint8 [m, R, R, C]."""
        level = self.pyramid.levels[self.resolution]
        for indices, mirror in self._order(num_images):
            images = level[indices]
            images[mirror] = images[mirror, :, ::-1]
            yield images

    def labels(self, num_images: int) -> np.ndarray | None:
        """Returns their classes int32 [num_images], None without classes."""
        if self.pyramid.labels is None:
            return None
        order = [indices for indices, _ in self._order(num_images)]
        return self.pyramid.labels[np.concatenate(order)]

    def _order(self, num_images: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        stream = IndexStream(self.seed, self.pyramid.num_images, self.mirror)
        size = chunk_size(self.resolution)
        for start in range(0, num_images, size):
            yield stream.take(self.skip + start, min(size, num_images - start))


@dataclass(frozen=True)
class Fakes:
    """Images of a snapshot's generator, enlarged to R by repeating their pixels.

    Attributes:
      sampler: The generator's sampler.
      variables: The generator's.
      alpha: Weight of its newest layers.
      reals: Real images with the fakes' classes, R and seed.
      name: Name of the snapshot, for messages.
    """

    sampler: Sampler
    variables: Mapping[str, Any]
    alpha: float
    reals: Reals
    name: str

    def chunks(self, num_images: int) -> Iterator[np.ndarray]:
        """Yields the first `num_images`, uint8 [m, R, R, C].

        Raises:
          NotFiniteError: if images are not finite.
        """
        side = self.reals.resolution
        generator, size = self.sampler.generator, chunk_size(side)
        labels = self.reals.labels(num_images) if generator.num_classes else None
        key = jax.random.fold_in(jax.random.key(self.reals.seed), _KEY)
        for start in range(0, num_images, size):
            count = min(size, num_images - start)
            chunk_key = jax.random.fold_in(key, start // size)
            latents = draw_latents(chunk_key, size, generator.latent_size)[:count]
            classes = None if labels is None else labels[start : start + count]
            images = self.sampler.sample(
                self.variables,
                self.alpha,
                latents,
                classes,
                self.name,
                seed=self.reals.seed,
                first=start,
            )
            yield upscale_nearest(images, side // generator.resolution)


def open_fakes(
    name: str,
    weights: Weights,
    info: Mapping[str, Any],
    reals: Reals,
    batched: jax.sharding.NamedSharding | None,
    truncation_psi: float = 1.0,
    latents: int = 1,
) -> Fakes:
    """Returns the fakes of a snapshot, to be compared with real images.

    Args:
      name: Name of the snapshot, for messages.
      weights: From `read_snapshot`.
      info: Its description.
      reals: The real images.
      batched: Sharding of a batch axis; None for one device.
      truncation_psi: 1 for none; any other only of a generator that truncates.
      latents: Number of latents whose styles an image mixes, likewise.

    Raises:
      UserError: if it was trained on another set, is larger than the real images, or
        has too few layers for so many latents.
    """
    check_snapshot(name, info, reals)
    generator = generator_from_snapshot(info)
    if truncation_psi != 1:
        generator = generator.clone(truncation_psi=truncation_psi)
    draw = generate
    if latents > 1:
        check_layers(name, generator, latents)
        draw = _mixing(latents)
    sampler = Sampler(generator, batched=batched, draw=draw)
    variables, alpha = to_variables(weights), info["stage"]["alpha"]
    return Fakes(sampler, variables, alpha, reals, name)


@cache  # Equal functions would be compiled anew.
def _mixing(latents: int) -> Callable[..., jax.Array]:
    return partial(generate_mixed, latents=latents)


def check_snapshot(name: str, info: Mapping[str, Any], reals: Reals) -> None:
    """Raises UserError if a snapshot is of another set or larger than the images."""
    check_trained_on(name, info, reals.pyramid)
    side = info["stage"]["resolution"]
    if side > reals.resolution:
        raise UserError(
            f"config.model.resolution = {reals.resolution}: snapshot {name} generates "
            f"{side}x{side}; give the configuration of its run"
        )


def check_trained_on(name: str, info: Mapping[str, Any], pyramid: Pyramid) -> None:
    """Raises UserError if a snapshot was trained on another set than this."""
    trained_on = info.get("dataset")
    if trained_on is None:
        raise UserError(
            f"snapshot {name} does not say which images it was trained on; name a "
            "snapshot of a run"
        )
    if trained_on["fingerprint"] != pyramid.fingerprint:
        raise UserError(
            f"config.data.name = {pyramid.name!r}: snapshot {name} was trained on "
            f"other images ({trained_on['name']}); give the configuration and the data "
            "of its run"
        )


def chunk_size(resolution: int) -> int:
    """Returns the number of images of a side that are generated at a time."""
    return max(min(_CHUNK_PIXELS // resolution**2, 4096), 1)
