"""The page in a real browser: Chromium, driven by Selenium."""

import json

import numpy as np
import pytest
from PIL import Image

from progan_jax.images import tile
from progan_jax.inference.generator import to_uint8
from progan_jax.inference.load import load
from progan_jax.inference.snapshot import write_snapshot
from tests.browser import DRIVER, chromium, show_in, violations
from tests.explorer_page import (
    choose,
    field,
    fill,
    open_tab,
    picture,
    pixels,
    press,
    served,
    shown,
    visible,
    wait_for,
)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(DRIVER is None, reason="chromedriver is not installed"),
]
LABEL = "2"
SIDE = 8


@pytest.fixture
def snapshot(make_generator, tmp_path):
    """A snapshot of an 8x8 generator of three classes."""
    generator = make_generator(num_classes=3)
    folder = tmp_path / "000001_r008"
    write_snapshot(folder, generator.params, generator.info)
    return folder


@pytest.fixture
def address(snapshot):
    with served(snapshot, "--class=2") as address:
        yield address


@pytest.fixture
def browser(tmp_path):
    with chromium(tmp_path / "profile", tmp_path / "downloads") as driver:
        yield driver


@pytest.fixture
def page(address, browser):
    browser.get(address)
    wait_for(lambda: shown(browser))
    return browser


def expected(snapshot, seed, count=1):
    """The images that the package draws without a page, in one row or a square."""
    images = to_uint8(load(snapshot).sample(count, seed, int(LABEL)))
    return tile(images, int(count**0.5))[..., 0].astype(int)


def test_a_seed_draws_its_images_and_a_mistake_is_shown(page, snapshot):
    before = picture(page, "16 images of seed 0, class 2")
    np.testing.assert_allclose(before, expected(snapshot, 0, 16), atol=1)
    fill(page, "Seed", "11\ue007")  # Enter.
    after = picture(page, "16 images of seed 11, class 2")
    np.testing.assert_allclose(after, expected(snapshot, 11, 16), atol=1)
    fill(page, "Seed", "-1")
    press(page, "Draw")
    rule = "Seed=-1 must lie in [0, 2**32); change it"
    wait_for(lambda: any(rule in e.text for e in visible(page, "[role=status]")))
    assert list(shown(page)) == ["16 images of seed 11, class 2"]
    fill(page, "Seed", "12")
    choose(page, "Class", "1")
    picture(page, "16 images of seed 12, class 1")
    choose(page, "Class", "random")
    picture(page, "16 images of seed 12")


def test_the_end_of_a_way_is_the_image_of_seed_b(page, snapshot):
    open_tab(page, "Interpolate")
    fill(page, "Seed A", "3")
    fill(page, "Seed B", "4")
    press(page, "Draw")
    strip = picture(page, "8 steps from seed 3 to seed 4, class 2")
    np.testing.assert_allclose(strip[:, :SIDE], expected(snapshot, 3), atol=1)
    field(page, "range slider for Way").send_keys("\ue010")  # End.
    end = picture(page, "100% of the way from seed 3 to seed 4, class 2")
    np.testing.assert_allclose(end, expected(snapshot, 4), atol=1)
    np.testing.assert_allclose(strip[:, -SIDE:], end, atol=1)


def test_a_direction_changes_the_image_and_reset_brings_it_back(page, snapshot):
    open_tab(page, "Edit")
    before = picture(page, "Seed 0, class 2, as it is")
    np.testing.assert_allclose(before, expected(snapshot, 0), atol=1)
    field(page, "range slider for Direction 1").send_keys("\ue010")
    moved = picture(page, "Seed 0, class 2, direction 1 by +5")
    assert np.abs(moved - before).max() > 8
    field(page, "range slider for Direction 3").send_keys("\ue011")  # Home.
    picture(page, "Seed 0, class 2, direction 1 by +5, direction 3 by -5")
    press(page, "Reset")
    np.testing.assert_array_equal(picture(page, "Seed 0, class 2, as it is"), before)


@pytest.mark.parametrize(("tab", "size"), [("Sample", (32, 32)), ("Edit", (8, 8))])
def test_a_download_is_a_png_of_native_size(page, tmp_path, tab, size):
    open_tab(page, tab)
    (link,) = wait_for(lambda: visible(page, ".picture a"))
    link.send_keys("\ue007")
    name = link.get_attribute("download")
    file = tmp_path / "downloads" / name
    wait_for(file.exists)
    (source,) = shown(page).values()
    with Image.open(file) as image:
        assert (image.format, image.size) == ("PNG", size)
        np.testing.assert_array_equal(np.asarray(image), pixels(source))
    assert visible(page, ".picture img")[0].size["width"] >= 256


def test_no_request_goes_to_another_machine(page, address):
    for name in ("Interpolate", "Edit"):
        open_tab(page, name)
    messages = [json.loads(e["message"]) for e in page.get_log("performance")]
    events = [m["message"] for m in messages]
    asked = [
        e["params"]["request"]["url"]
        for e in events
        if e["method"] == "Network.requestWillBeSent"
    ]
    assert any(url.startswith(address) for url in asked)
    # Those of the browser itself are its pages.
    ours = (address + "/", "data:", "blob:", "chrome:", "chrome-untrusted:")
    assert [url for url in asked if not url.startswith(ours)] == []


@pytest.mark.parametrize("mode", ["light", "dark"])
def test_a_phone_needs_no_scrolling_sideways_and_keeps_the_picture(page, mode):
    show_in(page, 390, mode)
    page.refresh()
    wait_for(lambda: shown(page))
    for name in ("Sample", "Interpolate", "Edit"):
        open_tab(page, name)
        width = page.execute_script("return document.documentElement.scrollWidth")
        assert width == 390
        assert all(image.size["width"] <= 390 for image in visible(page, "img"))
    # Below the last slider there is a button.
    press(page, "Reset")
    assert page.execute_script("return window.scrollY") > 200
    (image,) = visible(page, ".picture img")
    top = page.execute_script("return arguments[0].getBoundingClientRect().y", image)
    assert 0 <= top < 100
    is_dark = page.execute_script("return document.body.classList.contains('dark')")
    assert is_dark == (mode == "dark")


@pytest.mark.parametrize("mode", ["light", "dark"])
def test_axe_finds_nothing_against_any_tab(page, mode):
    for width in (1280, 390):
        show_in(page, width, mode)
        page.refresh()
        wait_for(lambda: shown(page))
        for name in ("Sample", "Interpolate", "Edit"):
            open_tab(page, name)
            wait_for(lambda: shown(page))
            assert violations(page) == [], (width, name)
