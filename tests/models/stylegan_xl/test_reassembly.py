"""Maps of four sizes of tokens; the golden test has the authors' values."""

import numpy as np

from progan_jax.models.stylegan_xl.reassembly import Reassembly, reassembled_channels


def test_levels_are_a_pyramid(key):
    random = np.random.default_rng(0)
    tokens = [random.standard_normal((2, 6, 6, 16), np.float32) for _ in range(4)]
    levels, variables = Reassembly().init_with_output(key, tokens)
    assert [x.shape for x in levels] == [
        (2, 24, 24, 2),
        (2, 12, 12, 4),
        (2, 6, 6, 8),
        (2, 3, 3, 16),
    ]
    assert set(variables) == {"stats"}


def test_enlarged_pixels_are_squares_of_one_token(key):
    tokens = [np.zeros((1, 4, 4, 16), np.float32) for _ in range(4)]
    blank, variables = Reassembly().init_with_output(key, tokens)
    tokens[0] = tokens[0].copy()
    tokens[0][0, 1, 2] = 1
    levels = Reassembly().apply(variables, tokens)
    changed = np.any(np.asarray(levels[0] != blank[0])[0], axis=-1)
    square = np.zeros((16, 16), bool)
    square[4:8, 8:12] = True
    np.testing.assert_array_equal(changed, square)
    layers = variables["stats"]
    row = np.asarray(layers["project0"]["kernel"][0, 0]).sum(0)
    kernel = np.asarray(layers["resize0"]["kernel"])
    expected = np.einsum("c,cijf->ijf", row, kernel)
    np.testing.assert_allclose(
        (levels[0] - blank[0])[0, 4:8, 8:12], expected, atol=1e-6
    )


def test_channels_of_deit_base():
    assert reassembled_channels(768) == (96, 192, 384, 768)
