"""Programs compiled while another trains are the ones that are run."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import jax
import numpy as np
import pytest

from progan_jax.errors import UserError
from progan_jax.runtime.background import Background
from progan_jax.runtime.mesh import make_mesh
from progan_jax.train import _Run, train
from progan_jax.training.config import make_schedule
from progan_jax.training.stage import StageProgram, compiles_ahead
from progan_jax.training.steps import Steps

pytestmark = pytest.mark.usefixtures("shared_programs")

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("wish", "platform", "processes", "ahead"),
    [
        ("auto", "gpu", 1, True),
        ("auto", "tpu", 1, True),
        ("auto", "cpu", 1, False),
        ("auto", "gpu", 2, False),
        ("on", "cpu", 2, True),
        ("off", "tpu", 1, False),
    ],
)
def test_auto_compiles_ahead_on_accelerators_of_one_process(
    tiny_config, wish, platform, processes, ahead
):
    tiny_config.runtime.compile_ahead = wish
    assert compiles_ahead(tiny_config, platform, processes) == ahead


def states(config, workdir, monkeypatch):
    """Trains; returns the state at the end of every stage."""
    ends, end_tick = [], _Run._end_tick

    def watched(self):
        if self.schedule.is_stage_end(self.nimg):
            state = self.state
            key = jax.random.key_data(state.key)
            ends.append(jax.device_get(state.replace(key=key)))
        end_tick(self)

    with monkeypatch.context() as patch:
        patch.setattr(_Run, "_end_tick", watched)
        train(config, workdir)
    return ends


def test_a_run_compiled_ahead_is_the_same_run(tiny_config, tmp_path, monkeypatch):
    whole = states(tiny_config, tmp_path / "off", monkeypatch)
    traced, compiled, used, run = [], [], [], Steps.run
    compile_steps, run_program = StageProgram._compile, StageProgram.run

    def trace(self, *arguments):
        traced.append(self.generator.resolution)
        return run(self, *arguments)

    def compile_in_a_thread(self, shape):
        program = compile_steps(self, shape)
        compiled.append((self.resolution, threading.current_thread(), program))
        return program

    def use(self, *arguments):
        if self.compiled not in used:
            used.append(self.compiled)
        return run_program(self, *arguments)

    monkeypatch.setattr(Steps, "run", trace)
    monkeypatch.setattr(StageProgram, "_compile", compile_in_a_thread)
    monkeypatch.setattr(StageProgram, "run", use)
    tiny_config.runtime.compile_ahead = "on"
    ahead = states(tiny_config, tmp_path / "on", monkeypatch)
    assert traced == [r for r, _, _ in compiled] == [4, 8, 16]
    in_front = [t is threading.main_thread() for _, t, _ in compiled]
    assert in_front == [True, False, False]
    assert used == [program for _, _, program in compiled]
    assert len(whole) == len(ahead) == 3
    for a, b in zip(jax.tree.leaves(whole), jax.tree.leaves(ahead), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_resume_at_a_stages_end_prepares_no_program_of_that_stage(
    tiny_config, tmp_path, monkeypatch
):
    def crash(self, state):
        raise ConnectionError

    with monkeypatch.context() as patch:
        patch.setattr(StageProgram, "grow", crash)
        with pytest.raises(UserError):
            train(tiny_config, tmp_path)
    prepared, prepare = [], StageProgram.prepare

    def watched(self, pyramid):
        prepared.append(self.resolution)
        prepare(self, pyramid)

    monkeypatch.setattr(StageProgram, "prepare", watched)
    train(tiny_config, tmp_path)
    assert prepared == [8, 16]


def test_an_error_of_the_compiler_surfaces_where_the_program_is_needed(
    tiny_config, tmp_path, monkeypatch
):
    compile_steps = StageProgram._compile

    def refuse(self, shape):
        if self.resolution == 8:
            raise MemoryError("no room at 8x8")
        return compile_steps(self, shape)

    monkeypatch.setattr(StageProgram, "_compile", refuse)
    tiny_config.runtime.compile_ahead = "on"
    with pytest.raises(MemoryError, match="no room at 8x8"):
        train(tiny_config, tmp_path / "run")
    # The stage before was trained to its end and saved.
    assert (tmp_path / "run" / "checkpoints" / "64").is_dir()


def test_the_thread_has_the_precision_of_its_parent(tiny_config, float64, monkeypatch):
    monkeypatch.setattr(StageProgram, "_compile", StageProgram.lower)
    tiny_config.model.dtype = "float64"
    mesh = make_mesh(jax.devices()[:1])
    program = StageProgram(tiny_config, make_schedule(tiny_config), 4, mesh)
    program.compile_ahead((100, 4, 4, 1))
    assert "xf64>" in program._ahead.result().as_text()


def test_an_action_returns_its_result():
    assert Background(lambda: 3).result() == 3


@pytest.mark.parametrize(("error", "code"), [(None, 0), ("a mistake", 2)])
def test_a_command_ends_at_once_and_cleanly_while_a_thread_compiles(error, code):
    script = (
        "import sys, time\n"
        "from progan_jax.errors import UserError\n"
        "from progan_jax.runtime.background import Background\n"
        "from progan_jax.runtime.command_line import run\n"
        "def main():\n"
        "    Background(lambda: time.sleep(60))\n"
        "    print('told')\n"
        f"    if {error!r}: raise UserError({error!r})\n"
        "run(main)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        env=os.environ,
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == code
    assert done.stdout == "told\n"
    assert done.stderr == (f"error: {error}\n" if error else "")
