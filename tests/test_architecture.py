"""Who may import whom: the layers of the house, read from the source."""

import ast
import re
from configparser import ConfigParser
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "progan_jax"
MODULES = {
    ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts): path
    for path in PACKAGE.rglob("*.py")
    if path.name != "__init__.py"
}
LEAVES = ("data", "metrics", "runtime")
LOOP = (
    "main",
    "train",
    "evaluate",
    "figures",
    "inception_figures",
    "image_sources",
    "scoreboard",
    "protocols",
    "stage",
    "fitting",
    "initial",
    "compile_ahead",
    "compiler_options",
    "reporter",
    "record",
    "report",
    "progress",
    "video",
    "explorer",
    "explain",
    "workdir",
    "validation",
    "batch_rules",
    "agreement",
)
PURE = (
    "networks",
    "losses",
    "optimizer",
    "schedule",
    "state",
    "steps",
    "controls",
    "accumulation",
    "updates",
    "images",
    "reals",
)
# What a trained generator is used with: it stands without what training needs.
USE = (
    *("official", "trained", "trained_inputs", "loading", "sampling"),
    *("hub", "publishing", "model_card", "exporting"),
)
HEAVY = ("tensorflow", "tensorflow_datasets", "grain", "orbax", "absl", "clu")


def imports(path):
    """Returns the modules that a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
            found.add(node.module)
    return found


def in_rooms(rooms):
    prefixes = tuple(f"progan_jax.{room}" for room in rooms)
    return [
        name
        for name in sorted(MODULES)
        if any(name == p or name.startswith(p + ".") for p in prefixes)
    ]


def imported_rooms(name, rooms):
    prefixes = tuple(f"progan_jax.{room}" for room in rooms)
    return sorted(
        module
        for module in imports(MODULES[name])
        if any(module == p or module.startswith(p + ".") for p in prefixes)
    )


def test_rooms_are_not_empty():
    for room in (*LEAVES, *LOOP, *PURE, *USE):
        assert in_rooms([room]), room


@pytest.mark.parametrize("name", in_rooms(LEAVES))
def test_leaves_know_nothing_of_the_loop(name):
    assert not imported_rooms(name, [*LOOP, "config", "state", "steps", "schedule"])


@pytest.mark.parametrize("name", in_rooms(PURE))
def test_pure_modules_import_no_loop_and_no_heavy_library(name):
    assert not imported_rooms(name, [*LOOP, *LEAVES, "config"])
    roots = {module.split(".")[0] for module in imports(MODULES[name])}
    assert not roots & {*HEAVY, "ml_collections"}


@pytest.mark.parametrize("name", in_rooms(USE))
def test_use_knows_nothing_of_the_loop_and_no_heavy_library(name):
    assert not imported_rooms(name, [*LOOP, "config", "data", "metrics", "steps"])
    roots = {module.split(".")[0] for module in imports(MODULES[name])}
    assert not roots & {*HEAVY, "ml_collections"}


@pytest.mark.parametrize("name", in_rooms(["official"]))
def test_no_module_reads_official_files_with_pythons_own_unpickler(name):
    roots = {module.split(".")[0] for module in imports(MODULES[name])}
    assert not roots & {"pickle", "_pickle", "importlib", "copyreg"}


@pytest.mark.parametrize("name", sorted(set(MODULES) - set(in_rooms(["tools"]))))
def test_experiments_are_known_to_tools_alone(name):
    if name not in in_rooms(["experiments"]):
        assert not imported_rooms(name, ["experiments"])


@pytest.mark.parametrize("name", in_rooms(["report", "progress", "video", "explorer"]))
def test_what_shows_a_run_knows_nothing_of_training(name):
    training = ["train", "record", "reporter", "evaluate", "stage", "steps"]
    assert not imported_rooms(name, training)


@pytest.mark.parametrize("name", in_rooms(["networks"]))
def test_networks_know_no_loss_and_no_step(name):
    assert not imported_rooms(name, ["losses", "steps", "state", "schedule"])


@pytest.mark.parametrize(
    ("library", "only"),
    [
        ("orbax", "progan_jax.runtime.checkpoint"),
        ("clu", "progan_jax.runtime.logging"),
        ("huggingface_hub", "progan_jax.hub"),
    ],
)
def test_one_module_alone_imports(library, only):
    users = [
        name
        for name, path in MODULES.items()
        if any(module.split(".")[0] == library for module in imports(path))
    ]
    assert users == [only]


def test_gradio_is_imported_in_one_module_alone():
    users = [
        name for name, p in MODULES.items() if '_module("gradio")' in p.read_text()
    ]
    assert users == ["progan_jax.explorer.page"]
    for name, path in MODULES.items():
        assert not any(m.split(".")[0] == "gradio" for m in imports(path)), name


@cache
def homes():
    """Returns the distributions installed that bring each library."""
    return packages_distributions()


@cache
def declared():
    """Returns the distributions that setup.cfg asks for, extras included."""
    setup = ConfigParser()
    setup.read(PACKAGE.parent / "setup.cfg")
    lists = [setup["options"]["install_requires"]]
    lists += setup["options.extras_require"].values()
    lines = "\n".join(lists).replace("_", "-").split("\n")
    return {re.split(r"[\[<>=;]", line)[0].strip() for line in lines}


@pytest.mark.parametrize("name", sorted(MODULES))
def test_every_library_that_is_imported_is_declared(name):
    """Not brought along by another one, which may leave it out one day."""
    for library in {module.split(".")[0] for module in imports(MODULES[name])}:
        names = {home.replace("_", "-") for home in homes().get(library, [])}
        assert not names or names & {"progan-jax", *declared()}, library


def test_nothing_imports_tensorflow():
    for name, path in MODULES.items():
        assert not any(m.split(".")[0] == "tensorflow" for m in imports(path)), name


def test_meshes_are_made_in_one_module_alone():
    makers = [
        name for name, path in MODULES.items() if "make_mesh(" in path.read_text()
    ]
    users = {"progan_jax.train", "progan_jax.explain", "progan_jax.evaluate"}
    users |= {"progan_jax.tools.aot_tpu"}
    assert set(makers) - users == {"progan_jax.runtime.mesh"}


def test_files_are_short_and_none_is_called_utils():
    for name, path in MODULES.items():
        assert not name.endswith("utils")
        assert len(path.read_text().splitlines()) <= 500, name


def test_main_is_no_longer_than_100_lines():
    assert len(MODULES["progan_jax.main"].read_text().splitlines()) <= 100
