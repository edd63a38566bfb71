"""The page in a real browser: Chromium, driven by Selenium."""

import re
import time

import pytest

from progan_jax.display.page import write_report
from tests.browser import DRIVER, chromium, show_in, violations

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(DRIVER is None, reason="chromedriver is not installed"),
]


@pytest.fixture
def browser(tmp_path):
    with chromium(tmp_path / "profile", tmp_path / "downloads") as driver:
        yield driver


@pytest.fixture
def page(run, browser):
    write_report(run, run / "report.html")
    browser.get(f"file://{run / 'report.html'}")
    return browser


def shown(page):
    """The texts of the pictures that can be seen."""
    images = page.find_elements("css selector", "#frames img")
    return [i.get_attribute("alt") for i in images if i.is_displayed()]


def test_arrow_keys_on_the_slider_change_the_picture(page):
    slider = page.find_element("id", "moment")
    assert shown(page) == ["Fakes after 12 kimg, 8x8"]
    slider.send_keys("\ue012")  # Left.
    assert shown(page) == ["Fakes after 8 kimg, 8x8"]
    assert slider.get_attribute("aria-valuetext") == "8 kimg, 8x8"
    assert page.find_element("id", "shown").text == "8 kimg, 8x8"
    slider.send_keys("\ue011")  # Home.
    assert shown(page) == ["Fakes after 0 kimg, 4x4"]


def test_the_play_button_steps_to_the_last_picture_and_stops(page):
    button = page.find_element("id", "play")
    button.send_keys(" ")
    assert button.text == "Pause"
    assert shown(page) == ["Fakes after 0 kimg, 4x4"]
    deadline = time.monotonic() + 20
    while button.text == "Pause" and time.monotonic() < deadline:
        time.sleep(0.1)
    assert button.text == "Play"
    assert shown(page) == ["Fakes after 12 kimg, 8x8"]


def test_a_phone_needs_no_scrolling_sideways_and_nothing_is_refused(page):
    show_in(page, 360, "light")
    page.refresh()
    width = page.execute_script("return document.documentElement.scrollWidth")
    assert width == 360
    assert page.get_log("browser") == []


@pytest.mark.parametrize("width", [1280, 360])
@pytest.mark.parametrize("mode", ["light", "dark"])
def test_axe_finds_nothing_against_it(page, width, mode):
    show_in(page, width, mode)
    page.refresh()
    for details in page.find_elements("css selector", "summary"):
        details.click()
    colour = "return getComputedStyle(document.body).backgroundColor"
    light = sum(map(int, re.findall(r"\d+", page.execute_script(colour))[:3])) > 384
    assert light == (mode == "light")
    assert violations(page) == []
