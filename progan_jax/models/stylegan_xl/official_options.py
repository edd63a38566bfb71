"""Options of the authors' generators, read from the settings that their files hold.

A file does not list the stages before its own: they follow from the layers. Where a
stage begins, a layer keeps its band, and every candidate's design is compared with the
bands, rates and sizes in the file.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from itertools import combinations, pairwise
from typing import Any

import numpy as np

from progan_jax.models.common import RESOLUTIONS
from progan_jax.models.official import check_resolution, plain
from progan_jax.models.options import faults
from progan_jax.models.stylegan_xl.design import (
    NUM_CRITICAL,
    LayerDesign,
    Signal,
    design_network,
)
from progan_jax.models.stylegan_xl.options import Options
from progan_jax.weights.torch_pickles import Module, submodules

# Settings that have one value here: where they are in a file, and the values allowed.
# Activations are limited in any case, to 256; a file of --fp32 has no limit.
_MAPPING = {"bias_gain": (0.01,), "activation": ("lrelu",)}
_SYNTHESIS = {"output_scale": (0.25,)}
_LAYER = {"conv_clamp": (256, None)}

_EQUIVARIANCE = {(3, False): "translation", (1, True): "rotation"}


def read_options(generator: Module) -> Options:
    """Returns the options of a generator of the authors'.

    Raises:
      ValueError: if there are none that describe it.
      Exception: of many kinds, if it lacks settings.
    """
    parts = submodules(generator)
    mapping, synthesis = parts["mapping"], parts["synthesis"]
    layers = _named_layers(synthesis)
    _check_settings("mapping.fc0", submodules(mapping)["fc0"], _MAPPING)
    _check_settings("synthesis", synthesis, _SYNTHESIS)
    for name, layer in layers.items():
        _check_settings(f"synthesis.{name}", layer, _LAYER)
    options = _mapping_options(mapping, _synthesis_options(generator, synthesis))
    for name, rule in faults(Options, asdict(options)):
        raise ValueError(f"{name} = {getattr(options, name)} {rule}")
    factor = _whole(generator.state.get("up_factor", 1))
    below = options.resolution // factor
    return _with_stages(options, list(layers.values()), below)


def _named_layers(synthesis: Module) -> dict[str, Module]:
    names = synthesis.state["layer_names"]
    # Hashing other types, such as deeply nested tuples, can overflow the stack.
    if type(names) is not list or any(type(name) is not str for name in names):
        raise ValueError("the layers have no names")
    return {name: submodules(synthesis)[name] for name in names}


def _check_settings(
    name: str, module: Module, allowed: dict[str, tuple[Any, ...]]
) -> None:
    for setting, values in allowed.items():
        found = plain(module.state[setting])
        if found not in values:
            raise ValueError(f"{name} has {setting} = {found}, not {values[0]}")


def _synthesis_options(generator: Module, synthesis: Module) -> Options:
    state = synthesis.state
    kind = plain(state["conv_kernel"]), plain(state["use_radial_filters"])
    if kind not in _EQUIVARIANCE:
        raise ValueError(f"kernels of {kind[0]}, radial filters {kind[1]}")
    return Options(
        resolution=check_resolution(plain(generator.state["img_resolution"])),
        channels=_whole(state["img_channels"]),
        fmap_base=_whole(state["channel_base"]),
        fmap_max=_whole(state["channel_max"]),
        equivariance=_EQUIVARIANCE[kind],
    )


def _mapping_options(mapping: Module, options: Options) -> Options:
    state = mapping.state
    options = replace(
        options,
        latent_size=_whole(state["z_dim"]),
        w_size=_whole(state["w_dim"]),
        mapping_layers=_whole(state["num_layers"]),
        num_classes=_whole(state["c_dim"]),
        w_average_decay=float(plain(state["w_avg_beta"])),
    )
    if not options.num_classes:
        return options
    embed = submodules(mapping)["embed"].state
    rows, size = _whole(embed["num_embeddings"]), _whole(embed["embedding_dim"])
    return replace(options, embedding_rows=rows, embedding_size=size)


def _with_stages(options: Options, layers: Sequence[Module], below: int) -> Options:
    """Returns the options with the stages whose design is that of the layers.

    Args:
      options: All others.
      layers: Those of the file, the last is ToRGB.
      below: Resolution of the stage before the file's.
    """
    for candidate in _candidates(options, _group(layers), below):
        if _fits(candidate, layers):
            return candidate
    raise ValueError("no stages are known whose layers have these bands and sizes")


def _group(layers: Sequence[Module]) -> list[int]:
    """Returns the number of layers of each stage in the file, ToRGB included."""
    inner = [layer.state for layer in layers[: -NUM_CRITICAL - 1]]
    starts = [
        i
        for i, of in enumerate(inner)
        if not i or plain(of["in_cutoff"]) == plain(of["out_cutoff"])
    ]
    return [end - start for start, end in pairwise([*starts, len(layers)])]


def _candidates(
    options: Options, counts: Sequence[int], below: int
) -> Iterator[Options]:
    """Yields the options of all stages of these numbers of layers."""
    # A stage that another one follows has lost its critically sampled layers.
    *before, last = [count + NUM_CRITICAL for count in counts]
    last -= NUM_CRITICAL + 1
    if not before:
        yield replace(options, layers=last)
        return
    layers, *heads = before
    options = replace(options, layers=layers, head_layers=last)
    smaller = [side for side in RESOLUTIONS if side < below]
    for first in combinations(smaller, len(heads)):
        stem, *sides = *first, below
        stages = [
            f"{side}" if head == last else f"{side}:{head}"
            for side, head in zip(sides, heads, strict=True)
        ]
        yield replace(options, stages=" ".join([str(stem), *stages]))


def _fits(options: Options, layers: Sequence[Module]) -> bool:
    designed = design_network(options).layers
    return len(designed) == len(layers) and all(
        np.allclose(_numbers_of(ours), _numbers_in(theirs), rtol=1e-6)
        for ours, theirs in zip(designed, layers, strict=True)
    )


def _numbers_of(layer: LayerDesign) -> list[float]:
    return [*_signal(layer.source), *_signal(layer.target)]


def _signal(of: Signal) -> list[float]:
    return [of.channels, of.size, of.size, of.rate, of.cutoff, of.half_width]


def _numbers_in(layer: Module) -> list[float]:
    state = layer.state
    return [
        number
        for side in ("in", "out")
        for number in (
            plain(state[f"{side}_channels"]),
            *state[f"{side}_size"].numbers.tolist(),
            plain(state[f"{side}_sampling_rate"]),
            plain(state[f"{side}_cutoff"]),
            plain(state[f"{side}_half_width"]),
        )
    ]


def _whole(value: Any) -> int:
    number = plain(value)
    if type(number) is not int:
        raise ValueError("a setting that counts is not a whole number")
    return number
