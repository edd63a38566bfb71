"""What stands before the page: Gradio and a port."""

import sys
from types import SimpleNamespace

import pytest

from progan_jax.display.explorer import _Page, import_gradio, start
from progan_jax.errors import UserError
from progan_jax.inference.styles import Style


def test_gradio_that_is_missing_is_one_line(monkeypatch):
    monkeypatch.setenv("GRADIO_ANALYTICS_ENABLED", "True")
    monkeypatch.setitem(sys.modules, "gradio", None)
    with pytest.raises(UserError, match=r"pip install gradio$"):
        import_gradio()


def test_the_page_is_served_to_this_machine_alone_and_not_monitored(monkeypatch):
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "")
    given = {}
    blocks = SimpleNamespace(launch=lambda **options: given.update(options))
    theme = SimpleNamespace(Base=lambda **options: options)
    address = start(SimpleNamespace(themes=theme), blocks, 7860)
    assert address == "http://127.0.0.1:7860"
    assert given["server_name"] == "127.0.0.1"
    off = ("share", "pwa", "mcp_server", "enable_monitoring", "ssr_mode")
    assert not any(given[name] for name in off)
    assert given["footer_links"] == []


def test_a_server_that_does_not_start_is_one_line(monkeypatch):
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "")

    def launch(**_):
        raise ValueError("no\nluck.")

    theme = SimpleNamespace(Base=lambda **options: options)
    with pytest.raises(UserError, match=r"^--port=7860: .* \(no luck\); choose"):
        start(SimpleNamespace(themes=theme), SimpleNamespace(launch=launch), 7860)


@pytest.mark.parametrize(("still", "shown"), [("fixed", True), ("none", False)])
def test_noise_has_a_field_only_where_the_generator_has_noise(still, shown):
    generator = SimpleNamespace(
        num_layers=6,
        num_classes=0,
        resolution=8,
        still_noise=still,
        read_style=lambda: Style(0.7, 6, "none"),
    )
    answers = SimpleNamespace(explorer=SimpleNamespace(generator=generator))
    gradio = SimpleNamespace(
        Slider=lambda *_, **options: options, Radio=lambda *_, **options: options
    )
    *_, noise = _Page(gradio, answers, 0, None)._style_fields()
    assert noise["label"] == "Noise" and noise["visible"] == shown
