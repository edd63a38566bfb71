"""Classifiers of attributes as exported programs, and separability by them."""

import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export

from progan_jax.errors import MissingWeightsError, UserError
from progan_jax.metrics.attributes import read_attributes
from progan_jax.metrics.measure import MeasureOptions, Measurer
from tests.metrics.snapshots import make_fakes


def write_program(path, function, side=16, channels=3, dtype=jnp.float32, n="n"):
    (n,) = export.symbolic_shape(n) if isinstance(n, str) else (n,)
    images = jax.ShapeDtypeStruct((n, side, side, channels), dtype)
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(export.export(jax.jit(function))(images).serialize())


def redness(images):
    return jnp.mean(images[..., 0], axis=(1, 2))


def brightness(images):
    return jnp.mean(images, axis=(1, 2, 3))


@pytest.fixture
def folder(tmp_path):
    write_program(tmp_path / "attributes" / "red.stablehlo", redness)
    write_program(tmp_path / "attributes" / "bright.stablehlo", brightness)
    return tmp_path / "attributes"


def test_programs_are_read_in_the_order_of_their_names(folder):
    attributes = read_attributes(str(folder))
    assert attributes.names == ("bright", "red")
    assert (attributes.side, attributes.channels) == (16, 3)
    images = np.random.default_rng(0).uniform(-1, 1, (5, 16, 16, 3)).astype("f4")
    expected = [images.mean((1, 2, 3)), images[..., 0].mean((1, 2))]
    np.testing.assert_allclose(
        attributes.logits(jnp.asarray(images)), np.transpose(expected), atol=1e-6
    )


def test_another_program_has_another_digest(folder):
    first = read_attributes(str(folder)).digest
    write_program(folder / "red.stablehlo", brightness)
    assert read_attributes(str(folder)).digest != first


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"side": 8}, r"red\.stablehlo takes images \[8, 3\] and bright"),
        ({"channels": 2}, r"must map float32 \(n, s, s, 1 or 3\) to \(n,\)"),
        ({"dtype": jnp.int32}, "must map float32"),
        ({"n": 4}, "with n symbolic"),
        ({"function": lambda x: x}, r"maps \(n, 16, 16, 3\) to \(n, 16, 16, 3\); "),
    ],
)
def test_programs_of_another_form_are_refused(folder, change, message):
    change = {"function": brightness} | change
    write_program(folder / "red.stablehlo", **change)
    with pytest.raises(UserError, match=message):
        read_attributes(str(folder))


def test_a_file_that_is_no_program_is_one_line(folder):
    (folder / "red.stablehlo").write_bytes(b"no program")
    with pytest.raises(UserError, match=r"red\.stablehlo is not a program of jax"):
        read_attributes(str(folder))


def test_no_folder_or_an_empty_one_is_one_line(tmp_path):
    # Only what nobody names may be missing.
    for name, kind in (("", MissingWeightsError), (str(tmp_path), UserError)):
        options = MeasureOptions(("ls",), num_images=16, attributes=name)
        message = r"^config\.eval\.attributes = '"
        with pytest.raises(UserError, match=message) as error:
            Measurer(make_fakes().reals, options)
        assert type(error.value) is kind


def test_a_missing_scikit_learn_is_as_missing_weights_are(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.svm", None)
    options = MeasureOptions(("ls",), num_images=16, attributes=str(folder))
    with pytest.raises(MissingWeightsError, match=r"pip install scikit-learn$"):
        Measurer(make_fakes().reals, options)


def test_programs_of_larger_images_than_the_runs_are_refused(tmp_path):
    write_program(tmp_path / "a" / "red.stablehlo", redness, side=64)
    options = MeasureOptions(("ls",), num_images=16, attributes=str(tmp_path / "a"))
    with pytest.raises(UserError, match=r"images of 64x64x3, .* made of 32x32x3"):
        Measurer(make_fakes().reals, options)


@pytest.mark.parametrize("family", ["stylegan", "progan"])
def test_separability_is_measured_in_z_and_where_there_is_a_mapping_in_w(
    folder, family
):
    pytest.importorskip("sklearn")
    fakes = make_fakes(family, stage=8)
    options = MeasureOptions(("ls",), num_images=64, attributes=str(folder))
    measurer = Measurer(fakes.reals, options)
    values = measurer.measure("ls", fakes, 64)
    expected = {"ls_z", "ls_w"} if family == "stylegan" else {"ls_z"}
    assert values.keys() == expected
    assert all(1 <= value <= 4 for value in values.values())
    assert values == measurer.measure("ls", fakes, 64)
    described = measurer.settings("ls")["attributes"]
    assert described.startswith("2 of 16x16, ")
