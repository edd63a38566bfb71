"""Sheets: where images and texts are."""

import numpy as np

from progan_jax.display.sheet import Row, Section, draw_sheet

SIDE = 64  # Shown twice as large.


def flat(shade, channels=3):
    return np.full((SIDE, SIDE, channels), shade, np.uint8)


def places(picture, shade):
    """Returns the first row and column of a shade, and its height and width."""
    rows, columns = np.nonzero((picture == shade).all(axis=2))
    return rows.min(), columns.min(), np.ptp(rows) + 1, np.ptp(columns) + 1


def test_images_are_enlarged_and_stand_in_rows_and_columns():
    rows = [Row("one", [flat(10), flat(20)]), Row("two", [None, flat(30, 1)])]
    picture = draw_sheet(["a", "b"], [Section("", rows)])
    first, beside, below = (places(picture, shade) for shade in (10, 20, 30))
    assert first[2:] == beside[2:] == below[2:] == (128, 128)
    assert first[0] == beside[0] == below[0] - 132
    assert first[1] == beside[1] - 132 == below[1] - 132
    blank = picture[below[0] : below[0] + 128, first[1] : first[1] + 128]
    assert (blank == 255).all()


def test_labels_of_rows_columns_and_headings_have_room():
    rows = [Row("a long label\nof two lines", [flat(10)])]
    plain = draw_sheet([""], [Section("", rows)])
    labelled = draw_sheet(["a\nb"], [Section("A heading", rows)])
    assert labelled.shape[0] > plain.shape[0] + 60
    top, left, *_ = places(labelled, 10)
    for text in (labelled[:top, left:], labelled[top : top + 128, :left]):
        assert (text < 100).any()
    # Nothing is cut off at the left, and nothing lies over the image.
    assert (labelled[:, 0] == 255).all()
    assert places(labelled, 10)[2:] == (128, 128)


def test_a_wide_label_of_a_column_moves_the_next_one():
    image = flat(10)
    wide = draw_sheet(
        ["a label wider than its image", "b"], [Section("", [Row("", [image] * 2)])]
    )
    columns = np.nonzero(
        (wide == 10).all(axis=(0, 2)) | (wide == 10).all(axis=2).any(0)
    )[0]
    gaps = np.diff(columns)
    assert gaps.max() > 8
