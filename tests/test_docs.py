"""The pages of docs/, as the site lists them."""

import io
import re
from contextlib import redirect_stdout
from pathlib import Path

import pytest
import yaml

from progan_jax.prepare.readers import DigitsReader, Subset
from progan_jax.prepare.writing import Settings, finish, write_pyramid

ROOT = Path(__file__).parents[1]
MKDOCS = ROOT / "mkdocs.yml"


def leaves(nav):
    for entry in nav:
        for value in entry.values():
            yield from leaves(value) if isinstance(value, list) else [value]


class Loader(yaml.SafeLoader):
    """Reads what the environment gives as what stands for it where it does not."""


Loader.add_constructor("!ENV", lambda loader, node: loader.construct_sequence(node)[-1])


def test_the_site_begins_with_its_index_and_lists_every_page_once():
    pages = list(leaves(yaml.load(MKDOCS.read_text(), Loader)["nav"]))
    assert pages[0] == "index.md"
    assert sorted(pages) == sorted(p.name for p in (ROOT / "docs").glob("*.md"))


@pytest.mark.parametrize("name", ["MyPhotos", "my-photos", "2024", "digits"])
def test_a_level_of_any_name_is_read_as_the_page_on_data_shows(tmp_path, name):
    reader = Subset(DigitsReader(32), range(3))
    reader.name = name
    settings, folder = Settings(32, channels=1), tmp_path / name
    shards = write_pyramid(reader, folder, settings, {}, 1, lambda num_images: None)
    finish(folder, reader, settings, {}, shards)
    page = (ROOT / "docs" / "data.md").read_text()
    (program,) = re.findall(
        r"```python\n(import tensorflow_datasets.*?)```", page, re.S
    )
    output = io.StringIO()
    with redirect_stdout(output):
        exec(program.replace("NAME", name).replace("DIR", str(tmp_path)), {})
    assert output.getvalue() == "3 (32, 32, 1) 0\n"
