"""A run's best snapshot on the Hub: the library itself, and a server that stands in."""

import json
import re
import sys

import pytest

import progan_jax
from progan_jax.errors import UserError
from progan_jax.inference.hub import check_login
from progan_jax.inference.snapshot import INFO, digest, write_best
from progan_jax.publication import BestOnHub
from progan_jax.train import train
from tests.hub_server import no_token, serving
from tests.measured_run import NAMES, run

__all__ = ["no_token", "run"]

FILES = ["README.md", "generator.safetensors", "samples.png", "snapshot.json"]


@pytest.fixture
def server(monkeypatch):
    with serving(monkeypatch) as server:
        yield server


def open_hub(run, said=None, licence="cc0-1.0", origin=None):
    said = [] if said is None else said
    return BestOnHub(run, "me/net", licence, origin or {}, said.append)


def test_each_new_best_snapshot_is_uploaded_once(run, server, tmp_path):
    said = []
    hub = open_hub(run, said)
    hub.offer()  # No snapshot was measured yet.
    for name in (NAMES[0], NAMES[0], NAMES[1]):
        write_best(run, name)
        hub.offer()
        hub._wait()
    hub.close()
    assert [sorted(commit) for commit in server.commits] == [FILES] * 2
    digests = [json.loads(commit[INFO])["sha256"] for commit in server.commits]
    assert [d["generator.safetensors"] for d in digests] == [
        digest(run / "snapshots" / name) for name in NAMES
    ]
    assert said == [
        f"{name}, the best so far, is published as {server.url}/me/net"
        for name in NAMES
    ]
    card = server.commits[0]["README.md"].decode()
    assert 'license: "cc0-1.0"' in card
    assert "| `swd_average` | `12.35` |" in card
    (tmp_path / "got").mkdir()
    for name, data in server.commits[1].items():
        (tmp_path / "got" / name).write_bytes(data)
    assert progan_jax.load(tmp_path / "got").resolution == 8


def test_a_new_repository_is_private(run, server):
    open_hub(run)
    (created,) = server.created
    assert (created["organization"], created["name"]) == ("me", "net")
    assert created.get("private", created.get("visibility")) in (True, "private")


def test_a_run_does_not_wait_for_an_upload_before_its_end(run, server):
    hub = open_hub(run)
    server.open.clear()
    for name in NAMES:  # The second comes while the first is on its way.
        write_best(run, name)
        hub.offer()
    assert server.commits == []
    server.open.set()
    hub.close()
    names = [json.loads(commit[INFO])["stage"] for commit in server.commits]
    assert [stage["resolution"] for stage in names] == [4, 8]


def test_what_fails_is_a_warning_with_a_command_and_is_tried_again(run, server, capsys):
    write_best(run, NAMES[0])
    hub = open_hub(run)
    server.refuses = "/commit/"
    hub.offer()
    hub._wait()
    warning = capsys.readouterr().err
    assert re.fullmatch(
        r"warning: config\.train\.push_to_hub=hf://me/net: the Hub cannot be used: .*; "
        rf"to upload it later: progan_jax publish {run} hf://me/net "
        rf"--snapshot={NAMES[0]} --licence=cc0-1\.0\n",
        warning,
    )
    server.refuses = None
    hub.close()
    assert len(server.commits) == 1
    assert capsys.readouterr().err == ""


def test_a_damaged_snapshot_costs_its_upload_alone(run, server, capsys):
    write_best(run, NAMES[0])
    (run / "snapshots" / NAMES[0] / "generator.safetensors").write_bytes(b"x")
    hub = open_hub(run)
    hub.offer()
    hub.close()
    assert "the best snapshot cannot be published (snapshot " in capsys.readouterr().err
    assert server.commits == []


def test_a_start_goes_on_where_the_last_one_ended(run, server):
    write_best(run, NAMES[0])
    hub = open_hub(run)
    hub.close()
    server.refuses = "/repos/create"  # As without a network.
    again = open_hub(run)
    again.close()
    assert len(server.commits) == 1


def test_what_the_hub_refuses_at_the_start_is_a_line(run, server):
    server.refuses = "/repos/create"
    with pytest.raises(
        UserError, match=r"^config\.train\.push_to_hub=hf://me/net: "
    ) as e:
        open_hub(run)
    assert "\n" not in str(e.value)
    assert not (run / "hub.json").exists()


def test_a_licence_is_needed_and_that_of_the_origin_stays(run, server):
    with pytest.raises(UserError, match=r"^config\.train\.hub_licence is missing: giv"):
        open_hub(run, licence="")
    own = {"licence": {"name": "CC BY-NC 4.0"}}
    with pytest.raises(UserError, match=r"hub_licence=mit: these weights are under CC"):
        open_hub(run, licence="mit", origin=own)
    assert "--licence" not in open_hub(run, licence="", origin=own)._command(run)


@pytest.mark.usefixtures("no_token")
def test_without_a_token_or_the_library_a_line_comes_first(monkeypatch):
    with pytest.raises(UserError, match=r"there is no token of the Hub; log in by 'hf"):
        check_login("config.train.push_to_hub", "hf://me/net")
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(UserError, match=r"not installed; pip install huggingface_hub$"):
        check_login("config.train.push_to_hub", "hf://me/net")


@pytest.fixture
def config(tiny_config):
    """A run that measures every tick."""
    tiny_config.schedule.start_resolution = 16
    tiny_config.schedule.total_kimg = 0.096
    tiny_config.eval.metrics, tiny_config.eval.best = "swd", "swd_average"
    tiny_config.eval.every_kimg, tiny_config.eval.num_images = 0.032, 16
    tiny_config.train.push_to_hub, tiny_config.train.hub_licence = "me/net", "mit"
    return tiny_config


@pytest.mark.usefixtures("shared_programs")
def test_a_run_leaves_its_best_snapshot_on_the_hub(config, server, tmp_path, capsys):
    train(config, tmp_path / "run")
    best = progan_jax.load(tmp_path / "run", "best")
    newest = json.loads(server.commits[-1][INFO])
    assert newest["stage"] == best.info["stage"]
    assert newest["licence"] == {"name": "mit"}
    assert "the best so far, is published as" in capsys.readouterr().out


@pytest.mark.usefixtures("shared_programs")
def test_a_hub_that_fails_costs_a_run_nothing(config, server, tmp_path, capsys):
    server.refuses = "/commit/"
    train(config, tmp_path / "run")
    rows = (tmp_path / "run" / "stats.jsonl").read_text().splitlines()
    assert len(rows) == 3
    assert "to upload it later: progan_jax publish " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train.push_to_hub": "me"}, "config.train.push_to_hub = 'me' must be USER/N"),
        ({"eval.best": ""}, "'me/net' needs a value that is measured in training, by"),
        ({"eval.every_kimg": 0.0}, "set config.eval.best and config.eval.every_kimg"),
        ({"train.hub_licence": ""}, "config.train.hub_licence is missing: give an ide"),
    ],
)
def test_mistakes_are_a_line_before_the_first_tick(
    config, server, tmp_path, changes, message
):
    config.update_from_flattened_dict(changes)
    with pytest.raises(UserError, match=re.escape(message)):
        train(config, tmp_path / "run")
    assert not (tmp_path / "run" / "stats.jsonl").exists()
