"""The versions that a run's record holds."""

import subprocess
from pathlib import Path

from progan_jax.runtime import environment

ROOT = Path(__file__).parents[2]


def test_a_checkout_reports_its_commit():
    command = ["git", "-C", ROOT, "rev-parse", "HEAD"]
    head = subprocess.run(command, capture_output=True, text=True).stdout.strip()
    assert (environment.environment()["git"] or "").removesuffix("+dirty") == head


def test_a_copy_without_a_repository_gets_its_commit_from_a_variable(
    tmp_path, monkeypatch
):
    copy = tmp_path / "environment.py"
    monkeypatch.setattr(environment, "__file__", str(copy))
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    monkeypatch.delenv("PROGAN_JAX_COMMIT", raising=False)
    assert environment.environment()["git"] is None
    monkeypatch.setenv("PROGAN_JAX_COMMIT", "0123abcd")
    assert environment.environment()["git"] == "0123abcd"
