"""The tool, as its user types it, on files in the authors' form."""

import json
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from absl.testing import flagsaver

import progan_jax
from progan_jax.inference.snapshot import read_trained
from progan_jax.models.families import import_network
from tests import stylegan_golden, stylegan_xl_golden, torch_pickles
from tests.pickles import dumps, golden, golden_networks, style_networks
from tests.stylegan_golden import OPTIONS, channels_last, classes

ROOT = Path(__file__).parents[2]
LICENCE = "NVIDIA Source Code License (non-commercial), and MIT"


@pytest.fixture
def import_official(import_tool):
    """Imports in the tests' own process."""
    tool = import_tool("import_official")

    def call(file, out, **flags):
        with flagsaver.flagsaver(**flags):
            tool.main(str(file), str(out))

    return call


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("official") / "fused.pkl"
    networks = golden_networks("fused")
    for network in networks:
        variables = dict(network.variables) | {"lod": np.float32(1.5)}
        network.variables = list(variables.items())
    path.write_bytes(dumps(networks))
    return path


def test_a_snapshot_is_written_that_makes_their_images(
    file, tmp_path, import_official, capsys
):
    out = tmp_path / "made" / "snapshot"
    import_official(file, out)
    expected = "Gs of 8x8, of a final 16x16; licence CC BY-NC 4.0"
    assert capsys.readouterr().out == f"{out}: {expected}\n"
    info = json.loads((out / "snapshot.json").read_text())
    assert info["licence"]["name"] == "CC BY-NC 4.0"
    images = progan_jax.load(out)(golden()["fused/z"])
    theirs = golden()["fused/G_out/lod1.50"].transpose(0, 2, 3, 1)[:, ::2, ::2]
    np.testing.assert_allclose(images, theirs, atol=1e-5 * np.abs(theirs).max())


@pytest.mark.parametrize("net", ["plain", "fused"])
def test_a_stylegan_is_imported_with_its_average_of_w_and_its_noise(
    net, tmp_path, import_official, capsys
):
    path = tmp_path / f"{net}.pkl"
    path.write_bytes(dumps(style_networks(net)))
    import_official(path, tmp_path / "out")
    side = OPTIONS[net].resolution
    expected = f"out: Gs of {side}x{side}; licence CC BY-NC 4.0\n"
    assert capsys.readouterr().out.endswith(expected)
    g = progan_jax.load(tmp_path / "out")
    truncated = stylegan_golden.golden()[f"{net}/truncated/G_out/lod0.00"]
    z = stylegan_golden.golden()[f"{net}/z"][: len(truncated)]
    labels = None if net == "plain" else classes(net)[: len(z)]
    images = g(z, labels, noise="fixed")  # Truncated by their default.
    atol = 1e-5 * np.abs(truncated).max()
    np.testing.assert_allclose(images, channels_last(truncated), atol=atol)


def test_a_superresolution_of_stylegan_xl_is_imported_with_the_stages_before_it(
    tmp_path, import_official, capsys
):
    path, out = tmp_path / "imagenet32.pkl", tmp_path / "out"
    path.write_bytes(torch_pickles.dumps(torch_pickles.checkpoint("superres")))
    import_official(path, out)
    printed = capsys.readouterr().out
    assert printed.endswith("out: Gs of 32x32; licence " + LICENCE + "\n")
    info = json.loads((out / "snapshot.json").read_text())
    assert info["options"]["stages"] == "16" and info["licence"]["name"] == LICENCE
    theirs, case = stylegan_xl_golden.golden(), "superres"
    z, label = (theirs[f"{case}/{name}"][:2] for name in ("z", "class"))
    images = progan_jax.load(out)(z, label).transpose(0, 3, 1, 2)
    stylegan_xl_golden.assert_close(images, theirs[f"{case}/image"])
    with pytest.raises(
        progan_jax.UserError, match="is not imported; leave out --with_t"
    ):
        import_official(path, tmp_path / "all", with_training_nets=True)


def test_d_and_another_level_are_imported_on_request(
    file, tmp_path, import_official, capsys
):
    import_official(file, tmp_path / "d", network="D", lod=0.0)
    assert capsys.readouterr().out.endswith(": D of 16x16; licence CC BY-NC 4.0\n")
    assert (tmp_path / "d" / "discriminator.safetensors").exists()
    with pytest.raises(progan_jax.UserError, match="is of a discriminator, which"):
        progan_jax.load(tmp_path / "d")


def test_all_three_networks_are_imported_on_request(
    file, tmp_path, import_official, capsys
):
    import_official(file, tmp_path / "all", with_training_nets=True)
    expected = "all: Gs and G and D of 8x8, of a final 16x16; licence"
    assert expected in capsys.readouterr().out
    trained = read_trained(tmp_path / "all")
    for kind, params in trained.items():
        expected, _ = import_network(file, kind)
        jax.tree.map(np.testing.assert_array_equal, params, expected)
    assert trained.keys() == {"G", "D"}


def test_a_hostile_file_ends_in_one_line_and_code_2(tmp_path):
    path = tmp_path / "other.pkl"
    path.write_bytes(b"\x80\x04cos\nsystem\n.")
    tool = [sys.executable, "-m", "progan_jax.tools.import_official"]
    done = subprocess.run(
        [*tool, path, tmp_path / "out"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {path} ")
    assert "os.system" in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_mistakes_end_in_one_line(file, tmp_path, import_official):
    for source, out, flags, message in [
        (file, tmp_path, {}, f"OUT={tmp_path} already exists; choose another"),
        (tmp_path / "none", "x", {}, f"{tmp_path / 'none'} cannot be read"),
        (file, file / "x", {}, f"OUT={file / 'x'}: "),
        (
            *(file, "x", {"network": "D", "with_training_nets": True}),
            "--network=D: --with_training_nets imports all three; leave one",
        ),
        (file, "x", {"lod": 3.0}, "--lod=3 must lie in [0, 2] for a network of 16x16"),
    ]:
        with pytest.raises(progan_jax.UserError) as caught:
            import_official(source, out, **flags)
        assert str(caught.value).startswith(message)
        assert "\n" not in str(caught.value)
