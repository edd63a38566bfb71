import numpy as np
import pytest
from PIL import Image

from progan_jax.images import (
    grid_shape,
    tile,
    to_float,
    to_uint8,
    upscale_nearest,
    write_png,
)


def test_conversion_to_float_and_back_keeps_every_byte():
    every = np.arange(256, dtype=np.uint8)
    assert np.array_equal(to_uint8(to_float(every)), every)
    assert to_float(every).min() == -1
    assert to_float(every).max() == 1


def test_values_out_of_range_are_clipped():
    assert to_uint8(np.float32([-7, 7])).tolist() == [0, 255]


@pytest.mark.parametrize(
    ("resolution", "layout", "shape"),
    [
        (1024, "1080p", (3, 2)),
        (256, "1080p", (7, 4)),
        (32, "1080p", (32, 32)),
        (1024, "4k", (7, 4)),
        (128, "4k", (30, 16)),
    ],
)
def test_grids_fill_a_screen_within_the_authors_limits(resolution, layout, shape):
    assert grid_shape(resolution, layout) == shape


def test_tiles_lie_row_by_row_and_blanks_are_black():
    images = np.stack([np.full((2, 2, 1), i + 1, np.uint8) for i in range(5)])
    grid = tile(images, columns=3)
    assert grid.shape == (4, 6, 1)
    assert grid[::2, ::2, 0].tolist() == [[1, 2, 3], [4, 5, 0]]


def test_upscaling_repeats_pixels():
    image = np.arange(4, dtype=np.uint8).reshape(1, 2, 2, 1)
    assert upscale_nearest(image, 2)[0, :, :, 0].tolist() == [
        [0, 0, 1, 1],
        [0, 0, 1, 1],
        [2, 2, 3, 3],
        [2, 2, 3, 3],
    ]


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (3, "RGB")])
def test_pngs_hold_the_pixels_and_leave_no_partial_file(tmp_path, channels, mode):
    pixels = np.random.default_rng(0).integers(0, 256, (4, 6, channels), np.uint8)
    write_png(tmp_path / "new" / "a.png", pixels)
    with Image.open(tmp_path / "new" / "a.png") as image:
        assert image.mode == mode
        assert np.array_equal(np.asarray(image).reshape(pixels.shape), pixels)
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["a.png"]
