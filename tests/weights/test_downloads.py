"""Downloads, from a web server of this machine."""

import hashlib

import pytest

from progan_jax.errors import UserError
from progan_jax.weights.downloads import ChangedError, UnreachableError, download
from tests.web_server import serving

DATA = bytes(range(256)) * 20_000  # Of several chunks.


@pytest.fixture
def server(tmp_path):
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "a.bin").write_bytes(DATA)
    with serving(tmp_path / "site") as server:
        yield server


def test_a_file_is_stored_as_it_is(server, tmp_path, capsys):
    path = tmp_path / "cache" / "b.bin"
    download(f"{server.url}/a.bin", path, hashlib.sha256(DATA).hexdigest())
    assert path.read_bytes() == DATA
    assert list(path.parent.iterdir()) == [path]
    printed = capsys.readouterr()
    assert printed.err == f"downloading {server.url}/a.bin into {path.parent}\n"
    assert printed.out == ""


def test_what_fails_leaves_the_earlier_file(server, tmp_path):
    path = tmp_path / "cache" / "b.bin"
    path.parent.mkdir()
    path.write_bytes(b"earlier")
    with pytest.raises(ChangedError, match=rf"SHA-256 is {'[0-9a-f]' * 64}, and not 0"):
        download(f"{server.url}/a.bin", path, "0")
    with pytest.raises(
        UnreachableError, match=r"cannot be downloaded \(HTTP Error 404"
    ):
        download(f"{server.url}/absent", path)
    server.cuts = True
    with pytest.raises(
        UnreachableError, match=r"cannot be downloaded \(IncompleteRead"
    ):
        download(f"{server.url}/a.bin", path)
    assert path.read_bytes() == b"earlier"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/a", "http://[", "http://"])
def test_an_address_that_does_not_answer_is_one_line(url, tmp_path):
    with pytest.raises(UnreachableError, match="check the address and the") as e:
        download(url, tmp_path / "a")
    assert "\n" not in str(e.value)


def test_a_cache_that_cannot_be_written_is_one_line(server, tmp_path):
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(UserError, match=r"cannot be written .* PROGAN_JAX_CACHE$"):
        download(f"{server.url}/a.bin", tmp_path / "file" / "a")
