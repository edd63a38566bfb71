"""Recipes, the modules of progan_jax.configs, and their files."""

from pathlib import Path

from progan_jax.errors import UserError

_FOLDER = Path(__file__).parents[1] / "configs"


def recipe_names() -> list[str]:
    """Returns the names of all recipes, sorted."""
    return sorted(p.stem for p in _FOLDER.glob("*.py") if p.stem != "__init__")


def find_config(name: str) -> str:
    """Returns the file of a configuration, with its argument if it has one.

    Args:
      name: NAME of a recipe or FILE, or either with :ARGUMENT. configs/NAME.py, and
        NAME.py, are the recipe where there is no such file.

    Raises:
      UserError: if there is neither a recipe nor a file of this name.
    """
    path, colon, argument = name.partition(":")
    recipes = recipe_names()
    if path not in recipes and Path(path).is_file():
        return name
    folder, stem = Path(path).parent, Path(path).stem
    known = stem in recipes and folder in (Path(), Path("configs"))
    if not known or Path(path).suffix not in ("", ".py"):
        raise UserError(
            f"--config={name}: there is no such recipe or file; recipes are "
            + ", ".join(recipes)
        )
    return f"{_FOLDER / stem}.py{colon}{argument}"
