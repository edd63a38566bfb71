"""The tool, as its user types it, on the golden StyleGAN."""

import numpy as np
import pytest
from absl.testing import flagsaver
from PIL import Image

from progan_jax.errors import UserError
from tests.styled import write_styled


@pytest.fixture
def show(import_tool, monkeypatch):
    tool = import_tool("truncation")
    monkeypatch.setattr(tool, "keep_compiled", lambda: None)

    def call(model, **flags):
        with flagsaver.flagsaver(**flags):
            tool.main(str(model))

    return call


def test_at_psi_0_all_seeds_have_one_image_unless_few_layers_are_truncated(
    show, tmp_path, capsys
):
    model, out = write_styled(tmp_path / "it", "fused"), tmp_path / "sheet.png"
    for cutoff, same in ((None, True), (2, False)):
        show(model, psi="0", seeds="1,2", truncation_cutoff=cutoff, out=str(out))
        assert capsys.readouterr().out.startswith(f"{out}: ")
        with Image.open(out) as sheet:
            pixels = np.asarray(sheet)[:, -132:-4]  # Of the last column.
        first, second = pixels[-264:-136], pixels[-132:-4]
        assert (first == second).all() == same


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"psi": "1,much"}, "--psi=much must be a number in [-2, 2]"),
        ({"psi": "3"}, "--psi=3.0 must be a number in [-2, 2]"),
        ({"psi": "nan"}, "--psi=nan must be a number in [-2, 2]"),
        ({"psi": ""}, "--psi= must be a number in [-2, 2]"),
        ({"seeds": "-1"}, "--seeds=-1 must be one or more whole numbers"),
        ({"truncation_cutoff": 7}, "--truncation_cutoff=7 must be a whole number from"),
        (
            {"model": "cifar10"},
            "truncation is for style-based generators, and",
        ),
    ],
)
def test_mistakes_are_one_line(show, tmp_path, flags, message):
    model = write_styled(tmp_path / "it", "fused")
    with pytest.raises(UserError) as refused:
        show(**{"model": model, **flags})
    assert str(refused.value).startswith(message)
    assert "\n" not in str(refused.value)
