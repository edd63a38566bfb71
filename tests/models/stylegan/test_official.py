"""StyleGAN's networks of the authors', imported, against their program's outputs."""

import itertools
import os
import time
from pathlib import Path

import jax
import numpy as np
import pytest

import progan_jax
from progan_jax.errors import UserError
from progan_jax.inference.sampling import generator_from_snapshot
from progan_jax.models.common import to_variables
from progan_jax.models.families import import_network
from progan_jax.models.stylegan.networks import Discriminator
from progan_jax.models.stylegan.options import Options
from tests.pickles import SPELLINGS, dumps, network, style_network, style_networks
from tests.stylegan_golden import (
    OPTIONS,
    assert_close_to_largest,
    channels_last,
    classes,
    compiled,
    consecutive,
    full_size,
    golden,
    one_hot,
    stage_size,
    strided,
)

# Their program's own pickles lie outside of this repository: golden/stylegan_*.pkl.
FOLDER = Path(
    os.environ.get("PROGAN_JAX_TEST_DATA") or Path(__file__).parents[4] / "shared"
)
LEVELS = (0.0, 0.3, 1.5)
both_nets = pytest.mark.parametrize("net", OPTIONS)


@pytest.fixture
def write(tmp_path):
    def write_pickle(networks, protocol=4, old=True, name="official.pkl"):
        path = tmp_path / name
        path.write_bytes(dumps(networks, protocol, old))
        return path

    return write_pickle


def generate(path, net, level=None, psi=1.0, kind="Gs"):
    """Returns images [N, C, R, R] of the golden latents, with the fixed noise."""
    weights, info = import_network(path, kind, level)
    g = generator_from_snapshot(info).clone(noise_mode="fixed", truncation_psi=psi)
    alpha = np.float32(info["stage"]["alpha"])
    inputs = golden()[f"{net}/z"], one_hot(net), alpha
    return full_size(net, compiled(g)(to_variables(weights), *inputs))


@pytest.mark.parametrize("level", LEVELS)
@both_nets
def test_a_generator_makes_the_images_that_it_made_there(write, net, level):
    theirs = golden()[f"{net}/G_out/lod{level:.2f}"]
    images = generate(write(style_networks(net)), net, level)
    assert_close_to_largest(images[: len(theirs)], theirs)


def score(path, net, level):
    weights, info = import_network(path, "D", level)
    side, alpha = info["stage"]["resolution"], info["stage"]["alpha"]
    d = Discriminator(side, Options(**info["options"]))
    labels = classes(net)
    labels = None if labels is None else consecutive(labels)
    reals = channels_last(consecutive(golden()[f"{net}/reals"]))
    inputs = stage_size(reals, side), labels, np.float32(alpha)
    return strided(np.asarray(compiled(d)(to_variables(weights), *inputs).scores))


@pytest.mark.parametrize("level", LEVELS)
@both_nets
def test_a_discriminator_gives_the_scores_that_it_gave_there(write, net, level):
    theirs = golden()[f"{net}/D_scores/lod{level:.2f}"]
    scores = score(write(style_networks(net)), net, level)
    assert_close_to_largest(scores, theirs[:, 0])


@both_nets
def test_their_programs_own_files_are_read(net):
    path = FOLDER / "golden" / f"stylegan_{net}.pkl"
    if not path.exists():
        pytest.skip(f"there is no {path}")
    for psi, name in ((1.0, "validation"), (0.7, "default_truncation")):
        theirs = golden()[f"{net}/pickle_Gs_out/{name}"]
        images = generate(path, net, psi=psi)[: len(theirs)]
        assert_close_to_largest(images, theirs)
    # Their G is the one of the golden variables, at another level.
    theirs = golden()[f"{net}/G_out/lod0.00"]
    images = generate(path, net, level=0.0, kind="G")[: len(theirs)]
    assert_close_to_largest(images, theirs)
    theirs = golden()[f"{net}/D_scores/lod0.00"]
    assert_close_to_largest(score(path, net, 0.0), theirs[:, 0])


def same(one, other):
    return all(jax.tree.leaves(jax.tree.map(np.array_equal, one, other)))


@pytest.mark.parametrize(("protocol", "old"), SPELLINGS)
def test_every_spelling_gives_the_same_network(write, protocol, old):
    networks = style_networks("fused")
    weights, _ = import_network(write(networks, protocol, old), "Gs")
    assert same(weights, import_network(write(networks), "Gs")[0])


def test_the_average_of_w_and_the_noise_are_stats(write):
    weights, info = import_network(write(style_networks("plain")), "Gs", 1.0)
    stats, theirs = weights["stats"], golden()
    np.testing.assert_array_equal(stats["w_average"], theirs["plain/G/dlatent_avg"])
    noise = stats["synthesis"]
    assert noise.keys() == {"block_4x4", "block_8x8", "block_16x16"}
    np.testing.assert_array_equal(
        noise["block_16x16"]["conv1"]["noise"],
        theirs["plain/G/G_synthesis/noise5"][0, 0],
    )
    assert info["family"] == "stylegan"
    assert info["stage"] == {"resolution": 16, "alpha": 1.0}


@pytest.mark.parametrize(
    ("fused", "turned"),
    [(True, {8, 16, 32, 64, 128}), (False, set()), ("auto", {128})],
)
def test_kernels_of_fused_upsampling_are_turned(write, fused, turned):
    rng, final = np.random.default_rng(0), 128
    widths = {"latent_size": 1, "dlatent_size": 1, "mapping_layers": 0, "fmap_max": 1}
    networks = random_style_networks(final, rng, fused_scale=fused, **widths)
    theirs = dict(networks[2].components["synthesis"].variables)
    weights, _ = import_network(write(networks), "Gs")
    for side in (8, 16, 32, 64, 128):
        kernel = weights["synthesis"][f"block_{side}x{side}"]["conv0"]["kernel"]
        stored = theirs[f"{side}x{side}/Conv0_up/weight"]
        expected = np.rot90(stored, 2, (0, 1)) if side in turned else stored
        np.testing.assert_array_equal(kernel, expected)


def random_style_networks(final, rng, *, width=1, mapping=0, **options):
    """Returns (G, D, Gs) of random numbers in G; D is empty.

    Args:
      final: Final side.
      rng: Draws the numbers.
      width: Width of z, w and the mapping, and most maps of a layer.
      mapping: Number of mapping layers.
      options: What the files name besides.
    """
    sides = [4 << k for k in range(final.bit_length() - 2)]
    maps = {side: min(16 * width * 2 // side, width) or 1 for side in sides}
    shapes = {"lod": (), "4x4/Const/const": (1, maps[4], 4, 4)}
    layers = [("4x4/Const", 4, None), ("4x4/Conv", 4, maps[4])]
    for below, side in itertools.pairwise(sides):
        layers.append((f"{side}x{side}/Conv0_up", side, maps[below]))
        layers.append((f"{side}x{side}/Conv1", side, maps[side]))
    for index, (layer, side, inputs) in enumerate(layers):
        c = maps[side]
        leaves = {"Noise/weight": (c,), "bias": (c,)}
        leaves |= {"StyleMod/weight": (width, 2 * c), "StyleMod/bias": (2 * c,)}
        leaves |= {"weight": (3, 3, inputs, c)} if inputs else {}
        shapes |= {f"{layer}/{leaf}": shape for leaf, shape in leaves.items()}
        shapes[f"noise{index}"] = (1, 1, side, side)
    for level, side in enumerate(reversed(sides)):
        rgb = f"ToRGB_lod{level}"
        shapes |= {f"{rgb}/weight": (1, 1, maps[side], 3), f"{rgb}/bias": (3,)}
    dense = {}
    for k in range(mapping):
        dense |= {f"Dense{k}/weight": (width, width), f"Dense{k}/bias": (width,)}
    options |= {"resolution": final}
    parts = {
        name: style_network(f"G_{name}", _draw(rng, of), **options)
        for name, of in (("synthesis", shapes), ("mapping", dense))
    }
    own = [("lod", np.float32(0)), ("dlatent_avg", np.zeros(width, np.float32))]
    g = style_network("G_style", own, parts, **options)
    return g, style_network("D_basic", []), g


def _draw(rng, shapes):
    drawn = [(name, rng.standard_normal(s, np.float32)) for name, s in shapes.items()]
    return [(name, a if np.shape(a) else np.float32(0)) for name, a in drawn]


@pytest.mark.slow
def test_a_network_of_1024x1024_is_imported_in_half_a_minute(write):
    rng = np.random.default_rng(0)
    networks = random_style_networks(1024, rng, width=512, mapping=8)
    name = "karras2019stylegan-ffhq-1024x1024.pkl"
    path = write(networks, protocol=4, old=True, name=name)
    start = time.monotonic()
    weights, info = import_network(path, "Gs")
    assert time.monotonic() - start < 30
    params = [weights[part] for part in ("mapping", "synthesis")]
    # The published number of the generator's parameters.
    assert sum(array.size for array in jax.tree.leaves(params)) == 26_219_627
    assert Options(**info["options"]) == Options(resolution=1024)


def test_settings_that_a_file_does_not_name_have_their_defaults(write):
    networks = style_networks("plain")
    for part in (networks[2], *networks[2].components.values()):
        for name in ("label_size", "fused_scale", "num_channels"):
            del part.static_kwargs[name]
    _, info = import_network(write(networks), "Gs")
    options = Options(**info["options"])
    assert options.num_classes == 0 and options.channels == 3
    assert options.mapping_layers == 8 and options.mapping_lr_multiplier == 0.01
    assert (options.truncation_psi, options.truncation_cutoff) == (0.7, 8)
    assert (options.mbstd_group_size, options.mbstd_features) == (4, 1)
    assert (options.style_mixing, options.w_average_decay) == (0.9, 0.995)
    assert options.blur and options.styles and options.noise


def test_licence_and_origin_are_recorded(write):
    path = write(style_networks("plain"))
    _, info = import_network(path, "Gs")
    assert info["licence"]["name"] == "CC BY-NC 4.0"
    assert "2019" in info["licence"]["holder"]
    assert info["source"]["file"] == path.name
    assert info["source"]["function"] == "G_style"


def test_load_opens_their_file_by_its_name(write):
    path = write(style_networks("plain"), name="karras2019stylegan-ffhq-1024x1024.pkl")
    g = progan_jax.load(path)
    assert g.info["licence"]["name"] == "CC BY-NC 4.0"
    assert g.sample(2, seed=0).shape == (2, 32, 32, 3)


def changed(kind=2, drop=(), part=None, options=(), **variables):
    """Returns the networks of "fused", one of them with other variables."""
    networks = style_networks("fused")
    target = networks[kind].components[part] if part else networks[kind]
    new = dict(target.variables) | {
        n.replace("__", "/"): a for n, a in variables.items()
    }
    target.variables = [(name, a) for name, a in new.items() if name not in drop]
    networks[kind].static_kwargs |= dict(options)
    return networks


def without_component():
    networks = style_networks("fused")
    del networks[2].components["mapping"]
    return networks


def nested():
    networks = style_networks("fused")
    mapping = networks[2].components["mapping"]
    mapping.components = {"mapping": mapping}
    return networks


ONES = np.ones(9, np.float32)
FAULTS = {
    "missing": (
        lambda: changed(part="synthesis", drop=["ToRGB_lod1/bias"]),
        "1 variables are missing, such as synthesis/ToRGB_lod1/bias",
    ),
    "left over": (
        lambda: changed(part="mapping", Dense9__bias=ONES),
        "1 variables have no place, such as mapping/Dense9/bias",
    ),
    "shape": (
        lambda: changed(part="synthesis", **{"16x16__Conv1__bias": ONES}),
        r"synthesis/16x16/Conv1/bias is of shape \(9,\), not of \(8,\)",
    ),
    "shape of the constant": (
        lambda: changed(part="synthesis", **{"4x4__Const__const": ONES}),
        r"4x4/Const/const is of shape \(9,\), not of \(1, 16, 4, 4\)",
    ),
    "shape of noise": (
        lambda: changed(part="synthesis", noise0=ONES),
        r"noise0 is of shape \(9,\), not of \(1, 1, 4, 4\)",
    ),
    "not finite": (
        lambda: changed(dlatent_avg=np.full(16, np.nan, np.float32)),
        "dlatent_avg has numbers that are not finite",
    ),
    "no level": (lambda: changed(drop=["lod"]), "missing, such as lod"),
    "level": (lambda: changed(lod=np.float32(2.5)), r"lod = 2.5 must lie in \[0, 2\]"),
    "no component": (without_component, "variables are missing, such as mapping/"),
    "components within one": (nested, "mapping has components of its own"),
    "side": (lambda: changed(options={"resolution": 24}), "resolution = 24 must be"),
    "blur": (
        lambda: changed(options={"blur_filter": [1, 3, 3, 1]}),
        r"blur_filter = \[1, 3, 3, 1\] must be \[1, 2, 1\] or None here",
    ),
    "rectifier": (
        lambda: changed(options={"nonlinearity": "tanh"}),
        "nonlinearity = tanh must be lrelu or relu here",
    ),
    "another rectifier of the mapping": (
        lambda: changed(options={"mapping_nonlinearity": "relu"}),
        "mapping_nonlinearity = relu must be that of the other layers, lrelu, here",
    ),
    "fused": (
        lambda: changed(options={"fused_scale": "perhaps"}),
        "fused_scale = perhaps must be True, False or 'auto'",
    ),
    "an option of another type": (
        lambda: changed(options={"fmap_base": "many"}),
        "Gs cannot be imported",
    ),
    "two": (lambda: changed()[:2], "2 values instead of three"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_network_that_does_not_fit_is_refused_in_one_line(write, fault):
    make, message = FAULTS[fault]
    with pytest.raises(UserError, match=message) as caught:
        import_network(write(make()), "Gs")
    assert "\n" not in str(caught.value)


def test_a_pickle_of_stylegan2_is_named_as_what_it_is(write):
    g = style_network("G_main", [("lod", np.float32(0))])
    d = style_network("D_stylegan2", [])
    with pytest.raises(
        UserError,
        match=r"official.pkl is a pickle of StyleGAN2's or StyleGAN2-ADA's TensorFlow "
        r"program \(its G is built by G_main\)",
    ) as caught:
        import_network(write((g, d, g)), "Gs")
    assert "\n" not in str(caught.value)


def test_networks_of_both_programs_are_told_apart(write):
    mixed = (*style_networks("fused")[:2], network("G_paper", []))
    with pytest.raises(UserError, match="Gs is built by G_paper, not by G_style"):
        import_network(write(mixed), "Gs")
