"""The tool, as its user types it, on files in the authors' form."""

import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

import progan_jax
from progan_jax.inference.snapshot import read_trained
from progan_jax.models.progan.official import import_network
from tests.pickles import dumps, golden, golden_networks

ROOT = Path(__file__).parents[2]


def run(tool, *arguments):
    return subprocess.run(
        [sys.executable, "-m", f"progan_jax.tools.{tool}", *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=120,
        env=os.environ | {"JAX_PLATFORMS": "cpu"},
    )


def import_official(*arguments):
    return run("import_official", *arguments)


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("official") / "fused.pkl"
    networks = golden_networks("fused")
    for network in networks:
        variables = dict(network.variables) | {"lod": np.float32(1.5)}
        network.variables = list(variables.items())
    path.write_bytes(dumps(networks))
    return path


def test_a_snapshot_is_written_that_makes_their_images(file, tmp_path):
    out = tmp_path / "made" / "snapshot"
    done = import_official(file, out)
    assert (done.returncode, done.stderr) == (0, "")
    told = "Gs of 8x8, of 16x16 to grow to; licence CC BY-NC 4.0"
    assert done.stdout == f"{out}: {told}\n"
    info = json.loads((out / "snapshot.json").read_text())
    assert info["licence"]["name"] == "CC BY-NC 4.0"
    images = progan_jax.load(out)(golden()["fused/z"])
    theirs = golden()["fused/G_out/lod1.50"].transpose(0, 2, 3, 1)[:, ::2, ::2]
    np.testing.assert_allclose(images, theirs, atol=1e-5 * np.abs(theirs).max())
    drawn = run("sample", str(out), "--num=2")
    assert (drawn.returncode, drawn.stderr) == (0, "")


def test_d_and_another_level_are_taken_on_request(file, tmp_path):
    done = import_official(file, tmp_path / "d", "--network=D", "--lod=0")
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith(": D of 16x16; licence CC BY-NC 4.0\n")
    assert (tmp_path / "d" / "discriminator.safetensors").exists()
    with pytest.raises(progan_jax.UserError, match="is of a discriminator, which"):
        progan_jax.load(tmp_path / "d")


def test_all_three_networks_come_along_on_request(file, tmp_path):
    done = import_official(file, tmp_path / "all", "--with_training_nets")
    assert done.returncode == 0, done.stderr
    assert "all: Gs and G and D of 8x8, of 16x16 to grow to; licence" in done.stdout
    trained = read_trained(tmp_path / "all")
    for kind, params in trained.items():
        expected, _ = import_network(file, kind)
        jax.tree.map(np.testing.assert_array_equal, params, expected)
    assert trained.keys() == {"G", "D"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            b"\x80\x04cos\nsystem\n.",
            "FILE asks for os.system, which a file of networks",
        ),
        (b"\x80\x04]", "FILE is not a complete pickle of arrays"),
        (b"<html>", "FILE is a web page, and not a pickle (G, D, Gs) of Progressiv"),
        (b"\x80\x04].", "FILE does not hold the authors' networks (G, D, Gs)"),
    ],
)
def test_other_files_end_in_one_line_and_code_2(tmp_path, content, message):
    path = tmp_path / "other.pkl"
    path.write_bytes(content)
    done = import_official(path, tmp_path / "out")
    assert done.returncode == 2
    assert done.stderr.startswith("error: " + message.replace("FILE", str(path)))
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_mistakes_end_in_one_line_and_code_2(file, tmp_path):
    for arguments, message in [
        ([], "one FILE and one OUT are needed, and 0 are given; see --help"),
        ([file, tmp_path], f"OUT={tmp_path} is there already; name a folder"),
        ([tmp_path / "none", "x"], f"{tmp_path / 'none'} cannot be read"),
        ([file, file / "x"], f"OUT={file / 'x'}: "),
        ([file, "x", "--network=E"], "flag --network=E"),
        (
            [file, "x", "--network=D", "--with_training_nets"],
            "--network=D: --with_training_nets takes all three; leave one",
        ),
        ([file, "x", "--lod=3"], "lod = 3 must lie in [0, 2] for a network of 16x16"),
    ]:
        done = import_official(*arguments)
        assert done.returncode == 2, done.stderr
        assert done.stderr.startswith(f"error: {message}"), done.stderr
        assert done.stderr.count("\n") == 1
