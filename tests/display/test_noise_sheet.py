"""Sheets of noise, against NumPy."""

import numpy as np

from progan_jax.display import noise_sheet as sheets
from progan_jax.display.noise_sheet import frame, liveliest, noise_sheet, vary
from progan_jax.display.style_sheets import Sources
from progan_jax.inference.generator import to_uint8
from progan_jax.inference.styles import Style
from tests.styled import styled


class FakeGenerator:
    """Its images are numbers of its own, whatever w is."""

    def __init__(self, side, channels=3):
        self.rng = np.random.default_rng(0)
        self.resolution, self.drawn = side, []
        self.shape = side, side, channels

    def synthesis(self, w, noise, seed):
        assert noise == "random"
        images = self.rng.random((len(w), *self.shape), np.float32) + 100
        self.drawn.append(images)
        return images

    def truncate(self, w, psi, cutoff, label):
        return w[:, None]


def test_the_deviation_is_that_of_all_draws_however_many_are_drawn_together():
    generator = FakeGenerator(4)
    varied = vary(generator, np.zeros((1, 2, 3)), draws=37)
    drawn = np.concatenate(generator.drawn)
    assert len(drawn) == 37
    expected = np.sqrt(drawn.astype(np.float64).var(axis=0).mean(axis=-1))
    np.testing.assert_allclose(varied.deviation, expected, rtol=1e-5)
    np.testing.assert_array_equal(varied.images, drawn[:16])


def test_the_liveliest_part_is_that_of_the_largest_squares():
    deviation = np.ones((8, 8))
    deviation[2:4, 6:8] = 3
    assert liveliest(deviation, 2) == (slice(2, 4), slice(6, 8))


def test_a_frame_lies_on_the_edge_of_its_place():
    framed = frame(np.full((12, 12, 3), 7, np.uint8), (slice(3, 9), slice(0, 6)))
    expected = np.full((12, 12, 3), 7, np.uint8)
    expected[3:9, 0:6] = 0
    expected[4:8, 1:5] = 255
    expected[5:7, 2:4] = 7
    np.testing.assert_array_equal(framed, expected)


def rows_of(monkeypatch, generator, sources, shown, draws):
    given = []
    monkeypatch.setattr(sheets, "draw_sheet", lambda *sheet: given.append(sheet))
    noise_sheet(generator, sources, shown, draws, Style(0.7, 4, "random"))
    columns, (section,) = given[0]
    return columns, section.rows


def test_small_images_are_shown_whole_under_several_noises(monkeypatch):
    g = styled("fused")
    sources = Sources(g, [3], 1)
    columns, [row] = rows_of(monkeypatch, g, sources, 2, 5)
    assert columns == ["noise 1", "noise 2", "deviation"]
    w = g.truncate(sources.w.repeat(5, axis=0))
    images = g.synthesis(w, noise="random")
    assert len(row.images) == 3
    for shown, image in zip(row.images[:2], to_uint8(images), strict=False):
        np.testing.assert_allclose(shown.astype(int), image.astype(int), atol=1)
    deviation = np.sqrt(images.var(axis=0).mean(axis=-1))
    grey = row.images[2][..., 0]
    np.testing.assert_allclose(grey, 255 * deviation / deviation.max(), atol=1.5)
    assert row.label == f"seed 3\nclass 1\nup to {deviation.max():.2g}"


def test_large_images_are_made_smaller_and_their_liveliest_part_is_enlarged(
    monkeypatch,
):
    generator = FakeGenerator(512, channels=1)
    sources = Sources.__new__(Sources)
    sources.names, sources.w, sources.labels = ["it"], np.zeros((1, 3)), None
    monkeypatch.setattr(
        sheets, "liveliest", lambda *_: (slice(0, 128), slice(128, 256))
    )
    columns, [row] = rows_of(monkeypatch, generator, sources, 3, 4)
    assert columns == ["image", "noise 1", "noise 2", "noise 3", "deviation"]
    assert [i.shape for i in row.images] == [(256, 256, 1)] * 5
    part = to_uint8(generator.drawn[0][1, 0:128, 128:256])
    np.testing.assert_array_equal(row.images[2], part.repeat(2, 0).repeat(2, 1))
    assert (row.images[0][1, 65:127] == 255).all()
    assert row.images[0][0, 100] == 0
