"""Options of the compiler, and on which devices they are set."""

import jax
import numpy as np
import pytest

from progan_jax.runtime.compiler import compiler_options
from progan_jax.runtime.mesh import make_mesh
from progan_jax.training import stage
from progan_jax.training.config import make_schedule
from progan_jax.training.stage import StageProgram
from tests.xla import is_known


@pytest.mark.parametrize(
    ("asked", "platform", "expected"),
    [
        (True, "gpu", True),
        (False, "gpu", None),
        (True, "tpu", None),
        (True, "cpu", None),
    ],
)
def test_deterministic_kernels_are_requested_on_gpus_alone(
    tiny_config, asked, platform, expected
):
    tiny_config.runtime.deterministic = asked
    options = compiler_options(tiny_config, platform)
    assert options.get("xla_gpu_deterministic_ops") == expected
    assert bool(options) == bool(expected)


def program(config):
    mesh = make_mesh(jax.devices()[:1])
    return StageProgram(config, make_schedule(config), 4, mesh)


def test_the_options_reach_the_compiler(tiny_config, monkeypatch):
    # An option that XLA does not know is refused by whatever is given it.
    monkeypatch.setattr(stage, "compiler_options", lambda *_: {"xla_no_such": True})
    refused = program(tiny_config)
    latents = np.zeros((1, 8), np.float32)
    ema = refused.abstract_state().averaged
    variables = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), ema)
    for compile_one in (
        refused.create,
        lambda: refused.compile_ahead((9, 4, 4, 1)) or refused._ahead.result(),
        lambda: refused.sampler.sample(variables, 1.0, latents),
    ):
        with pytest.raises(jax.errors.JaxRuntimeError, match="xla_no_such"):
            compile_one()


def test_xla_knows_the_options_of_gpus(tiny_config, monkeypatch):
    tiny_config.runtime.deterministic = True
    options = compiler_options(tiny_config, "gpu")
    monkeypatch.setattr(stage, "compiler_options", lambda *_: options)
    assert program(tiny_config).lower((9, 4, 4, 1)).compile() is not None


@pytest.mark.parametrize(
    ("flag", "known"),
    [("--xla_backend_optimization_level=0", True), ("--xla_no_such=1", False)],
)
def test_a_flag_is_tried_where_it_cannot_end_the_tests(flag, known):
    assert is_known(flag) == known
