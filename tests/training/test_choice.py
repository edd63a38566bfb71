"""What is chosen for a set of images."""

import ast

import pytest

from progan_jax.errors import UserError
from progan_jax.prepare.photos import Images
from progan_jax.prepare.preparing import Limits, prepare
from progan_jax.prepare.readers import DigitsReader, Subset
from progan_jax.prepare.writing import Settings
from progan_jax.runtime.command_line import list_fields, load_config
from progan_jax.training.choice import (
    FEWEST,
    check_number,
    choose_config,
    choose_family,
    choose_resolution,
    describe,
    override,
    write_recipe,
)
from progan_jax.training.validation import validate


def images(number=600, side=512, classes=0):
    return Images(number, side, classes)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A set of 60 images in ten classes."""
    folder = tmp_path_factory.mktemp("sets") / "digits"
    reader = Subset(DigitsReader(32), range(60))
    settings = Settings(32, 3, "centre", "none", 128, strict=False)
    prepare("digits", reader, folder, settings, Limits(workers=1))
    return folder


@pytest.mark.parametrize("family", FEWEST)
@pytest.mark.parametrize("on_cpu", [True, False])
@pytest.mark.parametrize("number", [1500, 50_000])
def test_every_choice_is_a_valid_configuration(family, on_cpu, number, prepared):
    _, config = choose_config(family, prepared, images(number), 32, on_cpu)
    validate(config, 1)
    assert config.family == family
    assert describe(config)["family"] == family


@pytest.mark.parametrize("family", FEWEST)
def test_a_written_choice_is_the_same_configuration(family, prepared, tmp_path):
    recipe, config = choose_config(family, prepared, images(1500), 32, True)
    config.schedule.total_kimg = 12.5
    write_recipe(tmp_path / "chosen.py", recipe, config, "A heading.")
    read = load_config(str(tmp_path / "chosen.py"))
    assert list_fields(read) == list_fields(config)


@pytest.mark.parametrize(
    "name", ['q"""q', 'ends with "', r"back\N{x}", "back\\", "it's", "Grüße, 2024"]
)
def test_a_written_choice_takes_any_name_of_a_folder(name, prepared, tmp_path):
    folder = tmp_path / name
    folder.symlink_to(prepared)
    recipe, config = choose_config("progan", folder, images(1500), 32, True)
    write_recipe(tmp_path / "chosen.py", recipe, config, name)
    read = load_config(str(tmp_path / "chosen.py"))
    assert list_fields(read) == list_fields(config)
    source = (tmp_path / "chosen.py").read_text(encoding="utf-8")
    assert ast.get_docstring(ast.parse(source), clean=False) == name


@pytest.mark.parametrize("family", FEWEST)
@pytest.mark.parametrize("on_cpu", [True, False])
def test_the_path_of_a_set_may_have_commas(family, on_cpu, prepared, tmp_path):
    folder = tmp_path / "Holiday, 2024,tiny"
    folder.symlink_to(prepared)
    _, config = choose_config(family, folder, images(1500), 32, on_cpu)
    assert (config.data.name, config.model.resolution) == (folder.name, 32)


@pytest.mark.parametrize(
    ("side", "seconds", "expected"),
    [(512, 3600, 64), (512, 300, 32), (40, 3600, 32), (64, 3600, 64), (9, 3600, 16)],
)
def test_few_cores_take_at_most_64_pixels_and_no_more_than_the_images_have(
    side, seconds, expected
):
    assert choose_resolution("progan", images(side=side), True, seconds) == expected


def test_accelerators_take_more_pixels_with_more_images_and_time():
    def chosen(number, hours):
        return choose_resolution("stylegan", images(number), False, 3600 * hours)

    assert [chosen(600, 8), chosen(5000, 1), chosen(5000, 8)] == [128, 128, 256]


def test_few_images_are_augmented_and_many_are_not(prepared):
    few, many = (
        choose_config("progan", prepared, images(n), 32, True)[1].data.augment
        for n in (600, 20_000)
    )
    assert (few, many) == ("color,translation,cutout", "")


def test_folders_of_few_images_are_albums_and_not_classes(prepared):
    def classes(number):
        images = Images(number, 64, 10)
        return choose_config("progan", prepared, images, 32, True)[1].model.num_classes

    assert (classes(200), classes(300)) == (0, 10)


def test_the_users_fields_come_last(prepared):
    given = ["--config.model.fmap_max=8", "--config.data.mirror=false"]
    recipe, config = choose_config("progan", prepared, images(), 32, True, given)
    assert (config.model.fmap_max, config.data.mirror) == (8, False)
    config.schedule.total_kimg = 99.0
    again = override(config, recipe, ["--config.schedule.total_kimg=5"])
    assert again.schedule.total_kimg == 5


@pytest.mark.parametrize(("family", "number"), FEWEST.items())
def test_a_family_refuses_fewer_images_than_it_needs(family, number):
    check_number(family, images(number))
    with pytest.raises(
        UserError, match=rf"has \d+ images, and {family} needs {number:,}"
    ):
        check_number(family, images(number - 1))


def test_the_refusal_names_a_family_that_takes_so_few():
    with pytest.raises(UserError, match="or choose --family=progan"):
        check_number("stylegan_xl", images(100))
    with pytest.raises(UserError, match=r"add images$"):
        check_number("progan", images(3))


@pytest.mark.parametrize("family", FEWEST)
@pytest.mark.parametrize("on_cpu", [True, False])
def test_a_run_may_stop_below_the_resolution_of_its_set(family, on_cpu, prepared):
    _, config = choose_config(family, prepared, images(1500), 16, on_cpu)
    validate(config, 1)
    assert config.model.resolution == 16


def test_few_images_get_a_family_that_takes_them():
    assert choose_family(on_cpu=False, number=199) == "progan"
    assert choose_family(on_cpu=False, number=200) == "stylegan"
    assert choose_family(on_cpu=True, number=200) == "progan"
