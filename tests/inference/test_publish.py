"""Published snapshots: the same weights, a card, and a licence that stays."""

import hashlib
import json
import re

import jax
import numpy as np
import pytest
import yaml
from markdown_it import MarkdownIt
from PIL import Image

import progan_jax
from progan_jax.errors import UserError
from progan_jax.inference.load import open_snapshot
from progan_jax.inference.publish import (
    licence_identifier,
    model_card,
    settle_licence,
    write_publication,
)
from progan_jax.inference.sampling import generator_from_snapshot
from progan_jax.inference.snapshot import (
    read_snapshot,
    read_trained,
    write_snapshot,
)
from progan_jax.models.common import init_generator, to_weights
from progan_jax.models.families import import_network
from tests import hub
from tests.pickles import dumps, golden_networks
from tests.styled import write_styled
from tests.untrained import untrained

FILES = ["README.md", "generator.safetensors", "samples.png", "snapshot.json"]


@pytest.fixture
def snapshot(tiny_config, tmp_path):
    """A snapshot as a run on a machine with secrets in its paths leaves it."""
    tiny_config.data.data_dir = "/home/someone/sets"
    tiny_config.init_from = "/home/someone/run"
    tiny_config.optim.ema_decay = 0.5
    info = {
        "stage": {"resolution": 8, "alpha": 0.5, "nimg": 320},
        "options": tiny_config.model.to_dict(),
        "config": tiny_config.to_dict(),
        "dataset": {"name": "my|digits", "num_images": 1797, "fingerprint": "ab"},
        "initial": {"name": "000100_r032", "sha256": "cd"},
    }
    params = untrained(init_generator, generator_from_snapshot(info))
    folder = tmp_path / "000000_r008"
    params = jax.device_get(params)
    write_snapshot(folder, params, info, {"G": params, "D": params})
    return folder


def publish(snapshot, folder, **options):
    write_publication(
        snapshot, folder, {"name": "mit"}, title="Digits", source="hf://me/d", **options
    )
    return (folder / "README.md").read_text()


def card_of(snapshot, without=None, **fields):
    """Returns the card of a description with other fields."""
    generator = open_snapshot(snapshot)
    generator.info = {"licence": {"name": "mit"}} | generator.info | fields
    generator.info.pop(without, None)
    arguments = {"samples": "64 samples", "records": (), "base": {}}
    licence = licence_identifier(generator.info["licence"])
    return model_card("Digits", "hf://me/d", generator, licence, **arguments)


def metadata(card):
    """Reads the lines between the rules as the YAML that they are."""
    _, front, text = card.split("---\n", 2)
    return yaml.safe_load(front), text


def test_what_is_published_makes_the_same_images_bit_for_bit(snapshot, tmp_path):
    publish(snapshot, tmp_path / "out")
    assert hub.files(tmp_path / "out") == FILES
    ours, theirs = (progan_jax.load(f) for f in (snapshot, tmp_path / "out"))
    np.testing.assert_array_equal(ours.sample(3, seed=1), theirs.sample(3, seed=1))


def test_g_and_d_of_the_training_are_published_on_request_alone(snapshot, tmp_path):
    card = publish(snapshot, tmp_path / "all", with_trained=True)
    trained = ["discriminator.safetensors", "trained_generator.safetensors"]
    assert hub.files(tmp_path / "all") == sorted([*FILES, *trained])
    found, expected = read_trained(tmp_path / "all"), read_trained(snapshot)
    jax.tree.map(np.testing.assert_array_equal, found, expected)
    assert (
        "With `--config.init_from=hf://me/d` a run starts from the G and D in" in card
    )
    assert "init_from=hf" not in publish(snapshot, tmp_path / "alone")
    with pytest.raises(UserError, match="--with_training_nets: snapshot alone has no"):
        publish(tmp_path / "alone", tmp_path / "none", with_trained=True)
    assert not (tmp_path / "none").exists()


def test_samples_are_those_of_the_seed_that_the_card_names(snapshot, tmp_path):
    card = publish(snapshot, tmp_path / "out")
    assert "64 samples of seed 0, unchosen" in card
    with Image.open(tmp_path / "out" / "samples.png") as image:
        grid = np.asarray(image)
    bytes_ = progan_jax.to_uint8(progan_jax.load(snapshot).sample(64, seed=0))[..., 0]
    np.testing.assert_array_equal(grid[:8, :8], bytes_[0])
    np.testing.assert_array_equal(grid[-8:, -8:], bytes_[-1])


def test_the_card_has_licence_use_images_fields_and_metrics(snapshot, tmp_path):
    records = [
        {
            "metric": "swd",
            "settings": {"seed": 3},
            "values": {"swd_32": 1, "swd_16": 2},
        },
        {"metric": "fid", "settings": {"weights": "f0"}, "values": {"fid": 9.8765}},
    ]
    base = {"optim.ema_decay": 0.999, "seed": 1000}
    card = publish(snapshot, tmp_path / "out", records=records, base=base)
    head, text = metadata(card)
    assert head["license"] == "mit"
    assert head["library_name"] == "progan_jax"
    assert head["pipeline_tag"] == "unconditional-image-generation"
    assert {"progan", "jax"} <= set(head["tags"])
    assert text.startswith("\n# Digits\n")
    assert 'g = progan_jax.load("hf://me/d")\n' in text
    assert "| `name` | `my\\|digits` |\n| `num_images` | `1797` |" in text
    assert "| `real images shown, with repeats` | `320` |" in text
    assert "| `optim.ema_decay` | `0.5` | `0.999` |" in text
    assert "`seed`" not in text
    assert "| `name` | `000100_r032` |\n| `sha256` | `cd` |" in text
    assert '`swd`, measured with `{"seed": 3}`:\n\n| metric | value |' in text
    assert "| `swd_32` | `1` |\n| `swd_16` | `2` |\n\n`fid`, measured with" in text
    assert "| `fid` | `9.877` |\n" in text


def test_a_mark_follows_the_name_of_a_metric(snapshot, tmp_path):
    record = {"metric": "fid", "settings": {}, "values": {"fid": 9.0}}
    records = [record | {"mark": " (shares pretraining)"}]
    card = publish(snapshot, tmp_path / "out", records=records, base={})
    assert "`fid` (shares pretraining), measured with" in card


def test_paths_of_the_machine_that_trained_are_removed(snapshot, tmp_path):
    publish(snapshot, tmp_path / "out", base={})
    for file in (tmp_path / "out").iterdir():
        assert b"someone" not in file.read_bytes()
    info = json.loads((tmp_path / "out" / "snapshot.json").read_text())
    assert info["config"]["data"]["data_dir"] == info["config"]["init_from"] == ""
    assert info["config"]["optim"]["ema_decay"] == 0.5
    assert info["licence"] == {"name": "mit"}
    assert read_trained(tmp_path / "out") == {}  # Which it does not promise, either.


def test_the_card_names_the_files_of_frozen_networks(tmp_path, tiny_xl):
    table = "/home/someone/tables/imagenet.npz"
    tiny_xl.model.backbone_weights = "lite0=/home/someone/lite0.pth"
    tiny_xl.model.embedding_file = table
    info = {
        "family": "stylegan_xl",
        "stage": {"resolution": 16, "alpha": 1.0, "nimg": 320},
        "options": tiny_xl.model.to_dict(),
        "config": tiny_xl.to_dict(),
        "frozen_files": {"lite0": {"file": "lite0.pth", "sha256": "ab"}},
    }
    network = generator_from_snapshot(info)
    variables = jax.eval_shape(lambda key: init_g(key, network), jax.random.key(0))
    weights = to_weights(jax.tree.map(lambda x: np.ones(x.shape, x.dtype), variables))
    folder = tmp_path / "snapshot"
    write_snapshot(folder, weights, info)
    card = publish(folder, tmp_path / "out", base={})
    row = "| `lite0` | `lite0.pth, SHA-256 ab` |"
    assert "newest block" not in card  # Nothing fades in.
    assert f"## Frozen networks of D\n\n|  |  |\n| --- | --- |\n{row}" in card
    assert "| `class embeddings` | `from imagenet.npz at the start` |" in card
    for file in (tmp_path / "out").iterdir():
        assert b"someone" not in file.read_bytes()
    published = json.loads((tmp_path / "out" / "snapshot.json").read_text())
    for model in (published["options"], published["config"]["model"]):
        assert model["backbone_weights"] == ""
        assert model["embedding_file"] == "imagenet.npz"
    assert published["frozen_files"] == info["frozen_files"]


def init_g(key, network):
    labels = np.zeros((1, network.num_classes))
    return network.init(key, np.zeros((1, network.latent_size)), labels)


def test_the_authors_networks_keep_their_licence_in_json_and_card(tmp_path):
    pickle, folder, out = (tmp_path / n for n in ("theirs.pkl", "snapshot", "out"))
    pickle.write_bytes(dumps(golden_networks("cond")))
    params, info = import_network(pickle, "Gs")
    write_snapshot(folder, params, info)
    for wanted in (None, "cc-by-nc-4.0"):
        assert settle_licence(info, wanted) == info["licence"]
    with pytest.raises(UserError, match=r"^--licence=mit: these weights are under CC "):
        settle_licence(info, "mit")
    licence = settle_licence(info, None)
    write_publication(folder, out, licence, title="Theirs", source="out")
    head, text = metadata((out / "README.md").read_text())
    assert head["license"] == "cc-by-nc-4.0"
    assert "[CC BY-NC 4.0](https://creativecommons.org/licenses/by-nc/4.0/)" in text
    assert "NVIDIA Corporation" in text
    assert f"`{hashlib.sha256(pickle.read_bytes()).hexdigest()}`" in text
    assert "| `classes` | `5` |" in text
    assert json.loads((out / "snapshot.json").read_text())["licence"] == licence


def test_a_licence_is_asked_for_and_must_be_one_of_the_hubs():
    with pytest.raises(UserError, match=r"^--licence is missing: .* cc-by-4\.0"):
        settle_licence({}, None)
    for wanted in ("other", "MIT", "my own", "", "x\ny"):
        with pytest.raises(UserError, match="is unknown: give an identifier of the H"):
            settle_licence({}, wanted)
    assert settle_licence({}, "apache-2.0") == {"name": "apache-2.0"}


def test_what_the_hub_holds_is_opened_by_its_address(snapshot, tmp_path, monkeypatch):
    hub.install(monkeypatch, tmp_path / "hub")
    (tmp_path / "hub/me").mkdir(parents=True)
    publish(snapshot, tmp_path / "hub/me/digits")
    g = progan_jax.load("hf://me/digits@main")
    assert g.name == "me/digits@main"
    expected = progan_jax.load(snapshot).sample(2, seed=1)
    np.testing.assert_array_equal(g.sample(2, seed=1), expected)
    with pytest.raises(UserError, match="snapshot=best: hf://me/digits is not a run"):
        progan_jax.load("hf://me/digits", "best")


def test_weights_that_change_while_they_are_published_are_not_copied(
    snapshot, tmp_path, monkeypatch
):
    weights = snapshot / "generator.safetensors"
    open_as_it_was = open_snapshot

    def open_and_harm(folder):
        generator = open_as_it_was(folder)
        *same, last = weights.read_bytes()
        weights.write_bytes(bytes([*same, last ^ 1]))
        return generator

    monkeypatch.setattr("progan_jax.inference.publish.open_snapshot", open_and_harm)
    with pytest.raises(UserError, match=r"generator\.safetensors has changed since"):
        publish(snapshot, tmp_path / "out")


EVIL = "<img src=x onerror=alert(1)>\n\n# [hi](javascript:alert(1)) `|` _a_ \u202e\x00"


def rendered(card):
    """Returns the HTML of a card's text, as Markdown with raw HTML makes it."""
    reader = MarkdownIt("commonmark", {"html": True}).enable("table")
    return reader.render(metadata(card)[1])


def test_nothing_from_a_file_is_markup_in_the_card(snapshot, tmp_path):
    params, info = read_snapshot(snapshot)
    info["dataset"] |= {"name": EVIL, EVIL: EVIL, "class_names": [EVIL] * 3}
    info["initial"] = {"name": EVIL, "sha256": EVIL}
    info["licence"] = {"name": EVIL, "holder": EVIL, "url": "javascript:alert(1)"}
    info["config"][EVIL] = {EVIL: EVIL}
    info["options"]["topology"] = "progan"
    write_snapshot(tmp_path / "evil", params, info)
    records = [{"metric": EVIL, "settings": {EVIL: EVIL}, "values": {EVIL: 1}}]
    write_publication(
        *(tmp_path / "evil", tmp_path / "out", info["licence"]),
        **{"title": EVIL, "source": EVIL, "records": records, "base": {}},
    )
    card = (tmp_path / "out" / "README.md").read_text()
    html = rendered(card)
    assert "alert(1)" in html  # It is there, as text.
    found = re.findall(r"<(\w+)([^>]*)>", html)
    plain = {"h1", "h2", "p", "img", "a", "pre", "code", "table", "thead", "tbody"}
    assert {tag for tag, _ in found} <= plain | {"tr", "th", "td", "ol", "li"}
    links = [attributes for tag, attributes in found if tag == "a"]
    assert links == [' href="https://arxiv.org/abs/1710.10196"']
    (image,) = (attributes for tag, attributes in found if tag == "img")
    assert 'src="samples.png"' in image
    assert "onerror" not in image
    assert re.findall("<h[12]>(.*?)</h[12]>", html)[1:] == [
        *("Use", "Network", "Training images", "Initial networks", "Configuration"),
        *("Metrics", "Licence"),
    ]
    assert "\u202e" not in card
    assert "\x00" not in card


@pytest.mark.parametrize(
    ("url", "linked"),
    [
        ("https://example.org/a_b?c=d#e", True),
        ("http://example.org", False),
        ("javascript:alert(1)", False),
        ("https://example.org) [x](javascript:alert(1)", False),
        ("https://example.org\n", False),
        ("data:text/html,x", False),
        (7, False),
        (None, False),
    ],
)
def test_a_licence_is_linked_by_https_alone(snapshot, url, linked):
    text = card_of(snapshot, licence={"name": "My own", "url": url})
    assert (f"licensed under [My own]({url})." in text) == linked
    assert ("licensed under `my-own`." in text) != linked


@pytest.mark.parametrize("group", ["dataset", "initial", "source", "config"])
def test_a_description_without_fields_makes_a_shorter_card(snapshot, group):
    for fields in ({}, {"fingerprint": "ab"}):
        assert "## Licence" in card_of(snapshot, **{group: fields})
    assert "## Licence" in card_of(snapshot, without=group)


def test_the_card_names_the_classes(tiny_config, tmp_path):
    tiny_config.model.num_classes = 2
    info = {
        "stage": {"resolution": 4, "alpha": 1.0},
        "options": tiny_config.model.to_dict(),
        "dataset": {"name": "pets", "class_names": ["cat", "dog"]},
    }
    params = untrained(init_generator, generator_from_snapshot(info))
    write_snapshot(tmp_path / "pets", jax.device_get(params), info)
    card = publish(tmp_path / "pets", tmp_path / "out")
    assert "| `classes` | `2: 0 cat, 1 dog` |" in card
    g = progan_jax.load(tmp_path / "out")
    assert g.class_names == ("cat", "dog")
    (call,) = re.findall(r"^images = (g\.sample.*?)  #", card, re.MULTILINE)
    images = eval(call.replace("16", "2"), {"g": g})
    np.testing.assert_array_equal(images, g.sample(2, seed=1, label=0))


def test_the_card_says_how_its_samples_are_truncated(tmp_path):
    card = publish(write_styled(tmp_path / "stylegan", "plain"), tmp_path / "out")
    assert "64 samples of seed 0, unchosen; psi 0.7 on 8 layers, random noise" in card
    assert "| `truncation of samples` | `psi 0.7 on at most 8 layers` |" in card


def test_a_licence_that_the_hub_does_not_list_is_other_with_name_and_link(tmp_path):
    url = "https://example.org/licence"
    licence = {"name": "A Licence (non-commercial)", "url": url, "identifier": "other"}
    pickle, folder, out = (tmp_path / n for n in ("theirs.pkl", "snapshot", "out"))
    pickle.write_bytes(dumps(golden_networks("cond")))
    params, info = import_network(pickle, "Gs")
    write_snapshot(folder, params, info | {"licence": licence})
    settled = settle_licence({"licence": licence}, None)
    assert settled == licence
    write_publication(folder, out, settled, title="Theirs", source="out")
    head, _ = metadata((out / "README.md").read_text())
    assert head["license"] == "other" and head["license_link"] == url
    assert head["license_name"] == "a-licence-non-commercial"
    with pytest.raises(UserError, match=r"--licence=cc0: these weights are under A L"):
        settle_licence({"licence": licence}, "cc0")
