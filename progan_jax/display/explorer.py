"""The explorer's page, served to this machine alone.

Gradio is imported when it is needed; the extra "explore" brings it.
"""

import errno
import importlib
import os
import socket
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from progan_jax.display.answers import Answers, heading, message
from progan_jax.display.gate import Gate
from progan_jax.errors import UserError
from progan_jax.inference.generator import list_classes
from progan_jax.inference.publish import markdown_text

_OLDEST = (6, 26)

_COUNTS = (1, 4, 9, 16, 25, 36, 64)

_COUNT = 16

_SLOW = 256  # Pixels of a side from which an image takes about a second on a CPU.

_REACH = 5  # Standard deviations, to either side.


def import_gradio() -> Any:
    """Returns Gradio, told to report nothing to anybody.

    Raises:
      UserError: if it is not installed, or too old.
    """
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    try:
        gradio = importlib.import_module("gradio")
    except ImportError as error:
        raise UserError(
            "the page needs gradio, which is not installed; pip install "
            "'progan_jax[explore]'"
        ) from error
    major, minor = map(int, gradio.__version__.split(".")[:2])
    if (major, minor) < _OLDEST:
        raise UserError(
            f"the page needs gradio {_OLDEST[0]}.{_OLDEST[1]} or newer, and "
            f"{gradio.__version__} is installed; pip install --upgrade "
            "'progan_jax[explore]'"
        )
    return gradio


def build_page(
    gradio: Any, answers: Answers, title: str, seed: int = 0, label: int | None = None
) -> Any:
    """Returns the page as Gradio's Blocks, with its first pictures drawn.

    Args:
      gradio: The library.
      answers: What the page shows.
      title: Of the page.
      seed: With which the fields begin.
      label: Class with which they begin; None for random ones, or where there are
        none.

    Raises:
      UserError: if the first pictures cannot be drawn.
    """
    with gradio.Blocks(analytics_enabled=False, title=title) as blocks:
        gradio.HTML(heading(title, _facts(answers)))
        page = _Page(gradio, answers, str(seed), "" if label is None else str(label))
        for name, add in (
            ("Sample", page.add_samples),
            ("Interpolate", page.add_way),
            ("Edit", page.add_edits),
        ):
            with gradio.Tab(name), gradio.Row():
                add()
    return blocks


def _facts(answers: Answers) -> str:
    generator = answers.explorer.generator
    side, info = generator.resolution, generator.info
    told = [
        f"{generator.name}: {side}x{side} pixels",
        f"{generator.latent_dim} latents",
        f"{generator.num_classes or 'no'} classes",
    ]
    if "licence" in info:
        told.append(f"licence {info['licence']['name']}")
    return ", ".join(told)


class _Page:
    """The page's tabs; each is pictures, and fields beside or below."""

    def __init__(self, gradio: Any, answers: Answers, seed: str, label: str) -> None:
        self._gradio, self._answers = gradio, answers
        self._seed, self._label = seed, label
        generator = answers.explorer.generator
        self._classes, self._names = generator.num_classes, generator.class_names
        # Where an answer takes a second, the old picture fades until it is there.
        waits = generator.resolution >= _SLOW
        self._event = _EVENT | {"show_progress": "minimal" if waits else "hidden"}

    def add_samples(self) -> None:
        """Adds the fields and the grid of a seed's images."""
        gradio, answer = self._gradio, self._answers.sample
        most = self._answers.explorer.most
        counts = [count for count in _COUNTS if count <= most]
        first = min(_COUNT, counts[-1])
        with self._column():
            grid = gradio.HTML(answer(self._seed, self._label, first))
        with self._column():
            seed = self._seed_field("Seed", self._seed)
            label = self._class_field(self._label, "; empty for random ones")
            count = gradio.Dropdown(counts, value=first, label="Images")
            draw, problem = self._button("Draw"), gradio.HTML()
        triggers = [draw.click, seed.submit, label.submit, count.input]
        self._react(triggers, answer, [seed, label, count], [grid, problem])

    def add_way(self) -> None:
        """Adds two seeds, what lies between them, and the way as a strip."""
        gradio, answers = self._gradio, self._answers
        texts = (self._seed, str((int(self._seed) + 1) % 2**32), self._one_class())
        with self._column():
            image = gradio.HTML(answers.between(*texts, 0.5))
            strip = gradio.HTML(answers.strip(*texts))
        with self._column():
            fields = [
                self._seed_field("Seed A", texts[0]),
                self._seed_field("Seed B", texts[1]),
                self._class_field(texts[2]),
            ]
            weight = self._slider("Way from A (0) to B (1)", 0, 1, 0.5, 0.01)
            draw, problem = self._button("Draw"), gradio.HTML()
        triggers = [draw.click, *(field.submit for field in fields)]
        self._react(triggers, answers.strip, fields, [strip, problem])
        triggers = [*triggers, weight.change]
        self._react(triggers, answers.between, [*fields, weight], [image, problem])

    def add_edits(self) -> None:
        """Adds a seed, its image, and a slider for each principal direction."""
        gradio, answer = self._gradio, self._answers.edit
        shares = list(enumerate(self._answers.explorer.directions.shares, 1))
        zeros = [0.0] * len(shares)
        with self._column("kept"):
            image = gradio.HTML(answer(self._seed, self._one_class(), *zeros))
        with self._column():
            seed = self._seed_field("Seed", self._seed)
            label = self._class_field(self._one_class())
            draw, problem = self._button("Draw"), gradio.HTML()
            names = (f"Direction {n} ({s:.1%} of the change)" for n, s in shares)
            sliders = [self._slider(name, -_REACH, _REACH, 0, 0.1) for name in names]
            reset = gradio.Button("Reset")
        triggers = [draw.click, seed.submit, label.submit]
        triggers += [slider.change for slider in sliders]
        self._react(triggers, answer, [seed, label, *sliders], [image, problem])
        reset.click(lambda: zeros, None, sliders, **self._event)

    def _column(self, *classes: str) -> Any:
        return self._gradio.Column(min_width=280, elem_classes=list(classes))

    def _button(self, text: str) -> Any:
        return self._gradio.Button(text, variant="primary")

    def _slider(
        self, name: str, low: float, high: float, value: float, step: float
    ) -> Any:
        return self._gradio.Slider(
            low, high, value=value, step=step, label=name, buttons=[]
        )

    def _seed_field(self, name: str, value: str) -> Any:
        rule = "A whole number from 0 to 4294967295"
        return self._gradio.Textbox(value, label=name, info=rule, max_lines=1)

    def _class_field(self, value: str, more: str = "") -> Any:
        """Returns the field of the class, which is not shown where there are none."""
        rule = f"A whole number from 0 to {self._classes - 1}"
        if self._names:
            # Gradio reads it as Markdown, and names come from a file.
            rule = f"By number or name: {markdown_text(list_classes(self._names))}"
        rule += more
        shown = self._classes > 0
        return self._gradio.Textbox(
            value, label="Class", info=rule, max_lines=1, visible=shown
        )

    def _one_class(self) -> str:
        return self._label or ("0" if self._classes else "")

    def _react(
        self,
        triggers: Sequence[Any],
        answer: Callable[..., str],
        inputs: Sequence[Any],
        outputs: Sequence[Any],
    ) -> None:
        """Lets the triggers fill a picture, or else the place of what is wrong."""

        def guarded(*values: Any) -> tuple[Any, str]:
            try:
                return answer(*values), message("")
            except UserError as error:
                return self._gradio.skip(), message(str(error))

        self._gradio.on(triggers, guarded, list(inputs), list(outputs), **self._event)


# Of an event: the last one counts, and no other program calls it.
_EVENT = {"trigger_mode": "always_last", "api_visibility": "private"}

HOST = "127.0.0.1"

_STYLE = Path(__file__).with_name("explorer.css")

_FONTS = ("system-ui", "sans-serif")


def check_port(port: int) -> None:
    """Raises UserError unless a page can be served at the port."""
    if not 1 <= port <= 65535:
        raise UserError(f"--port={port} must lie in [1, 65535]; change it")
    with socket.socket() as probe:
        # A port that was in use a moment ago is free, but for packets still to come.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            reason = error.strerror or str(error)
            if error.errno == errno.EADDRINUSE:
                reason = "another program uses it"
            raise UserError(
                f"--port={port} must be free: {reason}; choose another, such as "
                f"--port={port + 1 if 1024 <= port < 65535 else 7861}"
            ) from error


def start(gradio: Any, blocks: Any, port: int) -> str:
    """Starts to serve and returns the page's address.

    Raises:
      UserError: if the server does not start.
    """
    # Gradio asks its own server whether it is there, and no proxy should answer.
    os.environ["NO_PROXY"] = os.environ["no_proxy"] = HOST
    font = list(_FONTS)
    # Of the extra "explore", as Gradio is.
    from starlette.middleware import Middleware

    try:
        blocks.launch(
            server_name=HOST,
            server_port=port,
            share=False,
            ssr_mode=False,
            pwa=False,
            mcp_server=False,
            enable_monitoring=False,
            run_history=False,
            footer_links=[],
            root_path="",
            prevent_thread_lock=True,
            quiet=True,
            app_kwargs={"middleware": [Middleware(Gate)]},
            theme=gradio.themes.Base(font=font, font_mono=["monospace"]),
            css_paths=_STYLE,
        )
    except Exception as error:  # It raises several kinds, some of them plain.
        check_port(port)
        line = " ".join(str(error).split()).rstrip(".")
        raise UserError(
            f"--port={port}: gradio does not start ({line}); choose another port, or "
            "install another version of it"
        ) from error
    return f"http://{HOST}:{port}"


def wait() -> None:
    """Returns when the user presses Ctrl-C."""
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        print()
