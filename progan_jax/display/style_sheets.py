"""Sheets of a style-based generator: mixed styles, and truncation."""

from collections.abc import Sequence

import numpy as np

from progan_jax.display.sheet import Row, Section, draw_sheet
from progan_jax.inference.classes import name_class
from progan_jax.inference.generator import TrainedGenerator, to_uint8
from progan_jax.inference.sampling import draw_inputs
from progan_jax.inference.styles import Style, show_layers

MOST_SIDE = 256  # Of an image in a sheet; larger ones are means over blocks.


class Sources:
    """The first images of seeds, those of `TrainedGenerator.sample`, as w.

    Attributes:
      w: [N, w_size].
      labels: Their classes, int [N], or None.
      names: What each is: its seed, and its class if there are any.
    """

    def __init__(
        self, generator: TrainedGenerator, seeds: Sequence[int], label: int | None
    ) -> None:
        """Maps the latents of the seeds; without a label, classes are random."""
        drawn = [draw_inputs(generator.network, 1, seed, label) for seed in seeds]
        latents = np.concatenate([z for z, _ in drawn])
        classes = [labels[0] for _, labels in drawn if labels is not None]
        self.labels = np.array(classes) if classes else None
        self.w = generator.mapping(latents, self.labels)
        self.names = [f"seed {seed}" for seed in seeds]
        for number, one in enumerate(classes):
            self.names[number] += f"\nclass {name_class(one, generator.class_names)}"

    def truncate(
        self, generator: TrainedGenerator, psi: float | None, cutoff: int | None
    ) -> np.ndarray:
        """Returns w [N, num_layers, w_size], truncated as the generator's samples."""
        return generator.truncate(self.w, psi, cutoff, self.labels)


def mixing_sheet(
    generator: TrainedGenerator,
    rows: Sources,
    columns: Sources,
    layers: Sequence[tuple[str, Sequence[int]]],
    style: Style,
) -> np.ndarray:
    """Returns a sheet of images of A whose given layers have the styles of B.

    Args:
      generator: A style-based one.
      rows: The images A, at the left.
      columns: The images B, at the top.
      layers: Headings and layers: one section each, with all rows.
      style: Complete settings.

    Returns:
      uint8 [H, W, 3].

    Source: Karras et al. 2019, figure 3.
    """
    w_a, w_b = (source.truncate(generator, *style[:2]) for source in (rows, columns))
    ours, theirs = (_draw(generator, w, style) for w in (w_a, w_b))
    sections = [Section("", [Row("B", [None, *theirs])])]
    sides = generator.network.layer_sides
    for heading, chosen in layers:
        mixed = np.repeat(w_a[:, None], len(w_b), axis=1)
        mixed[:, :, chosen] = w_b[None, :, chosen]
        images = _draw(generator, mixed.reshape(-1, *w_a.shape[1:]), style)
        images = images.reshape(*mixed.shape[:2], *images.shape[1:])
        parts = zip(rows.names, ours, images, strict=True)
        sections.append(
            Section(
                f"{heading} of B: {describe_layers(chosen, sides)}",
                [Row(name, [image, *others]) for name, image, others in parts],
            )
        )
    return draw_sheet(["A", *columns.names], sections)


def truncation_sheet(
    generator: TrainedGenerator, sources: Sources, psis: Sequence[float], style: Style
) -> np.ndarray:
    """Returns a sheet with a row for each source and a column for each psi.

    Args:
      generator: A style-based one.
      sources: The images.
      psis: Numbers in [-2, 2]; with 0 all images are that of the average w.
      style: Complete settings, but for psi.

    Returns:
      uint8 [H, W, 3].

    Source: Karras et al. 2019, figure 8.
    """
    cutoff = style.truncation_cutoff
    w = np.stack([sources.truncate(generator, psi, cutoff) for psi in psis], axis=1)
    images = _draw(generator, w.reshape(-1, *w.shape[2:]), style)
    images = images.reshape(*w.shape[:2], *images.shape[1:])
    rows = [Row(*row) for row in zip(sources.names, images, strict=True)]
    return draw_sheet([f"psi {psi:g}" for psi in psis], [Section("", rows)])


def describe_layers(layers: Sequence[int], layer_sides: Sequence[int]) -> str:
    """Returns numbers of layers, and their resolutions, given those of all."""
    sides = layer_sides[min(layers)], layer_sides[max(layers)]
    first, last = (f"{side}x{side}" for side in sides)
    places = first if first == last else f"{first} to {last}"
    return f"layers {show_layers(layers)}, {places}"


def _draw(generator: TrainedGenerator, w: np.ndarray, style: Style) -> np.ndarray:
    side = min(generator.resolution, MOST_SIDE)
    return to_uint8(generator.synthesis(w, noise=style.noise, resolution=side))
