"""Messages that end a command: a line each, whatever the values in them hold."""

import pickle

import pytest

from progan_jax.errors import UserError, warn
from progan_jax.inference.publish import settle_licence
from progan_jax.runtime.command_line import parse_flags, report

HOSTILE = "mit\nx: y\r\x1b[2J\u2028z"
PLAIN = r"mit\nx: y\r\x1b[2J\u2028z"


def test_a_value_with_line_breaks_and_control_characters_is_one_error_line(capsys):
    with pytest.raises(UserError) as error:
        settle_licence({}, HOSTILE)
    report(str(error.value))
    assert f"--licence={PLAIN} is unknown" in str(error.value)
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_a_mistyped_flag_is_one_error_line(capsys):
    with pytest.raises(SystemExit):
        parse_flags(["program", f"--{HOSTILE}"])
    (line,) = capsys.readouterr().err.splitlines()
    assert r"mit\nx: y" in line or "mit x: y" in line


def test_a_warning_is_one_line_too(capsys):
    warn(f"{HOSTILE} is left out")
    assert capsys.readouterr().err == f"warning: {PLAIN} is left out\n"


def test_several_faults_are_a_line_each_here_and_in_another_process(capsys):
    error = pickle.loads(pickle.dumps(UserError("one\n", "two")))
    report(str(error))
    assert capsys.readouterr().err == "error: one\\n\nerror: two\n"


def test_names_in_any_script_stay_as_they_are():
    assert (
        str(UserError("caf\u00e9 \U0001f600 \udcff")) == "caf\u00e9 \U0001f600 \udcff"
    )
