"""Sheets of styles, against images that the package draws without them."""

import numpy as np

from progan_jax.display import style_sheets
from progan_jax.display.style_sheets import (
    Sources,
    describe_layers,
    mixing_sheet,
    truncation_sheet,
)
from progan_jax.inference.generator import to_uint8
from progan_jax.inference.sampling import draw_inputs
from progan_jax.inference.styles import Style
from tests.styled import styled

FIXED = Style(0.7, 4, "fixed")


def drawn(monkeypatch, draw, *arguments):
    """Returns labels of columns, and sections, of which a sheet is made."""
    given = []
    monkeypatch.setattr(
        style_sheets, "draw_sheet", lambda *sheet: given.append(sheet) or "sheet"
    )
    assert draw(*arguments) == "sheet"
    return given[0]


def close(image, expected):
    np.testing.assert_allclose(image.astype(int), expected.astype(int), atol=1)


def first_image(seed, label=None, **style):
    """The first image of a seed, of its own class or another."""
    g = styled("fused")
    z, own = draw_inputs(g.network, 1, seed)
    classes = own if label is None else [label]
    return to_uint8(g(z, classes, **{"noise": "fixed", **style}))[0]


def test_sources_are_the_first_samples_of_their_seeds_with_their_classes():
    g = styled("fused")
    sources = Sources(g, [3, 8], None)
    labels = [draw_inputs(g.network, 1, seed)[1][0] for seed in (3, 8)]
    assert sources.names == [f"seed 3\nclass {labels[0]}", f"seed 8\nclass {labels[1]}"]
    images = to_uint8(g.synthesis(g.truncate(sources.w), noise="fixed"))
    close(images[1], first_image(8))
    assert Sources(g, [3], 2).names == ["seed 3\nclass 2"]
    assert Sources(styled("plain"), [3], None).names == ["seed 3"]


def test_a_mixing_sheet_has_a_at_the_left_b_at_the_top_and_mixes_between(monkeypatch):
    g = styled("fused")
    rows, columns = Sources(g, [3], 1), Sources(g, [4, 5], 1)
    layers = [("Coarse styles", [0, 1]), ("Styles", [4, 5])]
    labels, sections = drawn(monkeypatch, mixing_sheet, g, rows, columns, layers, FIXED)
    assert labels == ["A", "seed 4\nclass 1", "seed 5\nclass 1"]
    top, coarse, fine = sections
    assert [s.heading for s in sections] == [
        "",
        "Coarse styles of B: layers 0-1, 4x4",
        "Styles of B: layers 4-5, 16x16",
    ]
    assert top.rows[0].images[0] is None
    close(top.rows[0].images[2], first_image(5, 1))
    close(coarse.rows[0].images[0], first_image(3, 1))
    z = [draw_inputs(g.network, 1, seed)[0] for seed in (3, 5)]
    for section, chosen in ((coarse, [0, 1]), (fine, [4, 5])):
        assert section.rows[0].label == "seed 3\nclass 1"
        mixed = to_uint8(g.mix(*z, chosen, 1, noise="fixed"))[0]
        close(section.rows[0].images[2], mixed)


def test_a_truncation_sheet_has_a_row_for_each_seed_and_a_column_for_each_psi(
    monkeypatch,
):
    g = styled("fused")
    labels, (section,) = drawn(
        monkeypatch, truncation_sheet, g, Sources(g, [3, 4], 0), [1, 0, -0.5], FIXED
    )
    assert labels == ["psi 1", "psi 0", "psi -0.5"]
    first, second = section.rows
    close(second.images[0], first_image(4, 0, truncation_psi=1))
    close(second.images[2], first_image(4, 0, truncation_psi=-0.5))
    assert np.abs(second.images[0].astype(int) - second.images[2]).max() > 20
    assert first.label == "seed 3\nclass 0"


def test_layers_are_described_with_their_resolutions():
    sides = [4, 4, 8, 8, 16, 16]
    assert describe_layers([0, 1], sides) == "layers 0-1, 4x4"
    assert describe_layers(range(2, 6), sides) == "layers 2-5, 8x8 to 16x16"
