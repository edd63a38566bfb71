"""The tool, as its user types it, on the golden StyleGAN."""

import pytest
from absl.testing import flagsaver
from PIL import Image

from progan_jax.errors import UserError
from tests.styled import write_styled


@pytest.fixture
def mix(import_tool, monkeypatch):
    tool = import_tool("style_mix")
    monkeypatch.setattr(tool, "keep_compiled", lambda: None)

    def call(model, **flags):
        with flagsaver.flagsaver(**flags):
            tool.main(str(model))

    return call


def test_a_sheet_is_written_beside_the_snapshot(mix, tmp_path, capsys):
    model = write_styled(tmp_path / "it", "fused", tuple("abcde"))
    mix(model, rows="0", columns="1,2", layers="coarse,3-5", **{"class": "b"})
    path = model / "mixes" / "it_seeds0_1-2_class1_layerscoarse+3-5.png"
    with Image.open(path) as sheet:
        width, height = sheet.size
    shown = "psi 0.7 on 4 layers, fixed noise"
    assert capsys.readouterr().out == f"{path}: {width}x{height}; {shown}\n"
    # A label, and three columns; a heading row, and two with headings.
    assert 3 * 128 < width < 4 * 128 and 3 * 128 < height < 5 * 128
    # Another class, or the usual layers, have a sheet of their own.
    mix(model, rows="0", columns="1,2", **{"class": "c"})
    assert path.exists() and (model / "mixes" / "it_seeds0_1-2_class2.png").exists()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (
            {"layers": "4-6"},
            "--layers=4-6: layers are numbered from 0 to 5 in this gen",
        ),
        ({"layers": "coarse,all"}, "--layers=all: layers are numbered from 0 to 5"),
        ({"rows": "one"}, "--rows=one must be one or more whole numbers in [0, 2**32)"),
        ({"columns": ""}, "--columns= must be one or more whole numbers"),
        ({"truncation_psi": 2.5}, "--truncation_psi=2.5 must be a number in [-2, 2]"),
        ({"truncation_cutoff": 9}, "--truncation_cutoff=9 must be a whole number from"),
        ({"noise": "loud"}, "--noise=loud must be one of random, fixed, none"),
        ({"class": "9"}, "--class=9 must be from 0 to 4"),
        ({"model": "cifar10"}, "style_mix is for style-based generators, and this"),
    ],
)
def test_mistakes_are_one_line(mix, tmp_path, flags, message):
    model = write_styled(tmp_path / "it", "fused")
    with pytest.raises(UserError) as refused:
        mix(**{"model": model, **flags})
    assert str(refused.value).startswith(message)
    assert "\n" not in str(refused.value)
