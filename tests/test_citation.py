"""CITATION.cff, in the form of version 1.2.0 of its format."""

from configparser import ConfigParser
from pathlib import Path

import yaml

import progan_jax

ROOT = Path(__file__).parents[1]
CITATION = yaml.safe_load((ROOT / "CITATION.cff").read_text())


def test_it_has_the_required_fields_and_those_of_this_version():
    assert CITATION.keys() >= {"cff-version", "message", "title", "authors"}
    assert CITATION["cff-version"] == "1.2.0"
    assert CITATION["version"] == progan_jax.__version__
    setup = ConfigParser()
    setup.read(ROOT / "setup.cfg")
    # The second one is that of shipped weights.
    assert CITATION["license"] == setup["metadata"]["license"].split(" AND ")[0]
    assert [a["name"] for a in CITATION["authors"]] == [setup["metadata"]["author"]]


def test_its_references_are_the_papers_that_the_readme_links():
    readme = (ROOT / "README.md").read_text()
    for paper in CITATION["references"]:
        first, year = paper["authors"][0]["family-names"], paper["year"]
        assert f"[{first} et al. {year}]({paper['url']})" in readme
    assert len(CITATION["references"]) == 3
