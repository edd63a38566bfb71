"""Exported generators, against those that they were exported from."""

import subprocess
import sys

import jax
import numpy as np
import pytest
from jax import export

from progan_jax.errors import UserError
from progan_jax.inference.export import export_generator
from progan_jax.inference.generator import TrainedGenerator
from progan_jax.inference.sampling import generator_from_snapshot
from progan_jax.models.common import init_generator
from tests.untrained import untrained


@pytest.fixture
def make(tiny_config):
    def make_trained(num_classes=0, scale=1.0, **fields):
        tiny_config.model.num_classes = num_classes
        tiny_config.model.update(fields)
        info = {
            "stage": {"resolution": 8, "alpha": 0.5},
            "options": tiny_config.model.to_dict(),
        }
        params = untrained(init_generator, generator_from_snapshot(info))
        params = jax.tree.map(lambda x: np.asarray(x) * scale, params)
        return TrainedGenerator(params, info, "it")

    return make_trained


def latents(n):
    return np.random.default_rng(0).standard_normal((n, 8)).astype(np.float32)


# As a user's program without this package: its import is an error.
ALONE = """
import sys
sys.modules["progan_jax"] = None
import jax, numpy as np
program = jax.export.deserialize(bytearray(open("it.stablehlo", "rb").read()))
for n in (1, 3):
    inputs = (array[:n] for array in np.load("in.npz").values())
    np.save(f"images{n}.npy", program.call(*inputs))
try:
    import progan_jax
except ImportError:
    print("alone")
"""


def test_jax_alone_makes_the_same_images_for_any_number(make, tmp_path):
    g, z, classes = make(num_classes=3), latents(3), np.array([2, 0, 1], np.int32)
    (tmp_path / "it.stablehlo").write_bytes(export_generator(g))
    np.savez(tmp_path / "in.npz", z, classes)
    done = subprocess.run(
        [sys.executable, "-c", ALONE],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=120,
    )
    assert (done.returncode, done.stdout) == (0, "alone\n"), done.stderr
    for n in (1, 3):
        images = np.load(tmp_path / f"images{n}.npy")
        assert images.dtype == np.float32
        np.testing.assert_allclose(images, g(z[:n], classes[:n]), atol=1e-5)


def test_one_program_holds_the_forms_of_all_platforms(make):
    program = export.deserialize(bytearray(export_generator(make())))
    assert program.platforms == ("cpu", "cuda", "tpu")
    assert [str(a) for a in program.in_avals] == ["float32[n,8]"]
    assert [str(a) for a in program.out_avals] == ["float32[n,8,8,1]"]
    # 4x4 is doubled by zeros between pixels on accelerators, by four phases on CPUs;
    # the program asks its first argument, the platform, which it is to be.
    text = program.mlir_module()
    assert "lhs_dilate = [2, 2]" in text
    assert '"stablehlo.case"(%arg0)' in text


def test_activations_of_bfloat16_end_in_images_of_float32(make):
    g, z = make(dtype="bfloat16"), latents(2)
    images = export.deserialize(bytearray(export_generator(g))).call(z)
    assert images.dtype == np.float32
    np.testing.assert_allclose(images, g(z), atol=0.05)


def test_weights_that_are_not_finite_are_refused(make):
    with pytest.raises(UserError, match="snapshot it: its images are not finite"):
        export_generator(make(scale=np.nan))


def test_weights_that_make_enormous_images_are_warned_of(make, capsys):
    export_generator(make(scale=1e12))
    assert "warning: snapshot it: its images reach " in capsys.readouterr().err
