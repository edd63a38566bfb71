"""What `make build` makes of this source: a wheel, an archive, and what PyPI shows."""

import os
import re
import subprocess
import sys
import tarfile
from email import message_from_bytes
from pathlib import Path
from zipfile import ZipFile

import pytest

ROOT = Path(__file__).parents[1]
HOME = "https://example.org/me/progan_jax"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The archive of the source, and the wheel that was built from it."""
    out = tmp_path_factory.mktemp("dist")
    build = [sys.executable, "-m", "build", f"--outdir={out}", ROOT]
    subprocess.run(build, check=True, env=os.environ | {"REPOSITORY_URL": HOME})
    (archive,), (wheel,) = out.glob("*.tar.gz"), out.glob("*.whl")
    return archive, wheel


def test_a_wheel_has_the_recipes_and_its_command_finds_them(built, tmp_path):
    with ZipFile(built[1]) as archive:
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


def test_an_archive_has_what_a_clone_has_but_for_hidden_files(built):
    with tarfile.open(built[0]) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True
    )
    if listed.returncode:
        pytest.skip("this is no clone")
    files = {name for name in listed.stdout.split("\n") if name[:1] not in ("", ".")}
    assert files - names == set()


def test_pypi_takes_both_files(built):
    check = [sys.executable, "-m", "twine", "check", "--strict", *map(str, built)]
    done = subprocess.run(check, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_links_of_the_description_lead_to_the_repository(built):
    with ZipFile(built[1]) as archive:
        (name,) = (n for n in archive.namelist() if n.endswith("/METADATA"))
        metadata = message_from_bytes(archive.read(name))
    text = metadata.get_payload()
    targets = re.findall(r"\]\(([^)]+)\)", text)
    assert len(targets) > 50
    for target in targets:
        assert target.startswith(("https://", "#")), target
    own = [t.removeprefix(f"{HOME}/") for t in targets if t.startswith(HOME)]
    kinds = {"blob", "raw"}
    for kind, revision, path in (target.split("/", 2) for target in own):
        assert (kind in kinds, revision) == (True, "HEAD")
        assert (ROOT / path.partition("#")[0]).exists(), path
        assert (kind == "raw") == path.endswith(".png")
    assert f"Source, {HOME}" in metadata.get_all("Project-URL")
