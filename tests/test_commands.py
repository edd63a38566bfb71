"""The command progan_jax, typed into a real process."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from progan_jax.__main__ import commands, main

ROOT = Path(__file__).parents[1]
# Runs the command, and prints what it has imported.
PROGRAM = (
    "import sys\nfrom progan_jax.__main__ import main\n"
    "try:\n    main()\nfinally:\n    print(*sys.modules, file=sys.stderr)\n"
)


def run(*arguments, cwd, program=("-m", "progan_jax")):
    return subprocess.run(
        [sys.executable, *program, *arguments],
        capture_output=True,
        text=True,
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )


@pytest.mark.parametrize("arguments", [(), ("--help",), ("-h",), ("help",)])
def test_help_has_a_short_line_for_every_command(arguments, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["progan_jax", *arguments])
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    main()
    output = capsys.readouterr().out
    rows = re.findall(r"^  (\w+) +[A-Z].+[.?]$", output, re.MULTILINE)
    mains = (ROOT / "progan_jax" / "tools").glob("*.py")
    tools = {p.stem for p in mains if "\nif __name__" in p.read_text()}
    assert rows[0] == "train"
    assert sorted(rows) == sorted({"run", *tools})
    assert all(len(line) <= 100 for line in output.splitlines())


def test_help_imports_nothing_heavy(tmp_path):
    done = run("--help", cwd=tmp_path, program=("-c", PROGRAM))
    roots = {name.split(".")[0] for name in done.stderr.split()}
    assert "progan_jax" in roots
    assert not roots & {"jax", "numpy", "absl", "ml_collections", "PIL", "flax"}


@pytest.mark.parametrize(
    ("name", "fix"),
    [
        ("smaple", "did you mean sample?"),
        ("inspect", "did you mean inspect_data?"),
        ("prepare-data", "did you mean prepare_data?"),
        ("prepare_flags", "did you mean prepare_data?"),
        ("xyz", "see progan_jax --help"),
    ],
)
def test_an_unknown_command_is_one_line_with_the_nearest(
    name, fix, monkeypatch, capsys
):
    monkeypatch.setattr(sys, "argv", ["progan_jax", name, "--num=4"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert capsys.readouterr().err == f"error: {name!r} is not a command; {fix}\n"


def test_flags_alone_are_those_of_run(tmp_path):
    done = run("--config=digits", "--mode=test", cwd=tmp_path)
    assert done.returncode == 2
    expected = "error: flag --mode=test: value should be one of <train|eval|explain>"
    assert done.stderr.startswith(expected)


@pytest.mark.parametrize("name", ["run", "sample", "prepare_data"])
def test_a_command_explains_itself(name, tmp_path):
    done = run(name, "--help", cwd=tmp_path)
    assert done.stdout.startswith(commands()[name].read_text().split('"')[3][:30])
    assert "flags:" in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(commands()))
def test_every_command_explains_itself(name, tmp_path):
    test_a_command_explains_itself(name, tmp_path)


def test_a_command_gets_its_arguments_and_its_mistakes_their_code(tmp_path):
    done = run("sample", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (
        2,
        "error: one MODEL is needed, and 0 are given; see --help\n",
    )


def test_a_list_of_commands_that_nobody_reads_to_its_end_is_no_traceback():
    reading, writing = os.pipe()
    os.close(reading)
    ended = subprocess.run(
        [sys.executable, "-m", "progan_jax", "--help"],
        stdout=writing,
        stderr=subprocess.PIPE,
        text=True,
    )
    os.close(writing)
    assert (ended.returncode, ended.stderr) == (-signal.SIGPIPE, "")
