"""A user's mistakes, each typed into a real process."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from progan_jax.errors import UserError
from progan_jax.runtime.command_line import load_config

ROOT = Path(__file__).parents[2]


DIGITS = str(ROOT / "configs" / "digits.py")


@pytest.mark.parametrize(
    ("argument", "words"),
    [
        (
            "--config.schedule.batchsize=8",
            r"--config has no field 'batchsize'\. Did you mean \"batch_size\"",
        ),
        (
            "--config.shedule.batch_size=8",
            "no field 'shedule'. Did you mean .*schedule",
        ),
        ("--config.train.zoo=2", r"no field 'zoo'\. See configs/base\.py"),
        ("--config.model.resolution=big", "--config.model.resolution=big: invalid lit"),
        ("--config.schedule.total_kimg=long", "could not convert string to float"),
        ("--config.data.mirror=perhaps", "Non-boolean argument to boolean flag"),
        ("--wokdir=x", "Unknown command line flag 'wokdir'"),
    ],
)
def test_a_mistyped_field_or_value_is_one_line(argument, words):
    with pytest.raises(UserError, match=words) as error:
        load_config(DIGITS, [argument])
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("program", "words"),
    [
        (
            "def get_config():\n    return 1 / 0\n",
            "line 2 fails with ZeroDivisionError",
        ),
        ("\nfrom configs import base\n", "line 2 fails with ModuleNotFoundError"),
        ("x = (\n", "line 1 fails with SyntaxError"),
        ("x = 1\n", "has no attribute 'get_config'"),
    ],
)
def test_a_failing_file_is_named_with_its_line_and_error(
    program, words, tmp_path, monkeypatch
):
    path = tmp_path / "broken.py"
    path.write_text(program)
    monkeypatch.setattr(sys, "path", [p for p in sys.path if p and Path(p) != ROOT])
    # config_flags runs every file as this one module, and keeps what it holds.
    monkeypatch.delitem(sys.modules, "config_config", raising=False)
    with pytest.raises(UserError, match=words):
        load_config(str(path))


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("config.model.latentsize = 8", "did you mean .*latent_size"),
        ("config.model.latent_size = 'many'", "latent_size"),
    ],
)
def test_a_misspelt_or_mistyped_field_in_a_file_is_named(line, words, tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(
        "from progan_jax.configs import base\n"
        f"def get_config():\n    config = base.get_config()\n    {line}\n"
        "    return config\n"
    )
    with pytest.raises(UserError, match=f"(?i)mine.py: line 4 fails with .*{words}"):
        load_config(str(path))


def test_every_way_of_writing_a_flag_is_accepted():
    arguments = ["--noconfig.model.equalized", "--config.schedule.total_kimg", "7"]
    config = load_config(DIGITS, [*arguments, "--config.data.mirror"])
    assert not config.model.equalized
    assert config.schedule.total_kimg == 7
    assert config.data.mirror


def run_main(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "progan_jax.main", *arguments],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=120,
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            [],
            "error: --config is missing: give a recipe or a file; recipes are ablat",
        ),
        (
            ["--config=configs/digits.py", "--config.model.resolution=33"],
            "error: config.model.resolution = 33 must be one of 4, 8, 16",
        ),
        (
            ["--config=configs/digits.py", "fast"],
            "error: unexpected argument 'fast': flags are written --name=value",
        ),
    ],
)
def test_mistakes_end_in_one_line_and_code_2(arguments, message, tmp_path):
    done = run_main(*arguments, f"--workdir={tmp_path}/run")
    assert done.returncode == 2, done.stderr
    lines = done.stderr.strip().split("\n")
    assert lines[-1].startswith(message), done.stderr
    assert len(lines) == 1
    assert "Traceback" not in done.stderr + done.stdout
    assert not (tmp_path / "run").exists()


def test_a_run_that_diverged_ends_with_a_code_of_its_own():
    program = (
        "from progan_jax.errors import DivergedError\n"
        "from progan_jax.runtime.command_line import run\n"
        "def main(): raise DivergedError('not finite')\n"
        "run(main)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT
    )
    assert (done.returncode, done.stderr) == (3, "error: not finite\n")


def test_a_closed_pipe_ends_the_output_without_a_message():
    program = (
        "from progan_jax.runtime.command_line import run\nrun(lambda: print('text'))"
    )
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-c", program],
        stdout=writer,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, "")
