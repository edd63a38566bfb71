"""Which environment make uses, and what it installs there; nothing is installed."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
VERSION = "{}.{}".format(*sys.version_info)


@pytest.fixture
def plan(tmp_path):
    """Prints what make would do in a clone whose default Python is this one."""
    clone, bin_ = tmp_path / "clone", tmp_path / "bin"
    (clone / "constraints").mkdir(parents=True)
    bin_.mkdir()
    for name in ("Makefile", "setup.cfg", "pyproject.toml"):
        shutil.copy(ROOT / name, clone)
    (bin_ / "python3").symlink_to(sys.executable)
    own = {k: v for k, v in os.environ.items() if k not in ("PYTHON", "MAKEFLAGS")}
    own["PATH"] = f"{bin_}:{os.environ['PATH']}"

    def plan(*arguments, **environment):
        return subprocess.run(
            ["make", "--dry-run", *arguments],
            cwd=clone,
            env=own | environment,
            capture_output=True,
            text=True,
        ).stdout

    plan.clone = clone
    return plan


def made(text):
    """Returns the environments that a plan makes."""
    return re.findall(r"-m venv --clear (\S+)", text)


def mark(clone, folder, *names):
    (clone / folder).mkdir()
    for name in names:
        (clone / folder / name).touch()


def test_the_default_python_has_venv_and_one_asked_for_its_own(plan):
    assert made(plan("test")) == [".venv"]
    assert made(plan("test", f"PYTHON={sys.executable}")) == [f".venv-{VERSION}"]
    assert made(plan("test", PYTHON=sys.executable)) == [f".venv-{VERSION}"]


def test_an_environment_of_another_python_is_rebuilt(plan):
    mark(plan.clone, ".venv", "package-3.9", "tools-3.9")
    assert made(plan("test")) == [".venv"]


def test_an_environment_of_this_python_is_used_again(plan):
    mark(plan.clone, ".venv", f"package-{VERSION}", f"tools-{VERSION}")
    assert "install" not in plan("test")
    assert made(plan("test", f"PYTHON={sys.executable}")) == [f".venv-{VERSION}"]


@pytest.mark.parametrize("demo", ["demo", "demo-stylegan"])
def test_a_demonstration_installs_the_package_without_the_tools(plan, demo):
    assert re.findall(r"--editable (\S+)", plan(demo)) == ["."]
    assert re.findall(r"--editable (\S+)", plan("test")) == [".", "'.[dev]'"]


def test_tools_are_added_to_what_the_demonstration_has_installed(plan):
    mark(plan.clone, ".venv", f"package-{VERSION}")
    assert made(plan("test")) == []
    assert re.findall(r"--editable (\S+)", plan("test")) == ["'.[dev]'"]


def test_constraints_are_those_of_the_python(plan):
    pins = "py311" if VERSION == "3.11" else "py312"
    assert f"--constraint constraints/{pins}.txt" in plan("demo")
