"""Addresses of the Hugging Face Hub, against a stand-in for its library."""

import functools
import inspect
import sys

import huggingface_hub
import huggingface_hub.errors
import pytest

from progan_jax.errors import UserError
from progan_jax.inference.hub import download, parse_address, upload
from tests import hub


def test_an_address_is_a_repository_and_perhaps_a_revision():
    assert parse_address("source", "hf://me/my-net.1") == ("me/my-net.1", None)
    assert parse_address("source", "hf://me/net@v1.0") == ("me/net", "v1.0")
    assert parse_address("source", "hf://me/net@refs/pr/1")[1] == "refs/pr/1"
    wrong = ("hf://net", "hf://a/b/c", "hf://a/b@", "gs://a/b", "hf://ä/b", "hf://a/b ")
    for address in wrong:
        with pytest.raises(UserError, match=f"^OUT={address}: it must be hf://USER/"):
            parse_address("OUT", address)


def test_what_is_uploaded_is_downloaded_but_for_samples(tmp_path, monkeypatch):
    hub.install(monkeypatch, tmp_path / "hub")
    folder, wanted = tmp_path / "model", ("README.md", "generator.safetensors")
    folder.mkdir()
    for name in (*wanted, "snapshot.json", "samples.png"):
        (folder / name).write_text(name)
    for _ in range(2):  # The second is a new revision.
        url = upload("OUT", "hf://me/net", folder)
        assert url == "https://huggingface.co/me/net"
    found = download("source", "hf://me/net")
    assert hub.files(found) == sorted([*wanted, "snapshot.json"])
    assert (found / "snapshot.json").read_text() == "snapshot.json"


def test_g_and_d_of_the_training_are_downloaded_where_they_are_wanted(
    tmp_path, monkeypatch
):
    hub.install(monkeypatch, tmp_path)
    trained = ["discriminator.safetensors", "trained_generator.safetensors"]
    (tmp_path / "me/net").mkdir(parents=True)
    first = ["generator.safetensors", "snapshot.json"]
    for name in (*trained, *first):
        (tmp_path / "me/net" / name).write_text('{"carries_trained": true}')
    assert hub.files(download("source", "hf://me/net")) == first
    found = download("source", "hf://me/net", with_trained=True)
    assert hub.files(found) == sorted([*trained, *first])


def test_what_the_hub_lacks_is_reported_in_one_line(tmp_path, monkeypatch):
    hub.install(monkeypatch, tmp_path)
    (tmp_path / "me/other").mkdir(parents=True)
    for address, message in [
        ("hf://me/none", "there is no such repository or revision, or you may not"),
        ("hf://me/other@v2", "there is no such repository or revision"),
        ("hf://me/other", r"the repository has no snapshot\.json; name one that"),
    ]:
        with pytest.raises(UserError, match=f"^source={address}: {message}") as caught:
            download("source", address)
        assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match=r"^OUT=hf://me/a@v1: .*; leave out @v1$"):
        upload("OUT", "hf://me/a@v1", tmp_path)


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (OSError("no route.\n\nAnd much more\nto read."), "no route"),
        (RuntimeError(), "RuntimeError"),
    ],
)
def test_what_the_library_raises_becomes_one_line(tmp_path, monkeypatch, error, line):
    library = hub.install(monkeypatch, tmp_path)

    def fail(*args, **kwargs):
        raise error

    monkeypatch.setattr(library, "snapshot_download", fail)
    monkeypatch.setattr(library.HfApi, "create_repo", fail)
    for ask in (
        lambda: download("source", "hf://me/net"),
        lambda: upload("source", "hf://me/net", tmp_path),
    ):
        with pytest.raises(UserError, match=f"the Hub cannot be used: {line}; check"):
            ask()


def test_an_endpoint_that_does_not_answer_is_reported_in_one_line(
    tmp_path, monkeypatch
):
    download_from = functools.partial(
        huggingface_hub.snapshot_download,
        cache_dir=tmp_path,
        endpoint="http://localhost:9",
    )
    monkeypatch.setattr(huggingface_hub, "snapshot_download", download_from)
    with pytest.raises(UserError, match="the Hub cannot be used: ") as caught:
        download("source", "hf://me/net")
    assert "\n" not in str(caught.value)


def test_without_the_extra_a_line_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(UserError, match=r"not installed; pip install huggingface_hub$"):
        download("source", "hf://me/net")


def test_the_stand_in_has_the_signatures_and_errors_of_the_library(monkeypatch):
    inspect.signature(huggingface_hub.snapshot_download).bind(
        "me/net", revision=None, allow_patterns=["README.md"]
    )
    inspect.signature(huggingface_hub.HfApi.create_repo).bind(
        None, "me/net", exist_ok=True, private=True
    )
    inspect.signature(huggingface_hub.HfApi.upload_folder).bind(
        None, repo_id="me/net", folder_path=".", commit_message="Publish"
    )
    stand_in = hub.install(monkeypatch, None).errors
    named = {n: c for n, c in vars(stand_in).items() if isinstance(c, type)}
    for name, made in named.items():
        bases = [
            base.__name__ for base in getattr(huggingface_hub.errors, name).__mro__
        ]
        assert made.__bases__[0].__name__ in bases
