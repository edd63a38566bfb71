"""The pages of docs/, as the site lists them."""

from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]


def leaves(nav):
    for entry in nav:
        for value in entry.values():
            yield from leaves(value) if isinstance(value, list) else [value]


def test_the_site_begins_with_its_index_and_lists_every_page_once():
    pages = list(leaves(yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"]))
    assert pages[0] == "index.md"
    assert sorted(pages) == sorted(p.name for p in (ROOT / "docs").glob("*.md"))
