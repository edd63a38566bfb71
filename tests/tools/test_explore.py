"""Mistakes of who calls the tool; Gradio itself is not needed for them."""

import re
import sys
from types import SimpleNamespace

import jax
import pytest
from absl.testing import flagsaver

from progan_jax.errors import UserError
from progan_jax.inference.sampling import generator_from_snapshot
from progan_jax.inference.snapshot import write_snapshot
from progan_jax.models.common import init_generator
from tests.untrained import untrained


@pytest.fixture
def run(tiny_config, tmp_path):
    """A run's folder with one snapshot of random weights."""
    info = {
        "stage": {"resolution": 8, "alpha": 1.0},
        "options": tiny_config.model.to_dict(),
    }
    params = untrained(init_generator, generator_from_snapshot(info))
    folder = tmp_path / "run"
    write_snapshot(folder / "snapshots" / "000001_r008", jax.device_get(params), info)
    return folder


@pytest.fixture
def explore(import_tool, monkeypatch):
    """Returns a function that calls the tool where Gradio is what is given."""
    tool = import_tool("explore")

    def explore_by_flags(model, gradio, **flags):
        monkeypatch.setitem(sys.modules, "gradio", gradio)
        with flagsaver.flagsaver(**flags):
            tool.main(str(model))

    return explore_by_flags


def test_without_gradio_one_line_says_what_to_install(run, explore):
    message = r"^the page needs gradio, which is not installed; pip install gradio"
    with pytest.raises(UserError, match=message):
        explore(run, None)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"class": "1"}, "--class=1: this generator has no classes"),
        ({"snapshot": "x"}, "--snapshot=x: "),
        ({"model": "/no/such"}, "MODEL=/no/such: there is no such file"),
    ],
)
def test_mistakes_are_one_line(run, explore, flags, message):
    gradio = SimpleNamespace(__version__="99.0")
    with pytest.raises(UserError, match="^" + re.escape(message)) as error:
        explore(**{"model": run, "gradio": gradio, **flags})
    assert "\n" not in str(error.value)


def test_the_title_names_the_model_and_its_family(run, import_tool, monkeypatch):
    tool, titles = import_tool("explore"), []
    for name in ("keep_compiled", "make_explorer", "Answers", "start", "wait"):
        monkeypatch.setattr(tool, name, lambda *_: None)
    monkeypatch.setattr(tool, "build_page", lambda *given: titles.append(given[2]))
    monkeypatch.setattr(tool, "import_gradio", lambda: None)
    with flagsaver.flagsaver():
        tool.main(str(run))
    assert titles == [f"{run}: Progressive GAN"]
