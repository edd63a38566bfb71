"""The documentation: what its pages refer to exists."""

import ast
import io
import json
import re
from configparser import ConfigParser
from contextlib import redirect_stdout, suppress
from functools import cache
from pathlib import Path

import pytest
import yaml

import progan_jax
from progan_jax.configs import base
from progan_jax.models.families import FAMILIES
from progan_jax.prepare.readers import DigitsReader, Subset
from progan_jax.prepare.writing import Settings, finish, write_pyramid
from progan_jax.runtime.command_line import list_fields

ROOT = Path(__file__).parents[1]
MKDOCS = ROOT / "mkdocs.yml"
PAGES = [
    *sorted(ROOT.glob("*.md")),
    *sorted(ROOT.glob("docs/*.md")),
    *sorted(ROOT.glob("benchmarks/*.md")),
    *sorted(ROOT.glob("progan_jax/*/**/*.md")),
    *sorted(ROOT.glob("tests/golden/*.md")),
    *sorted(ROOT.glob("examples/*")),
    *sorted(ROOT.glob("notebooks/*.ipynb")),
]
# Where a page's paths may begin, such as those of `models/layers.py`.
BASES = [ROOT, ROOT / "progan_jax", ROOT / "configs", ROOT / "tests"]
# Of the authors, and of examples.
OTHERS = {
    *("dataset_tool.py", "generate_figures.py", "pretrained_example.py"),
    *("run_metrics.py", "calc_metrics.py", "run_stylemc.py", "train.py"),
    *("notes.py", "docs/logo.png", "runs/photos.py"),
}
SUFFIXES = {"html", "json", "jsonl", "png", "py", "safetensors"}
# Of all families: each has its own networks and losses.
FIELDS = {k: v for f in FAMILIES for k, v in list_fields(base.get_config(f)).items()}
GROUPS = {"config", *(field.partition(".")[0] for field in FIELDS if "." in field)}
NAME = r"`[A-Za-z_][\w.]*`"
FILE = r"`([\w/]+\.py)(?::[\w,]+)?`"


def text_of(page):
    """Returns the Markdown of a page, or that of a notebook's cells."""
    if page.suffix != ".ipynb":
        return page.read_text()
    cells = json.loads(page.read_text())["cells"]
    return "\n\n".join("".join(cell["source"]) for cell in cells)


def anchors(text):
    """Returns the names by which a page's headings can be linked."""
    prose = re.sub(r"^```.*?^```", "", text, flags=re.S | re.M)
    headings = re.findall(r"^#+ +(.+)$", prose, re.M)
    plain = [re.sub(r"[^\w\s-]", "", heading).strip().lower() for heading in headings]
    return {re.sub(r"\s+", "-", heading) for heading in plain}


def files(name):
    """Returns the files that a path on a page may mean."""
    if "/" not in name and name.endswith(".py"):
        return [
            path
            for folder in ("progan_jax", "configs", "tests", "benchmarks")
            for path in (ROOT / folder).rglob(name)
        ]
    return [path for base in BASES for path in base.glob(name.rstrip("/"))]


@cache
def definitions(path):
    """Returns what a file defines: `function`, `Class`, `member`, `Class.member`."""
    names = set()

    def visit(node, owner):
        for child in ast.iter_child_nodes(node):
            found, inner = set(), owner
            if isinstance(child, ast.ClassDef | ast.FunctionDef):
                found = {child.name}
                inner = child.name if isinstance(child, ast.ClassDef) else owner
            elif isinstance(child, ast.Assign | ast.AnnAssign):
                targets = getattr(child, "targets", None) or [child.target]
                found = {ast.unparse(target) for target in targets}
                if isinstance(node, ast.FunctionDef):  # Local, except attributes.
                    found = {t[5:] for t in found if t.startswith("self.")}
            names.update(found, {f"{owner}.{name}" for name in found if owner})
            visit(child, inner)

    visit(ast.parse(path.read_text()), None)
    return names


def module_file(name):
    """Returns the file of a module, which importing might register flags of."""
    path = ROOT.joinpath(*name.split("."))
    return next(filter(Path.is_file, [path.with_suffix(".py"), path / "__init__.py"]))


def exists(name):
    """Returns whether a dotted name is a module, or defined in one."""
    with suppress(StopIteration):
        return bool(module_file(name))
    owner, _, rest = name.partition(".")
    while rest:
        with suppress(StopIteration):
            if rest in definitions(module_file(owner)):
                return True
        part, _, rest = rest.partition(".")
        owner += f".{part}"
    return name.removeprefix("progan_jax.") in dir(progan_jax)


def broken_links(page, text):
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        path, _, anchor = target.partition("#")
        linked = page.parent / path if path else page
        if re.match(r"\w+:", target):
            continue
        if not linked.exists() or (
            anchor and anchor not in anchors(text_of(linked) if path else text)
        ):
            yield target


def missing_paths(page, text):
    roots = r"progan_jax|configs|tests|benchmarks|docs|examples|notebooks"
    found = set(re.findall(rf"(?<![\w/.~$-])((?:{roots})/[\w./*-]*\w)", text))
    found |= set(re.findall(FILE, text))
    placeholder = re.compile(r"[A-Z]{2,}")
    for path in sorted(found - OTHERS):
        if not files(path) and not placeholder.search(path):
            yield path


def missing_modules(page, text):
    found = set(re.findall(r"(?<![\w/.])(?:progan_jax|benchmarks)(?:\.\w+)+", text))
    found |= {f"progan_jax.{name}" for name in re.findall(r"`(tools\.\w+)", text)}
    for module, names in re.findall(r"from (progan_jax[\w.]*) import ([\w, ]+)", text):
        found |= {f"{module}.{name}" for name in names.split(", ")}
    found -= {"progan_jax.tools.X", "progan_jax.tools.COMMAND"}
    return [name for name in sorted(found) if not exists(name)]


def missing_names(page, text):
    """Finds names that a page says are in a file that does not define them."""
    claims = rf"((?:{NAME}(?:,? and |, ))*{NAME}) (?:in|of) \[?{FILE}"
    for names, path in re.findall(claims, text):
        for name in re.findall(r"`([\w.]+)`", names):
            if not name.endswith(".py") and not any(
                name in definitions(file) for file in files(path)
            ):
                yield f"{name} in {path}"
    for module, name in re.findall(r"`([a-z_]+)\.([A-Za-z_]+)(?![\w.])", text):
        paths = (
            [] if module in GROUPS else [*(ROOT / "progan_jax").rglob(f"{module}.py")]
        )
        if paths and name not in SUFFIXES.union(*map(definitions, paths)):
            yield f"{module}.{name}"


def missing_fields(page, text):
    """Finds fields of the configuration that configs/base.py lacks."""
    groups = "|".join(sorted(GROUPS - {"config"}))
    pattern = rf"(?:config\.|`)((?:{groups})\.\w+)"
    found = set(re.findall(pattern, text)) - OTHERS
    return [field for field in sorted(found) if field not in FIELDS]


def missing_flags(page, text):
    """Finds flags that the commands before them do not define."""
    pattern = r"\b(?:progan_jax\.tools\.|progan_jax )(\w+)((?:\\\n|[^\n`|;#])*)"
    for command, rest in re.findall(pattern, text):
        path = ROOT / "progan_jax" / "tools" / f"{command}.py"
        code = path.read_text() if path.exists() else None
        takes_fields = code and "run_with_overrides" in code
        for flag in re.findall(r"--(\w+)", rest.partition(" -- ")[0]):
            if (
                code
                and f'"{flag}"' not in code
                and not (takes_fields and flag == "config")
            ):
                yield f"{command} --{flag}"


def missing_references(page, text):
    """Finds what the site would leave out without an error."""
    for block in re.split(r"^::: ", text, flags=re.M)[1:]:
        entry = block.partition("\n\n")[0]
        name = entry.split()[0]
        if not exists(name):
            yield name
        for members in re.findall(r"members: \[(.*)\]", entry):
            missing = set(members.split(", ")) - definitions(module_file(name))
            yield from (f"{name}.{member}" for member in sorted(missing))


CHECKS = {
    broken_links: ["[x](absent.md)", "[x](data.md#absent)", "# A\n\n[x](#b)"],
    missing_paths: [
        "See docs/absent.md.",
        "`tests/*/absent.py`",
        "`progan_jax/absent/`",
        "`models/absent.py`",
        "`configs/absent.py:4,x`",
        "`absent.py`",
    ],
    missing_modules: [
        "`progan_jax.absent.load`",
        "progan_jax.load_all(1)",
        "python -m progan_jax.tools.absent --help",
        "python -m benchmarks.absent",
        "`tools.absent --flag`",
        "from progan_jax.configs import base, absent",
    ],
    missing_names: [
        "Code: `class_penalty` in `models/progan/losses.py`.",
        "`lerp` and `absent` in [`models/layers.py`](x)",
        "`Schedule.absent` in `training/schedule.py`",
        "`absent`, `lerp` of `models/layers.py`",
        "`sampling.Absent`",
    ],
    missing_fields: ["--config.optim.absent=1", "Set `schedule.absent`."],
    missing_flags: [
        "python -m progan_jax.tools.video RUN --absent",
        """
progan_jax sample runs/digits --num=64 \\
    --absent
""",
    ],
    missing_references: [
        "::: progan_jax.absent\n",
        "::: progan_jax.errors.Absent\n    options:\n      heading: x\n",
        "::: progan_jax.metrics.kid\n    options:\n      members: [kid, absent]\n",
    ],
}


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_what_a_page_refers_to_exists(page, check):
    assert not list(check(page, text_of(page)))


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_a_broken_reference_is_found(check):
    for example in CHECKS[check]:
        assert len(list(check(ROOT / "docs" / "x.md", example))) == 1, example


_INSTALLED = re.compile(r"pip install((?: (?!and\b|or\b|then\b)['\w][\w.'\[\]-]*)+)")


def installed(text):
    """Yields what the text says to install by name; a clone is installed as it is."""
    joined = re.sub(r'"\s*\n\s*f?"', "", text)  # Strings of several lines.
    for names in _INSTALLED.findall(joined):
        yield from names.replace("'", "").rstrip(".").split()


def test_what_to_install_are_libraries_of_an_index_that_the_extras_name():
    setup = ConfigParser()
    setup.read(ROOT / "setup.cfg")
    lines = "\n".join(setup["options.extras_require"].values()).split("\n")
    extras = {re.split(r"[<>=;]", line)[0] for line in lines}
    sources = [*(ROOT / "progan_jax").rglob("*.py"), *(ROOT / "configs").glob("*.py")]
    named = {p: set(installed(p.read_text("utf-8"))) for p in [*sources, *PAGES]}
    assert {p: names - extras for p, names in named.items() if names - extras} == {}
    assert len(set.union(*named.values())) >= 9


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


def test_the_page_on_pictures_names_each_of_them():
    named = re.findall(
        r"\]\(images/([\w.-]+)\)", (ROOT / "docs" / "pictures.md").read_text()
    )
    assert sorted(named) == sorted(p.name for p in (ROOT / "docs/images").iterdir())


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
