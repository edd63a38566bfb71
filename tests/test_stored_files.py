"""Files of earlier versions, which docs/versions.md promises to read."""

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
from jax import export

import progan_jax
from progan_jax.data.sources import load
from progan_jax.inference.sampling import seeded_latents
from progan_jax.metrics.scoreboard import Scoreboard
from progan_jax.models.families import FAMILIES
from progan_jax.prepare.readers import DigitsReader, Subset
from progan_jax.prepare.writing import Settings, finish, write_pyramid
from progan_jax.runtime.command_line import list_fields, load_config
from progan_jax.training.stored_config import complete_config

GOLDEN = Path(__file__).parent / "golden"

FILES = GOLDEN / "files_of_0.1.0.zip"

RECIPES = GOLDEN / "recipes"


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stored")
    with zipfile.ZipFile(FILES) as archive:
        archive.extractall(folder)
    return folder


@pytest.fixture(scope="module")
def expected(stored):
    """What version 0.1.0 itself made of these files, by name."""
    with np.load(stored / "expected.npz") as file:
        return dict(file)


def assert_same(images, theirs):
    # XLA's code differs among processors and versions.
    np.testing.assert_allclose(images, theirs, atol=1e-4 * np.abs(theirs).max())


OPTIONS = {
    "progan": {},
    "stylegan": {"label": "class 1", "noise": "fixed"},
    "stylegan_xl": {"label": 1},
}


@pytest.mark.parametrize("family", OPTIONS)
def test_a_snapshot_makes_the_same_images(stored, expected, family):
    g = progan_jax.load(stored / family)
    assert_same(g.sample(2, seed=1, **OPTIONS[family]), expected[family])


def test_a_published_zip_file_makes_the_same_images(stored, expected, monkeypatch):
    monkeypatch.setenv("PROGAN_JAX_CACHE", str(stored / "cache"))
    g = progan_jax.load(stored / "published.zip")
    assert_same(g.sample(2, seed=1), expected["progan"])
    assert g.info["licence"] == {"name": "cc0-1.0"}


def test_a_prepared_set_has_the_same_images_and_classes(stored, expected):
    pyramid = load("set", str(stored), "train", 8, 100)
    assert sorted(pyramid.levels) == [4, 8]
    for side, level in pyramid.levels.items():
        np.testing.assert_array_equal(level[:], expected[f"set_{side}"])
    np.testing.assert_array_equal(pyramid.labels, expected["set_labels"])
    assert pyramid.class_names == tuple("0123456789")


def test_an_exported_program_makes_the_same_images(stored, expected):
    """For as long as JAX reads it: six months are its promise."""
    program = export.deserialize(bytearray((stored / "progan.stablehlo").read_bytes()))
    z = seeded_latents(1, 2, 8)
    assert_same(program.call(z), expected["progan"])


@pytest.mark.parametrize("family", FAMILIES)
def test_a_configuration_is_complete_and_keeps_its_values(stored, family):
    fields = json.loads((stored / f"{family}.config.json").read_text())
    completed = list_fields(complete_config(fields))
    for group, values in fields.items():
        if isinstance(values, dict):
            for name, value in values.items():
                assert completed[f"{group}.{name}"] == value
        else:
            assert completed[group] == values


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    """A folder with the set that the stored recipes name."""
    folder = tmp_path_factory.mktemp("sets")
    reader, settings = Subset(DigitsReader(16), range(40)), Settings(16)
    photos = folder / "photos"
    shards = write_pyramid(reader, photos, settings, {}, 1, lambda num_images: None)
    finish(photos, reader, settings, {}, shards)
    return folder


@pytest.mark.parametrize("name", sorted(p.stem for p in RECIPES.glob("*.txt")))
def test_a_recipe_that_train_wrote_has_the_same_fields(name, sets):
    def stored(suffix):
        path = RECIPES / f"{name}{suffix}"
        return path.read_text("utf-8").replace("/sets", str(sets))

    recipe = sets / f"{name}.py"
    recipe.write_text(stored(".txt"), "utf-8")
    fields, now = json.loads(stored(".json")), list_fields(load_config(str(recipe)))
    assert {field: now[field] for field in fields} == fields


def test_measured_values_are_found_again(stored):
    found = Scoreboard(stored / "measured").find(
        "000001_r016", "0" * 64, "swd", {"num_images": 64}
    )
    assert found == {"swd_average": 12.5}
