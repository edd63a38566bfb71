"""The tool, as its user types it."""

import hashlib

import numpy as np
import pytest
from absl.testing import flagsaver
from jax import export

from progan_jax.errors import UserError
from tests.pickles import dumps, golden, golden_networks
from tests.styled import write_styled
from tests.stylegan_golden import channels_last, classes
from tests.stylegan_golden import golden as golden_styles


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


def test_a_stylegan_becomes_two_programs_that_make_its_images(run, tmp_path, capsys):
    model, out = write_styled(tmp_path / "it", "fused"), tmp_path / "two.stablehlo"
    run(model, out, noise="fixed")
    paths = [tmp_path / f"two.{part}.stablehlo" for part in ("mapping", "synthesis")]
    expected = [
        "latents float32 [N, 16], classes int32 [N], psi float32 to w float32 "
        "[N, 6, 16]",
        "w float32 [N, 6, 16] with fixed noise to images float32 [N, 16, 16, 3]",
    ]
    lines = [
        f"{path}: {types}, for cpu, cuda, tpu; SHA-256 "
        + hashlib.sha256(path.read_bytes()).hexdigest()
        for path, types in zip(paths, expected, strict=True)
    ]
    assert capsys.readouterr().out.splitlines() == lines
    mapping, synthesis = (
        export.deserialize(bytearray(path.read_bytes())) for path in paths
    )
    z, labels = golden_styles()["fused/z"][:2], classes("fused")[:2]
    images = synthesis.call(mapping.call(z, labels, np.float32(0.7)))
    theirs = channels_last(golden_styles()["fused/truncated/G_out/lod0.00"])
    np.testing.assert_allclose(images, theirs, atol=1e-5 * np.abs(theirs).max())
    with pytest.raises(UserError, match=f"OUT={paths[0]} already exists"):
        run(model, out)
    with pytest.raises(UserError, match="--noise=loud must be one of random, fixed"):
        run(model, tmp_path / "x", noise="loud")
    with pytest.raises(UserError, match="--noise=fixed is for style-based generators"):
        run("cifar10", tmp_path / "x", noise="fixed")
