"""Who may import whom: the rooms of the house, read from the source."""

import ast
import re
from configparser import ConfigParser
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from progan_jax.models.families import FAMILIES

TESTS = Path(__file__).parent
PACKAGE = TESTS.parent / "progan_jax"
# Recipes are code of the user's, and no room: progan_jax/configs is a link to them.
FILES = {
    ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts): path
    for path in sorted(PACKAGE.rglob("*.py"))
    if "configs" not in path.parts
}
MODULES = {n: p for n, p in FILES.items() if not n.endswith(".__init__")}
# Packages with code, such as a family's; the package itself imports nothing at first.
PACKAGES = {
    name: path
    for name, path in FILES.items()
    if name.endswith(".__init__") and name.count(".") > 1 and path.stat().st_size
}
ALL = MODULES | PACKAGES
# From the ground up; rooms of one floor do not know each other.
FLOORS = (
    {"errors"},
    {"files"},
    {"weights", "images"},
    {"models", "runtime"},
    {"inference", "data"},
    {"prepare"},
    {"metrics", "training"},
    {"display"},
    {"evaluate", "explain", "publication"},
    {"record"},
    {"train"},
    {"main", "experiments"},
    {"tools"},
    {"__main__"},
)
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
HEAVY = {
    *("absl", "clu", "grain", "ml_collections", "orbax"),
    *("tensorflow", "tensorflow_datasets"),
}


@cache
def imports(path):
    """Returns the modules that a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path} has a relative import"
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            # `from package import module` needs the module alone.
            found |= inner if inner <= FILES.keys() else inner | {node.module}
    return found


def room_of(name):
    return name.split(".")[1]


def in_room(room):
    return [name for name in ALL if room_of(name) == room]


@cache
def arrows():
    """Returns the pairs of modules of which the first imports the second.

    A package with code stands for its `__init__`, on either side.
    """
    names = {n: n for n in MODULES} | {n.removesuffix(".__init__"): n for n in PACKAGES}
    return {
        (name, names[other])
        for name, path in ALL.items()
        for other in imports(path)
        if other in names and names[other] != name
    }


def roots(name):
    return {module.split(".")[0] for module in imports(ALL[name])}


def test_every_module_lies_in_a_room_of_the_plan():
    assert {room_of(name) for name in MODULES} == set(FLOOR)


def test_few_modules_lie_at_the_root(capsys):
    at_root = [name for name in MODULES if name.count(".") == 1]
    between = {(room_of(a), room_of(b)) for a, b in arrows()}
    between = {(a, b) for a, b in between if a != b}
    with capsys.disabled():
        print(
            f"\n{len(at_root)} modules at the root, {len(MODULES)} in all, "
            f"{len(between)} arrows between rooms, {len(circles())} circles, "
            f"{sum(len(upwards(name)) for name in ALL)} imports upwards"
        )
    assert len(at_root) <= 12


def circles():
    """Returns the modules that cannot be put in an order of imports."""
    left = {name: {b for a, b in arrows() if a == name} for name in ALL}
    while free := [name for name, needs in left.items() if not needs & left.keys()]:
        for name in free:
            del left[name]
    return sorted(left)


def test_no_modules_import_each_other_in_a_circle():
    assert not circles()


def upwards(name):
    """Returns the modules of rooms that a module may not import, and does."""
    return [
        other
        for a, other in arrows()
        if a == name
        and room_of(other) != room_of(name)
        and FLOOR[room_of(other)] >= FLOOR[room_of(name)]
    ]


@pytest.mark.parametrize("name", sorted(ALL))
def test_imports_go_downwards(name):
    assert not upwards(name)


@pytest.mark.parametrize("name", in_room("models"))
def test_models_import_models_and_the_ground(name):
    rooms = {room_of(other) for a, other in arrows() if a == name}
    assert rooms <= {"models", "weights", "files", "errors"}


@pytest.mark.parametrize(
    "name", ["common", "convolution", "layers", "official", "penalties", "transformer"]
)
def test_what_families_share_imports_no_family(name):
    name = f"progan_jax.models.{name}"
    assert not [other for a, other in arrows() if a == name and other.count(".") > 2]


def test_a_family_is_reached_through_families():
    inner = [a for a in ALL if re.match(r"progan_jax\.models\.\w+\.", a)]
    assert {name.split(".")[2] for name in inner} == set(FAMILIES)
    assert not [(a, b) for a, b in arrows() if room_of(a) != "models" and b in inner]


@pytest.mark.parametrize(
    "name", [n for room in ("inference", "weights", "models") for n in in_room(room)]
)
def test_sampling_imports_nothing_that_only_training_needs(name):
    assert not roots(name) & HEAVY


@pytest.mark.parametrize("name", in_room("weights"))
def test_no_module_reads_foreign_weights_with_pythons_own_unpickler(name):
    assert not roots(name) & {"pickle", "_pickle", "importlib", "copyreg"}


@pytest.mark.parametrize(
    ("library", "only"),
    [
        ("orbax", "progan_jax.runtime.checkpoint"),
        ("clu", "progan_jax.runtime.writers"),
        ("wandb", "progan_jax.runtime.writers"),
        ("datasets", "progan_jax.prepare.hf_reader"),
        ("huggingface_hub", "progan_jax.inference.hub"),
    ],
)
def test_one_module_alone_imports(library, only):
    assert [name for name in MODULES if library in roots(name)] == [only]


def test_gradio_is_imported_in_one_module_alone():
    users = [
        name for name, p in MODULES.items() if '_module("gradio")' in p.read_text()
    ]
    assert users == ["progan_jax.display.explorer"]
    assert not [name for name in MODULES if "gradio" in roots(name)]


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
    assert not [name for name in MODULES if "tensorflow" in roots(name)]


def test_meshes_are_made_in_one_module_alone():
    makers = [
        name for name, path in MODULES.items() if "make_mesh(" in path.read_text()
    ]
    users = {"progan_jax.train", "progan_jax.explain", "progan_jax.evaluate"}
    users |= {"progan_jax.tools.aot_tpu", "progan_jax.tools.train"}
    assert set(makers) - users == {"progan_jax.runtime.mesh"}


def test_files_are_short_and_none_is_called_utils():
    for name, path in MODULES.items():
        assert not name.endswith("utils")
        assert len(path.read_text().splitlines()) <= 500, name


def test_main_is_no_longer_than_100_lines():
    assert len(MODULES["progan_jax.main"].read_text().splitlines()) <= 100


@pytest.mark.parametrize(
    "path", sorted(TESTS.rglob("test_*.py")), ids=lambda path: path.stem
)
def test_tests_lie_where_their_module_lies(path):
    """As tests/training/test_stage.py, or test_stage_ahead.py for a part of it."""
    folder = path.parent.relative_to(TESTS)
    if folder in map(Path, ("", "benchmarks", "configs")):
        return  # Of the suite, or of what lies beside the package.
    names = [module.stem for module in (PACKAGE / folder).glob("*.py")]
    stem = path.stem.removeprefix("test_")
    assert any(stem == name or stem.startswith(f"{name}_") for name in names)
