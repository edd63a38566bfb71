"""The explorer's page: its server, and what a user does in a browser."""

import base64
import contextlib
import io
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).parents[1]


@contextlib.contextmanager
def served(snapshot, *flags):
    """Yields the address of the tool, started as its user starts it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "progan_jax.tools.explore", str(snapshot)]
    server = subprocess.Popen(
        [*command, f"--port={port}", *flags],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=os.environ | {"JAX_PLATFORMS": "cpu"},
    )
    lines = [server.stdout.readline(), server.stdout.readline()]
    assert lines[1] == f"http://127.0.0.1:{port} shows it; Ctrl-C ends\n"
    yield f"http://127.0.0.1:{port}"
    server.send_signal(signal.SIGINT)
    _, problems = server.communicate(timeout=30)
    assert (server.returncode, problems) == (0, "")


def wait_for(claim):
    """Returns what a claim gives once it is true."""
    deadline = time.monotonic() + 20
    while not (found := claim()):
        assert time.monotonic() < deadline, "it does not become true"
        time.sleep(0.1)
    return found


def visible(page, selector):
    return [e for e in page.find_elements("css selector", selector) if e.is_displayed()]


def shown(page):
    """Returns the visible pictures by their alternative text."""
    return {
        image.get_attribute("alt"): image.get_attribute("src")
        for image in visible(page, ".picture img")
    }


def pixels(source):
    data = base64.b64decode(source.removeprefix("data:image/png;base64,"))
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image).astype(int)


def picture(page, caption):
    """The pixels of a picture, once it can be seen."""
    return pixels(wait_for(lambda: shown(page).get(caption)))


def open_tab(page, name):
    (tab,) = (t for t in visible(page, "[role=tab]") if t.text == name)
    tab.click()
    wait_for(lambda: tab.get_attribute("aria-selected") == "true")


def field(page, name):
    """A field by its label, as who cannot see it finds it."""
    (found,) = wait_for(
        lambda: [
            e
            for e in visible(page, "input, textarea")
            if e.accessible_name.startswith(name)
        ]
    )
    return found


def fill(page, name, text):
    place = field(page, name)
    place.clear()
    place.send_keys(text)


def choose(page, name, text):
    """Takes a choice of a dropdown as its user types it."""
    place = field(page, name)
    place.click()
    place.send_keys("\ue009a\ue000", text, "\ue007")  # Control-A and Enter.


def press(page, text):
    (button,) = (b for b in visible(page, "button") if b.text == text)
    button.click()
