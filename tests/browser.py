"""Chromium, driven by Selenium, for the tests of pages."""

import contextlib
import os
import shutil

from selenium import webdriver

DRIVER = shutil.which("chromedriver")


@contextlib.contextmanager
def chromium(profile, downloads):
    """Gives a browser that calls nobody by itself, and records what it asks for."""
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
