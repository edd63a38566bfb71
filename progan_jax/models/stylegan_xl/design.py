"""Sampling rates, bands and widths of the synthesis network's layers.

A layer's maps are samples of continuous signals. Their band grows from layer to layer,
and each layer's filters keep what a nonlinearity adds out of the band that the samples
cannot hold. Only numbers; no arrays. Source: Karras et al. 2021, section 3 and
appendix C, for the stem; Sauer et al. 2022, section 3, for the stages of
superresolution.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from progan_jax.models.stylegan_xl.options import Options

# Karras et al. 2021, appendix C.1: cutoff and stopband of the first layer, ratio of the
# last one's stopband to its cutoff, and samples beyond the image on both sides.
_FIRST_CUTOFF = 2.0
_FIRST_STOPBAND = 2**2.1
_LAST_STOPBAND = 2**0.3
_MARGIN = 10

_LEAKY_OVERSAMPLING = 2  # Of the rate at which rectifiers are applied.
_TAPS_PER_SAMPLE = 6  # Length of a filter, in samples of the slower rate.
NUM_CRITICAL = 2  # Layers before ToRGB whose band fills what their rate can hold.


@dataclass(frozen=True)
class Signal:
    """Maps between two layers.

    Attributes:
      channels: Number of maps.
      size: Side of a map in samples, with the margins.
      rate: Samples per side of the image.
      cutoff: Limit of the band, in cycles per side of the image.
      half_width: Half the width of the filter's transition band, likewise.
    """

    channels: int
    size: int
    rate: int
    cutoff: float
    half_width: float


@dataclass(frozen=True)
class LayerDesign:
    """One layer: convolution, upsampling, rectifier, downsampling.

    Attributes:
      index: Number in its name. Those of a superresolution's head leave one out.
      source: The maps that it takes.
      target: The maps that it gives.
      is_torgb: Whether it is the last layer, which has no rectifier and no filters.
      is_critically_sampled: Whether it belongs to the end of a stage, which a
        superresolution cuts off.
      rotates: Whether the network is equivariant to rotation, too.
    """

    index: int
    source: Signal
    target: Signal
    is_torgb: bool
    is_critically_sampled: bool
    rotates: bool

    @property
    def name(self) -> str:
        """Name of the layer, as in the authors' files."""
        return f"L{self.index}_{self.target.size}_{self.target.channels}"

    @property
    def kernel_size(self) -> int:
        """Side of the convolution's kernels."""
        return 1 if self.is_torgb or self.rotates else 3

    @property
    def kernel_shape(self) -> tuple[int, int, int, int]:
        """Shape of the convolution's kernels: height, width, maps in, maps out."""
        side = self.kernel_size
        return side, side, self.source.channels, self.target.channels

    @property
    def padded_size(self) -> int:
        """Side of the convolution's result, whose image is padded to all overlaps."""
        return self.source.size + self.kernel_size - 1

    @property
    def rate(self) -> int:
        """Samples per side of the image where the rectifier is applied."""
        fastest = max(self.source.rate, self.target.rate)
        return fastest * (1 if self.is_torgb else _LEAKY_OVERSAMPLING)

    @property
    def size(self) -> int:
        """Side of the maps where the rectifier is applied: what the result needs."""
        return (self.target.size - 1) * self.down + self.down_taps

    @property
    def up(self) -> int:
        """Factor of upsampling."""
        return self.rate // self.source.rate

    @property
    def down(self) -> int:
        """Factor of downsampling."""
        return self.rate // self.target.rate

    @property
    def up_taps(self) -> int:
        """Taps of the filter after upsampling; 1 for no filter."""
        return 1 if self.is_torgb else _TAPS_PER_SAMPLE * self.up

    @property
    def down_taps(self) -> int:
        """Taps of the filter before downsampling; 1 for no filter."""
        return 1 if self.is_torgb else _TAPS_PER_SAMPLE * self.down

    @property
    def has_radial_filter(self) -> bool:
        """Whether the filter before downsampling is radially symmetric."""
        return self.rotates and not self.is_critically_sampled

    @property
    def padding(self) -> tuple[int, int]:
        """Zeros before and after the upsampled samples; negative to crop."""
        total = self.size + self.up_taps - 1 - self.padded_size * self.up
        low = (total + self.up) // 2
        return low, total - low


@dataclass(frozen=True)
class Design:
    """All layers of a network.

    Attributes:
      layers: From the first to ToRGB.
      num_kept: How many of them, the first ones, come from the stage before; 0 in a
        stem.
    """

    layers: tuple[LayerDesign, ...]
    num_kept: int

    @property
    def input(self) -> Signal:
        """The Fourier features."""
        return self.layers[0].source

    @property
    def head(self) -> tuple[LayerDesign, ...]:
        """The layers that this stage adds: all of a stem's."""
        return self.layers[self.num_kept :]


@cache
def design_network(options: Options) -> Design:
    """Returns the design of a stem, or of a stem and its superresolutions."""
    (resolution, layers), *heads = options.chain
    design = _design_stem(resolution, layers, options)
    for resolution, layers in heads:
        design = _add_head(design, resolution, layers, options)
    return design


def _design_stem(resolution: int, layers: int, options: Options) -> Design:
    cutoffs = _ramp(_FIRST_CUTOFF, resolution / 2, layers)
    stopbands = _ramp(_FIRST_STOPBAND, resolution / 2 * _LAST_STOPBAND, layers)
    rates = [_rate(stopband, resolution) for stopband in stopbands]
    widths = [_width(cutoff, options) for cutoff in cutoffs]
    signals = _signals(resolution, cutoffs, stopbands, rates, widths, options)
    return Design(_connect(signals, 0, options), 0)


def _add_head(stem: Design, resolution: int, layers: int, options: Options) -> Design:
    """Replaces the critically sampled layers by those of a superresolution."""
    kept = tuple(layer for layer in stem.layers if not layer.is_critically_sampled)
    last = kept[-1].target
    cutoffs = _ramp(last.cutoff, resolution / 2, layers)
    first_stopband = last.cutoff + last.half_width
    stopbands = _ramp(first_stopband, resolution / 2 * _LAST_STOPBAND, layers)
    rates = [last.rate, *(_rate(stopband, resolution) for stopband in stopbands[1:])]
    widths = [last.channels, *(_width(cutoff, options) for cutoff in cutoffs[1:])]
    signals = _signals(resolution, cutoffs, stopbands, rates, widths, options)
    # One number is left out, as in the authors' program.
    return Design(kept + _connect(signals, len(kept) + 1, options), len(kept))


def _ramp(first: float, last: float, layers: int) -> list[float]:
    """Returns a geometric series that ends before the critically sampled layers."""
    steps = layers - NUM_CRITICAL
    exponents = [min(i / steps, 1) for i in range(layers + 1)]
    return [first * (last / first) ** exponent for exponent in exponents]


def _rate(stopband: float, resolution: int) -> int:
    """Returns the lowest power of two that holds a band, but no more than the image."""
    return 2 ** math.ceil(math.log2(min(2 * stopband, resolution)))


def _width(cutoff: float, options: Options) -> int:
    return round(min(options.fmap_base / 2 / cutoff, options.fmap_max))


def _signals(
    resolution: int,
    cutoffs: Sequence[float],
    stopbands: Sequence[float],
    rates: Sequence[int],
    widths: Sequence[int],
    options: Options,
) -> list[Signal]:
    """Returns what each layer gives; the last two give the image's own samples."""
    last = len(cutoffs) - 1
    return [
        Signal(
            channels=widths[i] if i < last else options.channels,
            size=rates[i] + 2 * _MARGIN if i < last - 1 else resolution,
            rate=rates[i],
            cutoff=cutoffs[i],
            half_width=max(stopbands[i], rates[i] / 2) - cutoffs[i],
        )
        for i in range(last + 1)
    ]


def _connect(
    signals: Sequence[Signal], first: int, options: Options
) -> tuple[LayerDesign, ...]:
    """Returns layers numbered from `first` on; the first takes what it gives."""
    last = len(signals) - 1
    return tuple(
        LayerDesign(
            index=first + i,
            source=signals[max(i - 1, 0)],
            target=target,
            is_torgb=i == last,
            is_critically_sampled=i >= last - NUM_CRITICAL,
            rotates=options.equivariance == "rotation",
        )
        for i, target in enumerate(signals)
    )
