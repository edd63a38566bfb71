"""Pictures of inversions."""

import numpy as np
import pytest

from progan_jax.display.inversion import distance_chart, inversion_picture


@pytest.mark.parametrize("channels", [1, 3])
def test_images_are_in_a_row_and_the_chart_below(channels):
    shades = {"target": 40, "average": 90, "found": 140, "tuned": 200}
    images = {
        name: np.full((32, 32, channels), shade, np.uint8)
        for name, shade in shades.items()
    }
    picture = inversion_picture(images, {"w": [(0, 2.0), (10, 0.5)]})
    height, width, _ = picture.shape
    assert width >= 4 * 128 and height > 128 + 250
    # Each image is enlarged to 128x128, in the order given; a few pixels of the text
    # have the same shade.
    places = [np.argwhere((picture == shade).all(axis=2)) for shade in shades.values()]
    assert all(128 * 128 <= len(place) < 130 * 130 for place in places)
    middles = [np.median(place, axis=0) for place in places]
    assert np.ptp([row for row, _ in middles]) <= 1
    steps = np.diff([column for _, column in middles])
    assert steps.min() > 128 and np.ptp(steps) <= 1


def test_a_distance_of_zero_can_be_drawn():
    chart = distance_chart({"w": [(0, 1.0), (1, 0.0)]}, 600)
    assert chart.shape == (280, 600, 3)
    assert len(np.unique(chart)) > 2
