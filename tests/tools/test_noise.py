"""The tool, as its user types it, on the golden StyleGAN."""

import pytest
from absl.testing import flagsaver
from PIL import Image

from progan_jax.errors import UserError
from tests.styled import write_styled


@pytest.fixture
def show(import_tool, monkeypatch):
    tool = import_tool("noise")
    monkeypatch.setattr(tool, "keep_compiled", lambda: None)

    def call(model, **flags):
        with flagsaver.flagsaver(**flags):
            tool.main(str(model))

    return call


def test_a_sheet_is_written_beside_the_snapshot(show, tmp_path, capsys):
    model = write_styled(tmp_path / "it", "fused")
    show(model, seeds="3", shown=2, draws=2, truncation_psi=1.0)
    path = model / "noise" / "it_seeds3.png"
    with Image.open(path) as sheet:
        width, height = sheet.size
    shown = "psi 1 on 4 layers, random noise"
    assert capsys.readouterr().out == f"{path}: {width}x{height}; {shown}\n"
    assert 3 * 132 < width < 4 * 132 and 132 < height < 2 * 132


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"seeds": "x"}, "--seeds=x must be one or more whole numbers"),
        ({"truncation_psi": -3.0}, "--truncation_psi=-3.0 must be a number in [-2, 2]"),
        ({"model": "cifar10"}, "noise is for style-based generators, and this one is"),
    ],
)
def test_mistakes_are_one_line(show, tmp_path, flags, message):
    model = write_styled(tmp_path / "it", "fused")
    with pytest.raises(UserError) as refused:
        show(**{"model": model, **flags})
    assert str(refused.value).startswith(message)
    assert "\n" not in str(refused.value)
