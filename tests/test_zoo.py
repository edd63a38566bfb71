"""The page of the model zoo, against the networks that ship with the package."""

import hashlib
import re
from pathlib import Path

import pytest

import progan_jax
from progan_jax.inference.load import list_shipped

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "zoo.md").read_text()
FIELDS = {"open", "network", "data", "recipe", "command", "figures", "cost", "limits"}
FIELDS |= {"licence of the weights", "SHA-256 of the weights"}


def section(name):
    return PAGE.partition(f"\n## {name}\n")[2].partition("\n## ")[0]


def entry(name):
    """Returns the table of an entry."""
    return dict(re.findall(r"^\| ([^|]+) \| (.+) \|$", section(name), re.M))


def test_every_network_that_ships_has_an_entry():
    assert set(list_shipped()) <= set(re.findall(r"^## (.+)$", PAGE, re.M))


@pytest.mark.parametrize("name", list_shipped())
def test_an_entry_has_all_fields_and_those_of_the_files(name):
    fields = entry(name)
    assert fields.keys() == FIELDS
    folder = ROOT / "progan_jax" / "pretrained" / name
    weights = (folder / "generator.safetensors").read_bytes()
    digest = hashlib.sha256(weights).hexdigest()
    assert fields["SHA-256 of the weights"] == f"`{digest}`"
    assert set(re.findall("[0-9a-f]{64}", section(name))) == {digest}
    g = progan_jax.load(name, sha256=digest)
    licence = fields["licence of the weights"]
    assert g.info["licence"]["name"].lower() == licence.lower()
    assert f"{g.resolution}x{g.resolution}" in fields["network"]


@pytest.mark.parametrize("name", list_shipped())
def test_the_figures_and_the_cost_are_those_of_the_results(name):
    results = (ROOT / "docs" / "results.md").read_text()
    fields = entry(name)
    numbers = re.findall(r"\d+\.\d+", fields["figures"] + fields["cost"])
    assert numbers
    for number in numbers:
        assert number in results, number
