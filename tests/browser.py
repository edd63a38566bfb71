"""Chromium, driven by Selenium, for the tests of pages."""

import contextlib
import os
import shutil

from axe_core_python.selenium import Axe
from selenium import webdriver

DRIVER = shutil.which("chromedriver")


@contextlib.contextmanager
def chromium(profile, downloads):
    """Yields a browser that makes no requests itself, and records those of a page."""
    options = webdriver.ChromeOptions()
    for argument in (
        "headless=new",
        "disable-background-networking",
        "disable-component-update",
        "disable-sync",
        "no-first-run",
        f"user-data-dir={profile}",
        *(["no-sandbox"] if os.getuid() == 0 else []),
    ):
        options.add_argument(f"--{argument}")
    options.add_experimental_option(
        "prefs", {"download.default_directory": str(downloads)}
    )
    options.set_capability("goog:loggingPrefs", {"performance": "ALL"})
    service = webdriver.ChromeService(executable_path=DRIVER)
    driver = webdriver.Chrome(options=options, service=service)
    try:
        yield driver
    finally:
        driver.quit()


def show_in(driver, width, mode):
    """Makes the window so wide, a phone's below 600, and its colours light or dark."""
    metrics = {"width": width, "height": 844, "deviceScaleFactor": 1}
    metrics["mobile"] = width < 600
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    scheme = {"name": "prefers-color-scheme", "value": mode}
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})


def violations(driver):
    """What axe finds against the page's accessibility, as rules and places."""
    driver.set_script_timeout(60)
    found = Axe().run(driver)["violations"]
    return [(v["id"], v["impact"], [n["target"] for n in v["nodes"]]) for v in found]
