"""The examples in docstrings, run as they are printed."""

import ast
import doctest
import importlib
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "progan_jax"
OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def has_examples(path):
    """Returns whether a docstring of a file has a prompt."""
    kinds = ast.Module | ast.ClassDef | ast.FunctionDef
    nodes = [n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, kinds)]
    return any(">>> " in (ast.get_docstring(node) or "") for node in nodes)


MODULES = [
    ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)
    for path in sorted(PACKAGE.rglob("*.py"))
    if "configs" not in path.parts and has_examples(path)
]


@pytest.mark.parametrize("name", MODULES)
def test_examples_of_docstrings_print_what_they_say(name, capsys):
    result = doctest.testmod(importlib.import_module(name), optionflags=OPTIONS)
    assert result.attempted
    assert not result.failed, capsys.readouterr().out


def test_what_a_newcomer_uses_first_has_examples():
    from progan_jax import load, to_uint8
    from progan_jax.inference.generator import TrainedGenerator

    first = [load, to_uint8, TrainedGenerator.__call__, TrainedGenerator.sample]
    assert all(">>> " in (thing.__doc__ or "") for thing in first)
