"""Networks of the authors', imported, against the outputs that their program gave."""

import functools
import os
import time
from pathlib import Path

import jax
import numpy as np
import pytest

from progan_jax.errors import UserError
from progan_jax.inference.sampling import generator_from_snapshot
from progan_jax.models.common import weight_shapes
from progan_jax.models.families import import_network
from progan_jax.models.progan.networks import Discriminator
from progan_jax.models.progan.options import Options
from tests.pickles import (
    OPTIONS,
    SPELLINGS,
    dumps,
    golden,
    golden_networks,
    random_networks,
)

# Their program's own pickles lie outside of this repository: golden/official_*.pkl.
FOLDER = Path(
    os.environ.get("PROGAN_JAX_TEST_DATA") or Path(__file__).parents[4] / "shared"
)
LEVELS = (0.0, 0.3, 1.5, 2.0)
GROUP = 4


@pytest.fixture
def write(tmp_path):
    def write_pickle(networks, protocol=4, old=True):
        path = tmp_path / "official.pkl"
        path.write_bytes(dumps(networks, protocol, old))
        return path

    return write_pickle


@functools.cache
def compiled(network):
    def apply(params, alpha, *inputs):
        return network.apply({"params": params}, *inputs, alpha=alpha)

    return jax.jit(apply)


def run(network, params, alpha, *inputs):
    with jax.default_matmul_precision("highest"):
        return compiled(network)(params, np.float32(alpha), *inputs)


def full_size(images):
    """Returns [N, C, 16, 16] of NHWC images, by repeating pixels."""
    factor = 16 // images.shape[1]
    return np.asarray(images).repeat(factor, 1).repeat(factor, 2).transpose(0, 3, 1, 2)


def generate(path, net, level):
    params, info = import_network(path, "Gs", level)
    labels = golden()[f"{net}/labels"]
    inputs = [golden()[f"{net}/z"]] + ([labels] if labels.shape[1] else [])
    network = generator_from_snapshot(info)
    return full_size(run(network, params, info["stage"]["alpha"], *inputs))


def assert_close_to_largest(ours, theirs):
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5 * np.abs(theirs).max())


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("net", OPTIONS)
def test_a_generator_makes_the_images_that_it_made_there(write, net, level):
    images = generate(write(golden_networks(net)), net, level)
    assert_close_to_largest(images, golden()[f"{net}/G_out/lod{level:.2f}"])


def consecutive(batch):
    """Moves strided groups together: image n of N is in group n mod (N / G) there."""
    n = len(batch)
    groups = batch.reshape(GROUP, n // GROUP, *batch.shape[1:])
    return groups.swapaxes(0, 1).reshape(batch.shape)


def score(path, net, level):
    params, info = import_network(path, "D", level)
    side = info["stage"]["resolution"]
    network = Discriminator(side, Options(**info["options"]))
    reals = consecutive(golden()[f"{net}/reals"]).transpose(0, 2, 3, 1)
    factor = 16 // side
    reals = reals.reshape(8, side, factor, side, factor, 3).mean((2, 4))
    return run(network, params, info["stage"]["alpha"], reals)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("net", OPTIONS)
def test_a_discriminator_gives_the_scores_that_it_gave_there(write, net, level):
    out = score(write(golden_networks(net)), net, level)
    theirs = golden()[f"{net}/D_scores/lod{level:.2f}"]
    assert_close_to_largest(out.scores, consecutive(theirs)[:, 0])
    if out.logits.shape[1]:
        theirs = golden()[f"{net}/D_labels/lod{level:.2f}"]
        assert_close_to_largest(out.logits, consecutive(theirs))


@pytest.mark.parametrize("net", OPTIONS)
def test_their_programs_own_files_are_read(net):
    path = FOLDER / "golden" / f"official_{net}.pkl"
    if not path.exists():
        pytest.skip(f"there is no {path}")
    # As it was pickled, in the midst of a fade.
    _, info = import_network(path, "Gs")
    assert info["stage"] == {"resolution": 8, "alpha": 0.5}
    for level in (None, 0.0):
        theirs = golden()[f"{net}/G_out/lod{1.5 if level is None else level:.2f}"]
        assert_close_to_largest(generate(path, net, level), theirs)
    theirs = consecutive(golden()[f"{net}/D_scores/lod1.50"])[:, 0]
    assert_close_to_largest(score(path, net, None).scores, theirs)


def same(one, other):
    return all(jax.tree.leaves(jax.tree.map(np.array_equal, one, other)))


@pytest.mark.parametrize(("protocol", "old"), SPELLINGS)
def test_every_spelling_gives_the_same_network(write, protocol, old):
    networks = golden_networks("cond")
    params, info = import_network(write(networks, protocol, old), "Gs")
    expected, told = import_network(write(networks), "Gs")
    assert same(params, expected)
    assert info["source"].pop("sha256") != told["source"].pop("sha256") or (
        (protocol, old) == (4, True)
    )
    assert info == told


def test_the_average_is_another_network_than_g(write):
    path = write(golden_networks("fused"))
    (averaged, _), (last, info) = (import_network(path, kind) for kind in ("Gs", "G"))
    assert info["source"]["network"] == "G"
    bias = last["block_4x4"]["conv"]["bias"]
    np.testing.assert_array_equal(bias, averaged["block_4x4"]["conv"]["bias"] + 1)


def test_licence_and_origin_are_recorded(write):
    path = write(golden_networks("fused"))
    _, info = import_network(path, "Gs")
    assert info["licence"]["name"] == "CC BY-NC 4.0"
    assert info["source"]["file"] == path.name
    assert info["source"]["options"]["fmap_max"] == 16


def changed(net="fused", kind=2, drop=(), options=(), **variables):
    """Returns the golden networks, one of them with other variables."""
    networks = golden_networks(net)
    old = dict(networks[kind].variables)
    new = old | {name.replace("__", "/"): a for name, a in variables.items()}
    networks[kind].variables = [(n, a) for n, a in new.items() if n not in drop]
    networks[kind].static_kwargs |= dict(options)
    return networks


BIAS = {"16x16__Conv1__bias": np.zeros(9, np.float32)}
LOOP = []
for _ in range(100):
    LOOP = [LOOP, LOOP]
FAULTS = {
    "missing": (
        lambda: changed(drop=["ToRGB_lod1/bias"]),
        "1 variables are missing, such as ToRGB_lod1/bias",
    ),
    "left over": (
        lambda: changed(w__noise=np.float32(1)),
        "1 variables have no place, such as w/noise",
    ),
    "shape": (
        lambda: changed(**BIAS),
        r"16x16/Conv1/bias is of shape \(9,\), not of \(8,\)",
    ),
    "not finite": (
        lambda: changed(**{"4x4__Conv__bias": np.full(16, np.nan, np.float32)}),
        "4x4/Conv/bias has numbers that are not finite",
    ),
    "not fused": (
        lambda: changed(options={"fused_scale": False}),
        "4 variables are missing, such as 16x16/Conv0/bias",
    ),
    "larger": (
        lambda: changed(options={"resolution": 32}),
        "variables are missing, such as 32x32/",
    ),
    "no level": (lambda: changed(drop=["lod"]), "missing, such as lod"),
    "level": (lambda: changed(lod=np.float32(2.5)), r"lod = 2.5 must lie in \[0, 2\]"),
    "level nan": (lambda: changed(lod=np.float32("nan")), "lod = nan must lie in"),
    "side": (lambda: changed(options={"resolution": 24}), "resolution = 24 must be"),
    "epsilon": (
        lambda: changed(options={"pixelnorm_epsilon": 1e-4}),
        "pixelnorm_epsilon = 0.0001 must be 1e-08 here",
    ),
    "an option of another type": (
        lambda: changed(options={"fmap_base": "many"}),
        "Gs cannot be imported",
    ),
    "an option that is a list": (
        lambda: changed(options={"structure": LOOP}),
        "neither a number nor a text",
    ),
    "two": (lambda: changed()[:2], "2 values instead of three"),
    "one": (lambda: changed()[2], "does not hold the authors' networks"),
    "a text": (lambda: "abc", "Gs is not a network"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_network_that_does_not_fit_is_refused_in_one_line(write, fault):
    make, message = FAULTS[fault]
    with pytest.raises(UserError, match=message) as caught:
        import_network(write(make()), "Gs")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("field", ["build_func_name", "static_kwargs", "variables"])
def test_a_network_without_a_field_is_refused(write, field):
    networks = golden_networks("fused")
    delattr(networks[2], field)
    with pytest.raises(UserError, match=f"Gs has no {field}"):
        import_network(write(networks), "Gs")


@pytest.mark.parametrize("function", ["G_style", LOOP])
def test_a_network_of_another_function_is_refused(write, function):
    networks = golden_networks("fused")
    networks[2].build_func_name = function
    with pytest.raises(UserError, match=r"Gs is built by .* not by G_paper"):
        import_network(write(networks), "Gs")


def test_networks_in_another_order_are_refused(write):
    path = write(golden_networks("fused")[::-1][1:] * 2)
    with pytest.raises(UserError, match="does not hold the authors' networks"):
        import_network(path, "D")
    g, d, averaged = golden_networks("fused")
    with pytest.raises(UserError, match="D is built by G_paper, not by D_paper"):
        import_network(write((d, g, averaged)), "D")


def test_two_variables_of_one_name_are_refused(write):
    networks = golden_networks("fused")
    networks[2].variables *= 2
    with pytest.raises(UserError, match="Gs has two variables of one name"):
        import_network(write(networks), "Gs")


@pytest.mark.parametrize("kind", ["Gs", "D"])
def test_a_network_of_32x32_is_imported_completely(write, kind):
    widths = {"fmap_base": 128, "fmap_max": 12}
    networks = random_networks(32, np.random.default_rng(0), **widths)
    params, info = import_network(write(networks), kind)
    theirs = dict(networks[1 if kind == "D" else 2].variables)
    total = sum(array.size for name, array in theirs.items() if name != "lod")
    assert sum(array.size for array in jax.tree.leaves(params)) == total
    kernel = params["block_32x32"]["conv0"]["kernel"]
    if kind == "D":
        assert info["network"] == "D"
        np.testing.assert_array_equal(kernel, theirs["32x32/Conv0/weight"])
    else:
        # Turned by 180 degrees, inputs before outputs.
        theirs = theirs["32x32/Conv0_up/weight"]
        np.testing.assert_array_equal(kernel[0, 1, 2, 3], theirs[2, 1, 3, 2])


@pytest.mark.slow
def test_a_network_of_1024x1024_is_imported_in_half_a_minute(write):
    path = write(
        random_networks(1024, np.random.default_rng(0), fmap_base=8192, fmap_max=512)
    )
    start = time.monotonic()
    params, info = import_network(path, "Gs")
    assert time.monotonic() - start < 30
    # The published number of the generator's parameters.
    assert sum(array.size for array in jax.tree.leaves(params)) == 23_079_115
    assert len(weight_shapes(generator_from_snapshot(info))) == len(
        jax.tree.leaves(params)
    )
