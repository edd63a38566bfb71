"""Where compiled programs are kept, and when not."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import jax
import pytest

from progan_jax.runtime.compiler import keep_compiled


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A user's home without a cache, and JAX without one either."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    names = ("jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs")
    before = {name: getattr(jax.config, name) for name in names}
    jax.config.update("jax_compilation_cache_dir", None)
    yield tmp_path
    for name, value in before.items():
        jax.config.update(name, value)


def kept_in():
    keep_compiled()
    return jax.config.jax_compilation_cache_dir


def assert_warned(capsys, words):
    errors = capsys.readouterr().err
    assert errors.startswith("warning: compiled programs are not kept: ")
    assert words in errors
    assert errors.count("\n") == 1


def test_programs_are_kept_in_the_users_cache_alone(home, capsys):
    folder = home / ".cache" / "progan_jax" / "xla"
    assert kept_in() == str(folder)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert capsys.readouterr().err == ""


def test_xdg_cache_home_is_used_and_the_shared_cache_is_not(home, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(home / "xdg"))
    monkeypatch.setenv("PROGAN_JAX_CACHE", str(home / "shared"))
    assert kept_in() == str(home / "xdg" / "progan_jax" / "xla")
    assert not (home / "shared").exists()


@pytest.mark.parametrize("named", ["", "/somewhere/else"])
def test_a_folder_that_the_user_has_named_stays(home, named):
    jax.config.update("jax_compilation_cache_dir", named)
    assert kept_in() == named
    assert not (home / ".cache").exists()


@pytest.mark.parametrize("mode", [0o770, 0o707])
def test_a_folder_that_others_may_write_is_refused(home, capsys, mode):
    folder = home / ".cache" / "progan_jax" / "xla"
    folder.mkdir(parents=True)
    folder.chmod(mode)
    assert kept_in() is None
    assert_warned(capsys, f"{folder} belongs to another user or others may write it")


def test_a_folder_of_another_user_is_refused(home, capsys, monkeypatch):
    other = os.geteuid() + 1
    monkeypatch.setattr(os, "geteuid", lambda: other)
    assert kept_in() is None
    assert_warned(capsys, "belongs to another user")


def test_without_a_place_for_it_nothing_is_kept(home, capsys):
    (home / ".cache").write_text("no folder")
    assert kept_in() is None
    assert_warned(capsys, ".cache")


def test_a_second_process_loads_what_the_first_has_compiled(tmp_path):
    code = (
        "import jax, jax.numpy as jnp\n"
        "from progan_jax.runtime import compiler\n"
        "compiler._MIN_COMPILE_SEC = 0.0\n"
        "compiler.keep_compiled()\n"
        "hits = []\n"
        "jax.monitoring.register_event_listener(lambda e, **_: hits.append(e))\n"
        "jax.jit(lambda x: x * 2 + 1)(jnp.ones(3)).block_until_ready()\n"
        "print(hits.count('/jax/compilation_cache/cache_hits'))"
    )
    environment = os.environ | {"HOME": str(tmp_path)}
    environment.pop("JAX_COMPILATION_CACHE_DIR")
    environment.pop("XDG_CACHE_HOME", None)
    hits = [
        int(
            subprocess.run(
                [sys.executable, "-c", code],
                cwd=Path(__file__).parents[2],
                env=environment,
                capture_output=True,
                text=True,
                check=True,
            ).stdout
        )
        for _ in range(2)
    ]
    assert hits[0] == 0 < hits[1]
