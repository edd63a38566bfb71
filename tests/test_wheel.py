"""A wheel, built from this source: it has the recipes, and its command finds them."""

import os
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
def test_a_wheel_has_the_recipes_and_its_command_finds_them(tmp_path):
    build = [sys.executable, "-m", "build", "--wheel", f"--outdir={tmp_path}", ROOT]
    subprocess.run(build, check=True)
    (wheel,) = tmp_path.glob("*.whl")
    with ZipFile(wheel) as archive:
        names = archive.namelist()
        archive.extractall(tmp_path / "installed")
    recipes = {f"progan_jax/configs/{p.name}" for p in (ROOT / "configs").glob("*.py")}
    assert recipes <= set(names)
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"progan_jax"}
    done = subprocess.run(
        [sys.executable, "-m", "progan_jax", "--config=digits", "--mode=explain"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(tmp_path / "installed")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "32x32" in done.stdout
