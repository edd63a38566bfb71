"""The tool, as its user types it."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
from jax import export

from tests.pickles import dumps, golden, golden_networks

ROOT = Path(__file__).parents[2]


def run(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "progan_jax.tools.export", *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=120,
        env=os.environ | {"JAX_PLATFORMS": "cpu"},
    )


def test_a_pickle_of_the_authors_becomes_a_program_that_makes_their_images(tmp_path):
    path, out = tmp_path / "theirs.pkl", tmp_path / "made" / "it.stablehlo"
    path.write_bytes(dumps(golden_networks("cond")))
    done = run(path, out)
    assert (done.returncode, done.stderr) == (0, "")
    told = "latents float32 [N, 12], classes int32 [N] to images float32 [N, 16, 16, 3]"
    digest = hashlib.sha256(out.read_bytes()).hexdigest()
    told += f", for cpu, cuda, tpu; SHA-256 {digest}; licence CC BY-NC 4.0"
    assert done.stdout == f"{out}: {told}\n"
    program = export.deserialize(bytearray(out.read_bytes()))
    classes = golden()["cond/labels"].argmax(1).astype(np.int32)
    images = program.call(golden()["cond/z"].astype(np.float32), classes)
    theirs = golden()["cond/G_out/lod0.00"].transpose(0, 2, 3, 1)
    np.testing.assert_allclose(images, theirs, atol=1e-5 * np.abs(theirs).max())


def test_mistakes_end_in_one_line_and_code_2(tmp_path):
    path = tmp_path / "theirs.pkl"
    path.write_bytes(dumps(golden_networks("fused")))
    for arguments, message in [
        ([path], "one MODEL and one OUT are needed, and 1 are given; see --help"),
        ([path, path], f"OUT={path} is there already; name a file that is not"),
        ([path, path / "x"], f"OUT={path / 'x'}: "),
        ([tmp_path / "none", tmp_path / "x"], f"MODEL={tmp_path / 'none'}: there is"),
        ([path, tmp_path / "x", "--snapshot=best"], "--snapshot=best: "),
    ]:
        done = run(*arguments)
        assert done.returncode == 2, done.stderr
        assert done.stderr.startswith(f"error: {message}"), done.stderr
        assert done.stderr.count("\n") == 1, done.stderr
