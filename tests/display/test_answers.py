"""The page's pictures, without a page."""

import base64
import io
import re

import numpy as np
import pytest
from PIL import Image

from progan_jax.display.answers import Answers, Explorer, picture
from progan_jax.errors import UserError
from progan_jax.inference.generator import to_uint8


@pytest.fixture
def answers(make_generator):
    return Answers(Explorer(make_generator(num_classes=3)))


def pixels(html):
    """Returns the pixels that are shown, which are those that are downloaded."""
    shown, downloaded = re.findall(r'(?:src|href)="data:image/png;base64,(.*?)"', html)
    assert shown == downloaded
    with Image.open(io.BytesIO(base64.b64decode(shown))) as image:
        return np.asarray(image)


def file_name(html):
    return re.search(r'download="(.*?)"', html)[1]


def test_a_grid_has_its_images_at_native_resolution_row_by_row(answers):
    html = answers.sample(7, 2, 4)
    images = to_uint8(answers.explorer.generator.sample(4, 7, 2))[..., 0]
    rows = [np.concatenate(images[:2], axis=1), np.concatenate(images[2:], axis=1)]
    np.testing.assert_array_equal(pixels(html), np.concatenate(rows))
    assert 'alt="4 images of seed 7, class 2"' in html
    assert "Download PNG, 16x16" in html
    assert file_name(html) == "000001_r008_seed7.png"


def test_ways_are_one_image_and_a_strip(answers):
    one = answers.between(3, 4, 1, 1.0)
    strip = answers.strip(3, 4, 1)
    assert pixels(one).shape == (8, 8)
    assert pixels(strip).shape == (8, 64)
    np.testing.assert_allclose(
        pixels(strip)[:, -8:].astype(int), pixels(one).astype(int), atol=1
    )
    assert 'alt="100% of the way from seed 3 to seed 4, class 1"' in one
    assert file_name(one) == "000001_r008_seed3-4_1.00.png"


def test_an_edit_names_what_was_moved(answers):
    amounts = [0.0, 2.5, 0.0, -1.0, 0, 0, 0, 0]
    html = answers.edit(3, 0, *amounts)
    assert 'alt="Seed 3, class 0, direction 2 by +2.5, direction 4 by -1"' in html
    assert "as it is" in answers.edit(3, 0, *[0.0] * 8)


@pytest.mark.parametrize(
    ("question", "message"),
    [
        (lambda a: a.sample(None, None, 4), "Seed is empty; give a whole number"),
        (lambda a: a.between(1, -1, 0, 0.5), "Seed B=-1 must lie in [0, 2**32)"),
        (lambda a: a.strip(2**32, 1, 0), "Seed A=4294967296 must lie in [0, 2**32)"),
        (lambda a: a.edit(None, 0, *[0.0] * 8), "Seed is empty"),
    ],
)
def test_mistakes_name_the_field(answers, question, message):
    with pytest.raises(UserError, match="^" + re.escape(message)):
        question(answers)


def test_texts_are_escaped_and_file_names_are_plain():
    html = picture(np.zeros((1, 4, 4, 3), np.uint8), 1, '"<b>', "me/a <b>@1")
    assert 'alt="&quot;&lt;b&gt;"' in html
    assert file_name(html) == "me_a_b_1.png"
    assert pixels(html).shape == (4, 4, 3)


@pytest.mark.parametrize(("side", "shown"), [(8, 512), (100, 500), (600, 600)])
def test_small_pictures_are_enlarged_by_an_integer(side, shown):
    html = picture(np.zeros((1, side, side, 1), np.uint8), 1, "", "")
    assert f'width="{side}" height="{side}" style="width: {shown}px"' in html
