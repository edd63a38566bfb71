"""A user's mistakes, each typed into a real process."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from progan_jax.errors import UserError
from progan_jax.runtime import command_line

ROOT = Path(__file__).parents[2]


def check(*arguments, monkeypatch):
    """Checks the --config flags of a command typed in the root of the project."""
    monkeypatch.chdir(ROOT)
    command_line._check_config(["main", *arguments])


def test_unknown_field_names_the_nearest_one(monkeypatch):
    with pytest.raises(UserError) as error:
        check(
            "--config=configs/digits.py",
            "--config.schedule.batchsize=8",
            monkeypatch=monkeypatch,
        )
    assert str(error.value) == (
        "config.schedule.batchsize = '8': there is no such field; "
        "did you mean config.schedule.batch_size?"
    )


def test_field_of_a_wrong_group_is_found_by_its_name(monkeypatch):
    with pytest.raises(UserError, match=r"did you mean config\.optim\.d_repeats\?"):
        check(
            "--config=configs/digits.py",
            "--config.train.d_repeats=2",
            monkeypatch=monkeypatch,
        )


@pytest.mark.parametrize(
    ("argument", "kind"),
    [
        ("--config.model.resolution=big", "a whole number"),
        ("--config.schedule.total_kimg=long", "a number"),
        ("--config.data.mirror=perhaps", "true or false"),
    ],
)
def test_value_of_a_wrong_type_is_named_with_an_example(argument, kind, monkeypatch):
    with pytest.raises(UserError, match=f"must be {kind}; write for example --config"):
        check("--config=configs/digits.py", argument, monkeypatch=monkeypatch)


def test_a_file_that_imports_recipes_by_their_old_name_is_given_the_new_one(
    monkeypatch, tmp_path
):
    path = tmp_path / "mine.py"
    path.write_text("from configs import base\n")
    monkeypatch.setattr(sys, "path", [p for p in sys.path if Path(p) != ROOT and p])
    with pytest.raises(
        UserError, match=r"write 'from progan_jax\.configs import base'"
    ):
        check(f"--config={path}", monkeypatch=monkeypatch)


def test_failing_file_is_named_with_its_error(monkeypatch, tmp_path):
    path = tmp_path / "broken.py"
    path.write_text("def get_config():\n    return 1 / 0\n")
    with pytest.raises(UserError, match="line 2 fails with ZeroDivisionError"):
        check(f"--config={path}", monkeypatch=monkeypatch)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("config.model.latentsize = 8", "did you mean .*latent_size"),
        ("config.model.latent_size = 'many'", "latent_size"),
    ],
)
def test_a_misspelt_or_mistyped_field_in_a_file_is_named(
    line, words, monkeypatch, tmp_path
):
    path = tmp_path / "mine.py"
    path.write_text(
        "from progan_jax.configs import base\n"
        f"def get_config():\n    config = base.get_config()\n    {line}\n"
        "    return config\n"
    )
    with pytest.raises(UserError, match=f"(?i)mine.py: line 4 fails with .*{words}"):
        check(f"--config={path}", monkeypatch=monkeypatch)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--config.schedule.fade_kimg=1"],
        ["--config.data.mirror"],
        ["--noconfig.model.equalized"],
        ["--config.schedule.total_kimg", "7"],
    ],
)
def test_every_way_of_writing_a_flag_is_accepted(arguments, monkeypatch):
    check("--config=configs/digits.py", *arguments, monkeypatch=monkeypatch)


def run_main(*arguments, module="progan_jax.main", cwd=ROOT, pythonpath=ROOT):
    return subprocess.run(
        [sys.executable, "-m", module, *arguments],
        capture_output=True,
        text=True,
        cwd=cwd,
        timeout=120,
        env=os.environ | {"PYTHONPATH": str(pythonpath)},
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            [],
            "error: --config is missing: give a recipe or a file; recipes are ablat",
        ),
        (
            ["--config=configs/digits.py", "--wokdir=x"],
            "error: Unknown command line flag 'wokdir'. Did you mean: workdir ?",
        ),
        (
            ["--config=configs/digits.py", "--config.model.resolution=33"],
            "error: config.model.resolution = 33 must be one of 4, 8, 16",
        ),
        (
            ["--config=configs/digits.py", "fast"],
            "error: unexpected argument 'fast': flags are written --name=value",
        ),
        (
            ["--config=configs/digits.py", "--mode=test"],
            "error: flag --mode=test: value should be one of <train|eval|explain>",
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


@pytest.mark.parametrize(("error", "code"), [("UserError", 2), ("DivergedError", 3)])
def test_a_mistake_and_a_run_that_diverged_end_with_different_codes(error, code):
    program = (
        "from progan_jax.errors import DivergedError, UserError\n"
        "from progan_jax.runtime.command_line import run\n"
        f"def main(): raise {error}('told')\n"
        "run(main)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT
    )
    assert (done.returncode, done.stderr) == (code, "error: told\n")


def test_a_reader_that_has_gone_ends_the_output_without_a_word():
    program = (
        "from progan_jax.runtime.command_line import run\nrun(lambda: print('told'))"
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


def test_the_address_of_a_bucket_is_no_folder():
    done = run_main("--config=configs/digits.py", "--workdir=gs://b/run")
    assert done.returncode == 2
    assert done.stderr == (
        "error: --workdir=gs://b/run: only mounted folders can be used; mount it first "
        "(gcsfuse for gs://, see docs/tpu.md) and give for example "
        "--workdir=/mnt/b/run\n"
    )
    assert not (ROOT / "gs:").exists()


def test_help_lists_the_flags():
    done = run_main("--help")
    assert "--workdir" in done.stdout
    assert "Traceback" not in done.stderr + done.stdout


def test_explain_runs_from_another_folder(tmp_path):
    done = run_main(
        f"--config={ROOT / 'configs' / 'digits.py'}", "--mode=explain", cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert "32x32" in done.stdout
    assert not list(tmp_path.iterdir())
