"""The tool, as its user types it."""

import hashlib

import numpy as np
import pytest
from absl.testing import flagsaver
from jax import export

from progan_jax.errors import UserError
from tests.pickles import dumps, golden, golden_networks


@pytest.fixture
def run(import_tool):
    """Exports in the tests' own process."""
    tool = import_tool("export")

    def call(model, out, **flags):
        with flagsaver.flagsaver(**flags):
            tool.main(str(model), str(out))

    return call


def test_a_pickle_of_the_authors_becomes_a_program_that_makes_their_images(
    run, tmp_path, capsys
):
    path, out = tmp_path / "theirs.pkl", tmp_path / "made" / "it.stablehlo"
    path.write_bytes(dumps(golden_networks("cond")))
    run(path, out)
    expected = (
        "latents float32 [N, 12], classes int32 [N] to images float32 [N, 16, 16, 3]"
    )
    digest = hashlib.sha256(out.read_bytes()).hexdigest()
    expected += f", for cpu, cuda, tpu; SHA-256 {digest}; licence CC BY-NC 4.0"
    assert capsys.readouterr().out == f"{out}: {expected}\n"
    program = export.deserialize(bytearray(out.read_bytes()))
    classes = golden()["cond/labels"].argmax(1).astype(np.int32)
    images = program.call(golden()["cond/z"].astype(np.float32), classes)
    theirs = golden()["cond/G_out/lod0.00"].transpose(0, 2, 3, 1)
    np.testing.assert_allclose(images, theirs, atol=1e-5 * np.abs(theirs).max())


def test_mistakes_end_in_one_line(run, tmp_path):
    path = tmp_path / "theirs.pkl"
    path.write_bytes(dumps(golden_networks("fused")))
    for model, out, flags, message in [
        (path, path, {}, f"OUT={path} already exists; choose another file"),
        (path, path / "x", {}, f"OUT={path / 'x'}: "),
        (tmp_path / "none", tmp_path / "x", {}, f"MODEL={tmp_path / 'none'}: there is"),
        (path, tmp_path / "x", {"snapshot": "best"}, "--snapshot=best: "),
    ]:
        with pytest.raises(UserError) as caught:
            run(model, out, **flags)
        assert str(caught.value).startswith(message)
        assert "\n" not in str(caught.value)
