"""The notebook: it has no outputs, uses what there is, and runs from top to bottom."""

import ast
import importlib
import json
import os
from pathlib import Path

import jax
import nbclient
import nbformat
import pytest

from progan_jax.inference.sampling import generator_from_snapshot
from progan_jax.inference.snapshot import write_snapshot
from progan_jax.models.common import init_generator

ROOT = Path(__file__).parents[1]
NOTEBOOK = ROOT / "notebooks" / "sample.ipynb"


def code_cells():
    cells = json.loads(NOTEBOOK.read_text())["cells"]
    return [cell for cell in cells if cell["cell_type"] == "code"]


def syntax_trees():
    return [ast.parse("".join(cell["source"])) for cell in code_cells()]


def nodes(kind):
    return [n for tree in syntax_trees() for n in ast.walk(tree) if isinstance(n, kind)]


def test_the_notebook_has_cells_without_outputs():
    assert code_cells()
    for cell in code_cells():
        assert cell["outputs"] == []
        assert cell["execution_count"] is None


def test_it_opens_a_network_by_default():
    values = [
        node.value.value
        for node in nodes(ast.Assign)
        if isinstance(node.targets[0], ast.Name) and node.targets[0].id == "MODEL"
    ]
    assert values == ["cifar10"]


def test_it_uses_only_what_the_package_has():
    used = {
        (node.value.id, node.attr)
        for node in nodes(ast.Attribute)
        if isinstance(node.value, ast.Name) and node.value.id == "progan_jax"
    }
    for node in nodes(ast.ImportFrom):
        if node.module.startswith("progan_jax"):
            used |= {(node.module, alias.name) for alias in node.names}
    assert used
    for module, name in used:
        assert hasattr(importlib.import_module(module), name), (module, name)


@pytest.mark.slow
@pytest.mark.parametrize("channels, classes", [(1, 0), (3, 2)])
def test_it_runs(tiny_config, tmp_path, channels, classes):
    model = tiny_config.model.to_dict() | {"channels": channels, "num_classes": classes}
    info = {"stage": {"resolution": 8, "alpha": 1.0}, "options": model}
    params = init_generator(jax.random.key(0), generator_from_snapshot(info))
    write_snapshot(tmp_path / "snapshot", jax.device_get(params), info)
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    for cell in notebook.cells:
        cell.source = cell.source.replace('"cifar10"', repr(str(tmp_path / "snapshot")))
    # The kernel finds the package as it does where it is installed.
    paths = [str(ROOT), os.environ.get("PYTHONPATH", "")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))}
    client = nbclient.NotebookClient(notebook, timeout=300)
    client.execute(cwd=str(tmp_path), env=environment)
    shown = [
        output.data
        for cell in notebook.cells
        if cell.cell_type == "code"
        for output in cell.outputs
        if "image/png" in output.get("data", {})
    ]
    assert len(shown) == 3 + classes
