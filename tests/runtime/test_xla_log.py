"""What reaches the terminal of the lines that XLA writes by itself."""

import os
import subprocess
import sys

import pytest

LEVEL = "TF_CPP_MIN_LOG_LEVEL"  # XLA reads it when it is loaded; 3 leaves fatal lines.


def run(imported, code, **variables):
    environment = {k: v for k, v in os.environ.items() if k != LEVEL}
    return subprocess.run(
        [sys.executable, "-c", f"import {imported}\n{code}"],
        capture_output=True,
        text=True,
        env=environment | {"XLA_FLAGS": ""} | variables,
        timeout=300,
    )


@pytest.mark.parametrize(
    ("imported", "variables", "level"),
    [
        ("progan_jax.tools", {}, "3"),
        ("progan_jax.tools", {LEVEL: "0"}, "0"),
        ("progan_jax", {}, "None"),
    ],
)
def test_commands_are_quiet_and_libraries_and_who_asks_are_not(
    imported, variables, level
):
    code = f"import os; print(os.environ.get({LEVEL!r}))"
    assert run(imported, code, **variables).stdout.strip() == level


def test_what_ends_the_process_is_printed_all_the_same():
    code = "import jax; jax.devices()"
    done = run("progan_jax.tools", code, XLA_FLAGS="--xla_no_such_flag=1")
    assert done.returncode != 0
    assert "Unknown flag in XLA_FLAGS: --xla_no_such_flag=1" in done.stderr
