"""The tool on the lowest layers."""

import numpy as np
import pytest
from absl.testing import flagsaver

from progan_jax.errors import UserError
from progan_jax.metrics.inception_graph import parameter_shapes
from progan_jax.metrics.inception_weights import load_inception


@pytest.fixture
def convert(import_tool, tmp_path, monkeypatch):
    """Returns a function that runs the tool with flags."""
    monkeypatch.setenv("PROGAN_JAX_CACHE", str(tmp_path / "cache"))
    tool = import_tool("convert_inception")

    def call(file, **values):
        with flagsaver.flagsaver(**values):
            tool.main(str(file))

    return call


@pytest.fixture
def prefix(tmp_path):
    shapes = parameter_shapes("192")
    np.savez(tmp_path / "a.npz", **{n: np.ones(s, "f2") for n, s in shapes.items()})
    return tmp_path / "a.npz"


def test_a_prefix_is_converted_into_a_file(prefix, tmp_path, convert, capsys):
    written = tmp_path / "new" / "a.safetensors"
    convert(prefix, out=str(written))
    printed = capsys.readouterr().out
    assert printed == f"{written}: inception-2015-12-05-prefix, up to tap 192\n"
    assert load_inception(written).fingerprint == load_inception(prefix).fingerprint


def test_a_prefix_does_not_take_the_place_of_complete_weights(
    prefix, tmp_path, convert
):
    with pytest.raises(UserError, match="--out is missing: "):
        convert(prefix)
    assert not (tmp_path / "cache").exists()


def test_a_mistake_is_one_line_and_writes_nothing(prefix, tmp_path, convert):
    out = tmp_path / "b.pth"
    with pytest.raises(UserError, match=r"--out=.* must end in \.safetensors; rename"):
        convert(prefix, out=str(out))
    assert not out.exists()
