"""Models in zip files and by addresses, from a web server of this machine."""

import hashlib
import shutil
import zipfile

import numpy as np
import pytest

import progan_jax
from progan_jax.errors import UserError
from tests import hub
from tests.measured_run import NAMES, run
from tests.pickles import dumps, golden_networks
from tests.web_server import serving

__all__ = ["run"]


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("PROGAN_JAX_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def server(tmp_path):
    (tmp_path / "site").mkdir()
    with serving(tmp_path / "site") as server:
        server.folder = tmp_path / "site"
        yield server


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def pack(folder, path, prefix=""):
    with zipfile.ZipFile(path, "w") as archive:
        for file in folder.iterdir():
            archive.write(file, f"{prefix}{file.name}")


def test_a_zip_file_is_the_snapshot_in_it(run, tmp_path, cache):
    snapshot = run / "snapshots" / NAMES[0]
    expected = progan_jax.load(snapshot).sample(2, seed=1)
    for name, prefix in (("flat.zip", ""), ("folder.bin", "some/folder/")):
        pack(snapshot, tmp_path / name, prefix)
        g = progan_jax.load(tmp_path / name)
        np.testing.assert_array_equal(g.sample(2, seed=1), expected)
        assert g.name == name.partition(".")[0]
    unpacked = [path.name for path in (cache / "models").iterdir()]
    assert sorted(unpacked) == sorted(
        sha256(tmp_path / name) for name in ("flat.zip", "folder.bin")
    )


def test_an_address_is_downloaded_once(run, server):
    snapshot = run / "snapshots" / NAMES[0]
    pack(snapshot, server.folder / "digits.zip")
    url = f"{server.url}/digits.zip"
    g, again = progan_jax.load(url), progan_jax.load(url)
    assert server.asked == ["/digits.zip"]
    expected = progan_jax.load(snapshot).sample(2, seed=1)
    for found in (g, again):
        np.testing.assert_array_equal(found.sample(2, seed=1), expected)
    assert g.name == "digits"


OTHER = "0" * 64


def test_a_pickle_of_the_authors_is_opened_by_its_address(server):
    path = server.folder / "theirs.pkl"
    path.write_bytes(dumps(golden_networks("fused")))
    g = progan_jax.load(f"{server.url}/theirs.pkl", sha256=sha256(path))
    assert g.resolution == 16
    with pytest.raises(
        UserError, match=rf"^sha256={OTHER}: .* has {sha256(path)}; check"
    ):
        progan_jax.load(path, sha256=OTHER)


@pytest.mark.parametrize("other", ["", "0", f"sha256:{OTHER}", OTHER[1:], 5])
def test_what_is_no_sum_is_refused_before_a_download(server, other):
    with pytest.raises(UserError, match=f"^sha256={other} must be 64 hexadecimal dig"):
        progan_jax.load(f"{server.url}/digits.zip", sha256=other)
    assert not server.asked


def test_the_sum_may_be_that_of_the_weights_or_of_the_zip_file(run, server):
    snapshot = run / "snapshots" / NAMES[0]
    pack(snapshot, server.folder / "digits.zip")
    url = f"{server.url}/digits.zip"
    weights = sha256(snapshot / "generator.safetensors")
    for wanted in (weights, weights.upper(), sha256(server.folder / "digits.zip")):
        assert progan_jax.load(url, sha256=wanted).resolution == 4
    assert progan_jax.load(run, NAMES[0], sha256=weights).resolution == 4
    with pytest.raises(UserError, match=f"has {weights}; check the sum: the model"):
        progan_jax.load(run, NAMES[0], sha256="f" * 64)
    with pytest.raises(UserError, match=f"{url} has {weights} and [0-9a-f]* *; check"):
        progan_jax.load(url, sha256="f" * 64)


def test_a_new_file_at_an_address_is_downloaded_when_its_sum_is_given(run, server):
    first, second = (run / "snapshots" / name for name in NAMES)
    url = f"{server.url}/digits.zip"
    pack(first, server.folder / "digits.zip")
    assert progan_jax.load(url).resolution == 4
    pack(second, server.folder / "digits.zip")
    assert progan_jax.load(url).resolution == 4
    new = sha256(second / "generator.safetensors")
    assert progan_jax.load(url, sha256=new).resolution == 8
    assert progan_jax.load(url).resolution == 8
    assert len(server.asked) == 2


def test_a_download_with_another_sum_leaves_the_cached_file(run, server):
    first, second = (run / "snapshots" / name for name in NAMES)
    url = f"{server.url}/digits.zip"
    pack(first, server.folder / "digits.zip")
    assert progan_jax.load(url).resolution == 4
    pack(second, server.folder / "digits.zip")
    found = sha256(second / "generator.safetensors")
    with pytest.raises(
        UserError, match=rf"^sha256={OTHER}: {url} has {found} and .*; check"
    ):
        progan_jax.load(url, sha256=OTHER)
    assert progan_jax.load(url).resolution == 4
    assert len(server.asked) == 2


@pytest.mark.parametrize("whole", [True, False])
def test_a_first_download_with_another_sum_is_not_kept(run, server, cache, whole):
    path = server.folder / "digits.zip"
    pack(run / "snapshots" / NAMES[0], path)
    if not whole:
        path.write_bytes(path.read_bytes()[:-40])
    url = f"{server.url}/digits.zip"
    for _ in range(2):
        with pytest.raises(UserError, match=rf"{sha256(path)}; check the sum: "):
            progan_jax.load(url, sha256=OTHER)
    assert len(server.asked) == 2
    assert not list(cache.rglob("digits.zip"))


def test_a_repository_of_the_hub_is_compared_with_the_sum(run, tmp_path, monkeypatch):
    hub.install(monkeypatch, tmp_path / "hub")
    shutil.copytree(run / "snapshots" / NAMES[0], tmp_path / "hub/me/net")
    weights = sha256(tmp_path / "hub/me/net/generator.safetensors")
    assert progan_jax.load("hf://me/net", sha256=weights).resolution == 4
    text = f"sha256={OTHER}: hf://me/net has {weights}; check"
    with pytest.raises(UserError, match=text):
        progan_jax.load("hf://me/net", sha256=OTHER)


def hostile(path, kind, snapshot):
    """Writes an archive of a kind that is refused."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        if kind == "none":
            archive.writestr("a.txt", "x")
        if kind in ("two", "out"):
            archive.write(snapshot / "snapshot.json", "a/snapshot.json")
        if kind == "two":
            archive.write(snapshot / "snapshot.json", "b/snapshot.json")
        if kind == "out":
            archive.write(snapshot / "generator.safetensors", "a/../../../weights")
        if kind == "bomb":
            archive.write(snapshot / "snapshot.json", "snapshot.json")
            archive.writestr("generator.safetensors", b"\0" * 2**26)
    if kind == "cut":
        path.write_bytes(path.read_bytes() + b"x" * 30)
        pack(snapshot, path)
        path.write_bytes(path.read_bytes()[:-40])


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (
            "none",
            r"is a zip archive with no snapshot\.json, and must have one; unpack it",
        ),
        ("two", r"with 2 snapshot\.json, and must have one"),
        ("out", r"cannot be read \(generator\.safetensors: No such file"),
        ("bomb", r"cannot be unpacked .*unpacks to more than 4 times its size"),
        ("cut", r"is a zip archive that is cut or damaged"),
    ],
)
def test_an_archive_that_is_no_snapshot_is_one_line(
    run, tmp_path, cache, kind, message
):
    path = tmp_path / "x.zip"
    hostile(path, kind, run / "snapshots" / NAMES[0])
    with pytest.raises(UserError, match=message) as caught:
        progan_jax.load(path)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.rglob("weights"))
    assert not list(cache.rglob(".unpack_*"))


def test_what_an_address_lacks_is_one_line(server):
    (server.folder / "page").write_text("<!doctype html><p>Sign in")
    (server.folder / "g.safetensors").write_bytes(b"\x08" + b"\0" * 7 + b'{"a":{}}')
    for name, message in [
        ("absent.zip", "cannot be downloaded .HTTP Error 404"),
        ("page", "is a web page, and not"),
        ("g.safetensors", "is a safetensors file, and not"),
    ]:
        with pytest.raises(UserError, match=message) as caught:
            progan_jax.load(f"{server.url}/{name}")
        assert "\n" not in str(caught.value)
