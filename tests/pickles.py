"""Writes pickles in the form of the authors', old and new, without their program."""

import functools
import io
import pickle
import types
from pathlib import Path

import numpy as np

from tests.stylegan_golden import golden as style_golden

GOLDEN = Path(__file__).parent / "golden" / "official_networks.npz"
OPTIONS = {
    "fused": {"label_size": 0, "fmap_max": 16},
    "cond": {"label_size": 5, "fmap_max": 12, "fused_scale": False},
}
SHARED = {"resolution": 16, "num_channels": 3, "fmap_base": 64, "mbstd_group_size": 4}
SPELLINGS = [(p, old) for p in (2, 3, 4, 5) for old in (True, False)]


class Network:
    """What a file calls tfutil.Network."""

    path = "tfutil", "Network"

    def __init__(self, **state):
        self.__dict__.update(state)


class StyleNetwork(Network):
    """The same class of StyleGAN's program."""

    path = "dnnlib.tflib.network", "Network"


class Writer(pickle._Pickler):  # type: ignore[name-defined]
    """Writes names that cannot be imported, and NumPy's as versions before 2 did."""

    def __init__(self, file, protocol, old):
        super().__init__(file, protocol)
        self.old = old

    def save_global(self, obj, name=None):
        module, name = obj.__module__, name or obj.__qualname__
        if isinstance(obj, type) and issubclass(obj, Network):
            module, name = obj.path
        if self.old:
            module = module.replace("numpy._core", "numpy.core")
        if self.proto < 4:
            self.write(pickle.GLOBAL + f"{module}\n{name}\n".encode())
        else:
            self.save(module)
            self.save(name)
            self.write(pickle.STACK_GLOBAL)
        self.memoize(obj)

    def reducer_override(self, obj):
        if self.old and isinstance(obj, np.dtype) and obj.kind in "fiu":
            state = (3, obj.byteorder.replace("=", "<"), None, None, None, -1, -1, 0)
            return np.dtype, (obj.str[1:], 0, 1), state
        return NotImplemented

    dispatch = pickle._Pickler.dispatch | {  # type: ignore[attr-defined]
        types.FunctionType: save_global,
        type: save_global,
    }


def dumps(value, protocol=4, old=True):
    file = io.BytesIO()
    Writer(file, protocol, old).dump(value)
    return file.getvalue()


@functools.cache
def golden():
    with np.load(GOLDEN) as file:
        return dict(file)


def golden_variables(net, kind):
    """Returns the golden variables of "G" or "D", as a list in the authors' form."""
    prefix = f"{net}/{kind}/"
    return [
        (key.removeprefix(prefix), array if array.shape else np.float32(array))
        for key, array in golden().items()
        if key.startswith(prefix)
    ]


def network(function, variables, **options):
    return Network(
        version=2,
        name=function,
        static_kwargs=options,
        build_module_src="raise SystemExit('this source was run')",
        build_func_name=function,
        variables=variables,
    )


def golden_networks(net):
    """Returns (G, D, Gs); all biases of G are those of Gs plus one."""
    options = SHARED | OPTIONS[net]
    averaged = golden_variables(net, "G")
    other = [(n, a + 1 if n.endswith("bias") else a) for n, a in averaged]
    return (
        network("G_paper", other, **options),
        network("D_paper", golden_variables(net, "D"), **options),
        network("G_paper", averaged, **options),
    )


STYLE_OPTIONS = {
    "plain": {"resolution": 32, "label_size": 0, "mapping_fmaps": 16}
    | {"fmap_base": 128, "fused_scale": "auto"},
    "fused": {"resolution": 16, "label_size": 5, "mapping_fmaps": 20}
    | {"fmap_base": 64, "fused_scale": True, "mapping_layers": 4}
    | {"truncation_cutoff": 4},
}


def style_network(function, variables, components=(), **options):
    return StyleNetwork(
        version=3,
        name=function,
        static_kwargs=options,
        components=dict(components),
        build_module_src="raise SystemExit('this source was run')",
        build_func_name=function,
        variables=[(n, a if a.shape else np.float32(a)) for n, a in variables],
    )


def style_networks(net):
    """Returns StyleGAN's (G, D, Gs) of the golden variables; see `golden_networks`."""
    options = {"num_channels": 3, "fmap_max": 16} | STYLE_OPTIONS[net]
    sizes = {"latent_size": 16, "dlatent_size": 16}
    averaged = _below(f"{net}/G/")
    other = [(n, a + 1 if n.endswith("bias") else a) for n, a in averaged]
    of_d = {name: options[name] for name in options if not name.startswith("mapping")}
    return (
        _with_components(other, **options | sizes),
        style_network("D_basic", _below(f"{net}/D/"), **of_d),
        _with_components(averaged, **options | sizes),
    )


def _below(prefix):
    return [
        (key.removeprefix(prefix), array)
        for key, array in style_golden().items()
        if key.startswith(prefix)
    ]


def _with_components(variables, **options):
    """Returns a G whose variables of synthesis and mapping are its components'."""

    def of(name):
        start = f"G_{name}/"
        own = [(n.removeprefix(start), a) for n, a in variables if n.startswith(start)]
        return name, style_network(f"G_{name}", own, **options)

    own = [(name, array) for name, array in variables if "/" not in name]
    return style_network("G_style", own, map(of, ("synthesis", "mapping")), **options)


def random_networks(resolution, rng, **widths):
    """Returns (G, D, Gs) of random numbers, fused, unconditional, by A.3 and A.4.

    Args:
      resolution: Final side.
      rng: Draws the numbers.
      widths: fmap_base and fmap_max.
    """
    options = {"resolution": resolution, "num_channels": 3} | widths
    shapes = _g_shapes(resolution, **widths), _d_shapes(resolution, **widths)
    g, d, gs = (
        [("lod", np.float32(0))]
        + [(n, rng.standard_normal(s, np.float32)) for n, s in shapes[k].items()]
        for k in (0, 1, 0)
    )
    return (
        network("G_paper", g, **options),
        network("D_paper", d, **options),
        network("G_paper", gs, **options),
    )


def _maps(side, fmap_base, fmap_max):
    return min(fmap_base // (side // 2), fmap_max)


def _with_biases(weights, in_front=()):
    """Adds biases, one for each of the last axis, or the one before if `in_front`."""
    shapes = {}
    for name, shape in weights.items():
        shapes[f"{name}/weight"] = shape
        shapes[f"{name}/bias"] = shape[-2:-1] if name in in_front else shape[-1:]
    return shapes


def _g_shapes(resolution, **widths):
    first, top = _maps(4, **widths), resolution.bit_length() - 3
    weights = {"4x4/Conv": (3, 3, first, first), f"ToRGB_lod{top}": (1, 1, first, 3)}
    ups = []
    for level in range(top):
        side = resolution >> level
        below, maps = _maps(side // 2, **widths), _maps(side, **widths)
        ups.append(f"{side}x{side}/Conv0_up")
        weights[ups[-1]] = (3, 3, maps, below)
        weights[f"{side}x{side}/Conv1"] = (3, 3, maps, maps)
        weights[f"ToRGB_lod{level}"] = (1, 1, maps, 3)
    dense = {
        "4x4/Dense/weight": (_maps(2, **widths), 16 * first),
        "4x4/Dense/bias": (first,),
    }
    return dense | _with_biases(weights, ups)


def _d_shapes(resolution, **widths):
    first, top = _maps(4, **widths), resolution.bit_length() - 3
    weights = {f"FromRGB_lod{top}": (1, 1, 3, first)}
    for level in range(top):
        side = resolution >> level
        below, maps = _maps(side // 2, **widths), _maps(side, **widths)
        weights[f"{side}x{side}/Conv0"] = (3, 3, maps, maps)
        weights[f"{side}x{side}/Conv1_down"] = (3, 3, maps, below)
        weights[f"FromRGB_lod{level}"] = (1, 1, 3, maps)
    hidden = _maps(2, **widths)
    weights["4x4/Conv"] = (3, 3, first + 1, first)
    weights["4x4/Dense0"] = (16 * first, hidden)
    weights["4x4/Dense1"] = (hidden, 1)
    return _with_biases(weights)
