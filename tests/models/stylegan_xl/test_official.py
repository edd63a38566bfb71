"""The authors' pickled generators become snapshots that make their images."""

import json
import os

import numpy as np
import pytest
from flax import traverse_util

import progan_jax
from progan_jax.errors import UserError
from progan_jax.models.families import import_network
from progan_jax.models.stylegan_xl.options import Options
from tests.stylegan_xl_golden import (
    G_OPTIONS,
    assert_close,
    channels_first,
    g_variables,
    golden,
)
from tests.torch_pickles import (
    SOURCE,
    Again,
    call,
    checkpoint,
    dumps,
    golden_generator,
    module_state,
    parameter,
    persistent,
    storage_bytes,
)

SPELLINGS = [(2, True), (3, True), (4, True), (4, False), (5, False)]


@pytest.fixture
def write(tmp_path):
    def write_file(value, protocol=4, old=True, name="imagenet16.pkl"):
        (tmp_path / name).write_bytes(dumps(value, protocol, old))
        return tmp_path / name

    return write_file


@pytest.mark.parametrize("case", G_OPTIONS)
@pytest.mark.parametrize(("protocol", "old"), SPELLINGS)
def test_every_weight_is_imported_to_the_bit(write, case, protocol, old):
    weights, info = import_network(write(checkpoint(case, old), protocol, old), "Gs")
    expected = g_variables(case)
    expected = traverse_util.flatten_dict(
        expected["params"] | {"stats": expected["stats"]}
    )
    found = traverse_util.flatten_dict(weights)
    assert found.keys() == expected.keys()
    for path, array in expected.items():
        assert found[path].dtype == np.float32
        np.testing.assert_array_equal(found[path], array)
    assert Options(**info["options"]) == of_file(case)


def of_file(case):
    """Returns the options that a case's file tells; it has no table if unused."""
    options = G_OPTIONS[case]
    if options.num_classes:
        return options
    default = Options()
    return options.__class__(
        **vars(options)
        | {
            "embedding_rows": default.embedding_rows,
            "embedding_size": default.embedding_size,
        }
    )


@pytest.mark.parametrize("case", ["stem", "superres"])
def test_load_makes_their_images(write, case):
    g = progan_jax.load(write(checkpoint(case)))
    theirs = golden()[f"{case}/image"]
    n = len(theirs)
    images = g(golden()[f"{case}/z"][:n], golden()[f"{case}/class"][:n])
    assert_close(channels_first(images), theirs)


def test_g_is_imported_on_request(write):
    path = write(checkpoint("uncond"))
    weights, info = import_network(path, "G")
    averaged, _ = import_network(path, "Gs")
    assert info["source"]["network"] == "G"
    bias = weights["mapping"]["dense0"]["bias"]
    np.testing.assert_array_equal(bias, averaged["mapping"]["dense0"]["bias"] + 1)


def test_weights_of_half_precision_become_float32(write):
    name = "mapping.fc0.bias"
    half = np.linspace(-1, 1, 32).astype(np.float16)
    g = golden_generator("stem", changed={name: half})
    weights, _ = import_network(write(checkpoint("stem", G_ema=g)), "Gs")
    found = weights["mapping"]["dense0"]["bias"]
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, half)


def test_licence_and_origin_are_recorded(write):
    path = write(checkpoint("superres"))
    _, info = import_network(path, "Gs")
    assert "non-commercial" in info["licence"]["name"]
    assert "Sauer" in info["licence"]["holder"]
    assert info["source"]["file"] == path.name
    assert info["source"]["class"] == "SuperresGenerator"
    assert info["source"]["options"] == {
        **{"img_resolution": 32, "path_stem": "stem.pkl"},
        **{"head_layers": 4, "up_factor": 2},
    }
    assert info["stage"] == {"resolution": 32, "alpha": 1.0}
    json.dumps(info)


def test_d_and_levels_are_refused_in_one_line(write):
    path = write(checkpoint("uncond"))
    with pytest.raises(UserError, match="D of StyleGAN-XL's program is not imported"):
        import_network(path, "D")
    with pytest.raises(UserError, match=r"--lod=1: .* do not grow; leave it out"):
        import_network(path, "Gs", 1.0)


def ema(case="stem", **how):
    return lambda: checkpoint(case, G_ema=golden_generator(case, **how))


def two_places():
    """A module whose modules are shared at every level: 2**60 paths."""
    module = persistent("FullyConnectedLayer", module_state({}, {}, {}, True))
    for _ in range(60):
        state = module_state({}, {}, {"a": module, "b": module}, True)
        module = persistent("FullyConnectedLayer", state)
    g = golden_generator("stem")
    g.arguments[0]["state"]["_modules"]["extra"] = module
    return checkpoint("stem", G_ema=g)


LAYER = "synthesis__L0_36_16"
FAULTS = {
    "missing": (
        ema(changed={"synthesis.L1_36_16.bias": None}),
        "1 variables are missing, such as synthesis.L1_36_16.bias",
    ),
    "no filter": (
        ema(changed={"synthesis.L1_36_16.up_filter": None}),
        "1 variables are missing, such as synthesis.L1_36_16.up_filter",
    ),
    "left over": (
        ema(changed={"mapping.fc2.bias": np.ones(3, np.float32)}),
        "1 variables have no place, such as mapping.fc2.bias",
    ),
    "shape": (
        ema(changed={"mapping.fc1.weight": np.ones((32, 31), np.float32)}),
        r"mapping.fc1.weight is of shape \(31, 32\), not of \(32, 32\)",
    ),
    "not finite": (
        ema(changed={"mapping.w_avg": np.full((5, 32), np.nan, np.float32)}),
        "mapping.w_avg has numbers that are not finite",
    ),
    "other filter": (
        ema(changed={"synthesis.L1_36_16.up_filter": np.ones(12, np.float32)}),
        "synthesis.L1_36_16.up_filter is not that of the network's design",
    ),
    "transform": (
        ema(changed={"synthesis.input.transform": np.zeros((3, 3), np.float32)}),
        "synthesis.input.transform is not that of the network's design",
    ),
    "band": (
        ema(**{LAYER: {"out_cutoff": 2.5}}),
        "no stages are known whose layers have these bands and sizes",
    ),
    "size": (
        ema(**{LAYER: {"in_channels": 15}}),
        "no stages are known whose layers have these bands and sizes",
    ),
    "clamp": (
        ema(**{LAYER: {"conv_clamp": 8}}),
        "synthesis.L0_36_16 has conv_clamp = 8, not 256",
    ),
    "rate": (
        ema(mapping__fc0={"bias_gain": 1, "activation": "lrelu"}),
        "mapping.fc0 has bias_gain = 1, not 0.01",
    ),
    "scale": (
        ema(synthesis={"output_scale": 1}),
        "synthesis has output_scale = 1, not 0.25",
    ),
    "kernel": (
        ema(synthesis={"conv_kernel": 5}),
        "kernels of 5, radial filters False",
    ),
    "grey": (ema(synthesis={"img_channels": 1}), "channels = 1 must be one of 3"),
    "count": (
        ema(synthesis={"channel_max": "many"}),
        "a setting that counts is not a whole number",
    ),
    "two places": (two_places, "a module is in two places: extra.a.a"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_generator_that_does_not_fit_is_refused_in_one_line(write, fault):
    make, message = FAULTS[fault]
    with pytest.raises(UserError, match=message) as caught:
        import_network(write(make()), "Gs")
    assert "\n" not in str(caught.value)


def test_a_file_of_fp32_has_no_clamp_and_is_imported(write):
    import_network(write(ema(**{LAYER: {"conv_clamp": None}})()), "Gs")


def other(layers):
    """Returns the file of another program, whose synthesis has these modules."""
    leaf = persistent("SynthesisLayer", module_state({}, {}, {}, True))
    synthesis = module_state({}, {}, dict.fromkeys(layers, leaf), True)
    mapping = module_state({}, {}, {"embed": leaf}, True)
    parts = {
        "synthesis": persistent("SynthesisNetwork", synthesis),
        "mapping": persistent("MappingNetwork", mapping),
    }
    g = persistent("Generator", module_state({}, {}, parts, True))
    return {"G": g, "D": None, "G_ema": g}


@pytest.mark.parametrize(
    ("layers", "program"),
    [
        (["b4", "b8"], "StyleGAN2-ADA's PyTorch program"),
        (["input", "L0_36_512"], "StyleGAN3's program"),
        (["first"], "a PyTorch program that is not known here"),
    ],
)
def test_pickles_of_other_programs_are_named_as_what_they_are(write, layers, program):
    for value in (other(layers), other(layers)["G"], {"net": other(layers)["G"]}):
        with pytest.raises(UserError, match=f"imagenet16.pkl is a pickle of {program}"):
            import_network(write(value), "Gs")


def mark():
    return call("posix.system", "touch MARKER")


def code_in(place):
    def make():
        g = golden_generator("stem")
        meta = g.arguments[0]
        (meta if place == "module_src" else meta["state"])[place] = mark()
        return checkpoint("stem", G_ema=g)

    return make


def built_twice():
    """A module that is given a state which is no dictionary, after its own."""
    value = checkpoint("uncond")
    value["G_ema"] = Again(value["G_ema"], 7)
    return value


def with_deep_name():
    """A layer whose name is a tuple of a tuple of a tuple, ..."""
    name = ()
    for _ in range(200):
        name = (name,)
    return ema(synthesis={"layer_names": [name]})()


def weight(**faults):
    """Returns a file of which one parameter is damaged."""

    def make():
        g = golden_generator("uncond")
        parts = g.arguments[0]["state"]["_modules"]["mapping"].arguments[0]["state"]
        array = np.zeros((32, 16), np.float32)
        made = {name: of(array) if callable(of) else of for name, of in faults.items()}
        dense = parts["_modules"]["fc0"].arguments[0]["state"]
        dense["_parameters"]["weight"] = parameter(array, **made)
        return checkpoint("uncond", G_ema=g)

    return make


def in_storage(array):
    head, tail = dumps(mark(), 2), storage_bytes(array)
    return head + tail


HOSTILE = {
    "code in _init_args": code_in("_init_args"),
    "code in _init_kwargs": code_in("_init_kwargs"),
    "code in module_src": code_in("module_src"),
    "code in the state": code_in("_forward_hooks"),
    "code in D": lambda: checkpoint("stem", D=mark()),
    "code in a hook of D": lambda: checkpoint(
        "stem", D=call("dill._dill._create_function", mark())
    ),
    "code that dill calls": lambda: checkpoint(
        "stem", D=call("dill._dill._create_array", *[mark()] * 4)
    ),
    "code beside the networks": lambda: checkpoint("stem", augment_pipe=mark()),
    "a state after the state": built_twice,
    "a name that is no text": with_deep_name,
    "code in a storage": weight(data=in_storage),
    "code in a storage's class": weight(
        data=lambda a: storage_bytes(a, kind="hub.load")
    ),
    "a storage of objects": weight(
        data=lambda a: storage_bytes(a, kind="ObjectStorage")
    ),
    "a storage beyond its file": weight(data=lambda a: storage_bytes(a)[:-4]),
    "a storage of another size": weight(data=lambda a: storage_bytes(a, count=9)),
    "a negative size": weight(data=lambda a: storage_bytes(a, count=-1)),
    "a storage in another form": weight(data=b"PK\x03\x04"),
    "a storage of a text": weight(data="text"),
    "a tensor beyond its storage": weight(shape=(32, 17)),
    "an offset beyond the storage": weight(offset=1),
    "strides beyond the storage": weight(strides=(17, 1)),
    "a huge tensor of little": weight(shape=(2**39, 2), strides=(0, 0)),
    "a shape without end": weight(shape=(10**1000, 2)),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_file_is_refused_and_nothing_runs(write, kind, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError) as caught:
        import_network(write(HOSTILE[kind]()), "Gs")
    assert "\n" not in str(caught.value)
    assert not os.path.exists("MARKER")


def test_the_source_of_a_module_is_never_run(write):
    path = write(checkpoint("uncond"))
    assert SOURCE.encode() in path.read_bytes()
    import_network(path, "Gs")
