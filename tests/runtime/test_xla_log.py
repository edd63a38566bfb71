"""What reaches the terminal of the lines that XLA writes by itself."""

import os
import subprocess
import sys

import pytest

# XLA complains of constants that take more than a second to fold, as it does of
# programs that take two minutes to compile: by the same alarm.
SLOW = """
import jax, jax.numpy as jnp
def fold():
    x = jax.lax.iota(jnp.float32, 12_000)
    return jax.lax.reduce_window(x, 0.0, jax.lax.add, (101,), (1,), "VALID")
jax.jit(fold).lower().compile()
"""
ALARM = "slow_operation_alarm"


def run(imported, **variables):
    environment = {k: v for k, v in os.environ.items() if k != "TF_CPP_MIN_LOG_LEVEL"}
    # The tests' own flags leave constants unfolded.
    environment |= {"XLA_FLAGS": "", "JAX_ENABLE_COMPILATION_CACHE": "false"}
    return subprocess.run(
        [sys.executable, "-c", f"import {imported}\n{SLOW}"],
        capture_output=True,
        text=True,
        env=environment | variables,
        timeout=300,
    )


def test_alarms_of_slow_compiles_are_kept_from_the_users_of_commands():
    assert ALARM not in run("progan_jax.tools").stderr


@pytest.mark.parametrize(
    ("imported", "variables"),
    [("progan_jax", {}), ("progan_jax.tools", {"TF_CPP_MIN_LOG_LEVEL": "0"})],
)
def test_libraries_and_who_asks_see_them(imported, variables):
    assert ALARM in run(imported, **variables).stderr


def test_what_ends_the_process_is_printed_all_the_same():
    done = run("progan_jax.tools", XLA_FLAGS="--xla_no_such_flag=1")
    assert done.returncode != 0
    assert "Unknown flag in XLA_FLAGS: --xla_no_such_flag=1" in done.stderr
