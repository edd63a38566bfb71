"""The built site in a real browser: axe finds nothing, and no page is too wide."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.browser import DRIVER, chromium, show_in, violations

pytest.importorskip("mkdocs")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(DRIVER is None, reason="chromedriver is not installed"),
]

ROOT = Path(__file__).parents[1]
# Axe takes more than a minute on the reference, the longest page.
PAGES = sorted(p.stem for p in (ROOT / "docs").glob("*.md") if p.stem != "reference")


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    build = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet"]
    env = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    subprocess.run([*build, f"--site-dir={folder}"], cwd=ROOT, env=env, check=True)
    return folder


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    profile = tmp_path_factory.mktemp("profile")
    with chromium(profile, profile / "downloads") as driver:
        yield driver


@pytest.mark.parametrize("mode", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("name", PAGES)
def test_axe_finds_nothing_on_a_page_that_fits_its_window(
    site, browser, name, width, mode
):
    show_in(browser, width, mode)
    page = site / ("" if name == "index" else name) / "index.html"
    browser.get(f"file://{page}")
    shown = "return getComputedStyle(document.body).colorScheme"
    assert browser.execute_script(shown) == ("dark" if mode == "dark" else "light")
    across = "return document.documentElement.scrollWidth"
    assert browser.execute_script(across) <= width
    assert not violations(browser)
