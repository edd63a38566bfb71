"""Recipes are found by name, wherever the package lies."""

import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from progan_jax.errors import UserError
from progan_jax.runtime.command_line import load_config
from progan_jax.runtime.recipes import find_config, recipe_names

ROOT = Path(__file__).parents[2]
DIGITS = ROOT / "configs" / "digits.py"


def test_every_file_of_the_folder_is_a_recipe_of_the_package():
    names = {p.stem for p in (ROOT / "configs").glob("*.py")} - {"__init__"}
    assert set(recipe_names()) == names
    for name in names:
        assert importlib.import_module(f"progan_jax.configs.{name}").get_config


@pytest.mark.parametrize(
    "name", ["digits", "digits.py", "configs/digits.py", "./configs/digits.py"]
)
def test_a_recipe_is_found_from_any_folder(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert Path(find_config(name)).samefile(DIGITS)
    assert load_config(name, ["--config.seed=7"]).data.name == "digits"


def test_an_argument_follows_the_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert load_config("ablation:celeba,a").schedule.start_resolution == 128
    assert find_config("folder:a/b:c").endswith("configs/folder.py:a/b:c")


def test_a_file_of_the_user_goes_before_a_recipe_of_its_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs").mkdir()
    mine = tmp_path / "configs" / "digits.py"
    mine.write_text(DIGITS.read_text() + "\n")
    for name in ("configs/digits.py", str(mine)):
        assert find_config(name) == name
        assert load_config(name).data.name == "digits"
    assert Path(find_config("digits")).samefile(DIGITS)


@pytest.mark.parametrize(
    "name", ["digts", "configs/none.py", "/tmp/none/digits.py", "digits.yaml", "."]
)
def test_other_names_list_the_recipes(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError) as error:
        find_config(name)
    assert str(error.value) == (
        f"--config={name}: there is no such recipe or file; recipes are ablation, "
        "base, celeba, celeba_hq, cifar10, cifar10_conditional, digits, folder, "
        "folder_small, lsun, lsun_bedroom, mnist_modes, stylegan_ablation, "
        "stylegan_celeba_hq, stylegan_digits, stylegan_ffhq, stylegan_folder, "
        "stylegan_lsun, stylegan_xl, stylegan_xl_ablation"
    )


def test_the_command_line_takes_names_from_any_folder(tmp_path):
    arguments = ["--config", "digits", "--config.model.resolution=16", "--mode=explain"]
    done = subprocess.run(
        [sys.executable, "-m", "progan_jax.main", *arguments],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr
    assert "16x16" in done.stdout
    assert "32x32" not in done.stdout
    assert not list(tmp_path.iterdir())


def test_nothing_imports_recipes_as_a_package_of_its_own():
    old = tuple(f"{verb} {'configs'}" for verb in ("from", "import"))
    for folder in ("progan_jax", "configs", "tests", "benchmarks", "docs"):
        for path in (ROOT / folder).rglob("*.py"):
            lines = [line.strip() for line in path.read_text().splitlines()]
            assert not any(line.startswith(old) for line in lines), path
