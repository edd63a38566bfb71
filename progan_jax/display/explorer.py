"""The explorer's page, served to this machine only.

Gradio, of the extra "explore", is imported when it is needed.
"""

import html
import importlib
import os
import threading
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from progan_jax.display.answers import Answers
from progan_jax.display.gate import gate
from progan_jax.errors import UserError, reason
from progan_jax.inference.classes import name_class
from progan_jax.inference.styles import MOST_PSI, NOISES, layer_ranges

_COUNTS = (1, 4, 9, 16, 25, 36, 64)

_COUNT = 16

_SLOW = 256  # Pixels of a side from which an image takes about a second on a CPU.

_REACH = 5  # Standard deviations, to either side.


def import_gradio() -> Any:
    """Returns Gradio, with its analytics off.

    Raises:
      UserError: if it is not installed.
    """
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    try:
        return importlib.import_module("gradio")
    except ImportError as error:
        raise UserError(
            "the page needs gradio, which is not installed; pip install gradio"
        ) from error


def build_page(
    gradio: Any, answers: Answers, title: str, seed: int = 0, label: int | None = None
) -> Any:
    """Returns the page as Gradio's Blocks, with its first pictures drawn.

    Args:
      gradio: The library.
      answers: What the page shows.
      title: Title of the page.
      seed: Initial value of the fields.
      label: Class with which they begin; None for random ones, or where there are
        none.

    Raises:
      UserError: if the first pictures cannot be drawn.
    """
    with gradio.Blocks(analytics_enabled=False, title=title) as blocks:
        facts = html.escape(_facts(answers))
        gradio.HTML(f"<h1>{html.escape(title)}</h1>\n<p>{facts}</p>")
        page = _Page(gradio, answers, seed, label)
        tabs = {
            "Sample": page.add_samples,
            "Interpolate": page.add_interpolation,
            "Edit": page.add_edits,
        }
        if answers.explorer.generator.num_layers:
            tabs["Mix"] = page.add_mixing
        for name, add in tabs.items():
            with gradio.Tab(name), gradio.Row():
                add()
    return blocks


def _facts(answers: Answers) -> str:
    generator = answers.explorer.generator
    side, info = generator.resolution, generator.info
    facts = [
        f"{generator.name}: {side}x{side} pixels",
        f"{generator.latent_dim} latents",
        f"{generator.num_classes or 'no'} classes",
    ]
    if generator.num_layers:
        facts.append(f"{generator.num_layers} layers with styles")
    if "licence" in info:
        facts.append(f"licence {info['licence']['name']}")
    return ", ".join(facts)


class _Page:
    """The page's tabs; each shows pictures, and fields beside or below."""

    def __init__(
        self, gradio: Any, answers: Answers, seed: int, label: int | None
    ) -> None:
        self._gradio, self._answers = gradio, answers
        self._seed, self._label = seed, label
        self._generator = answers.explorer.generator
        self._style = self._generator.read_style()
        # Edits and interpolations need a class, if there are any.
        self._one_class = 0 if self._generator.num_classes and label is None else label
        # Where an answer takes a second, the old picture fades until it is there.
        waits = self._generator.resolution >= _SLOW
        self._event = _EVENT | {"show_progress": "minimal" if waits else "hidden"}

    def add_samples(self) -> None:
        """Adds the fields and the grid of a seed's images."""
        gradio, answer = self._gradio, self._answers.sample
        most = self._answers.explorer.most
        counts = [count for count in _COUNTS if count <= most]
        first = min(_COUNT, counts[-1])
        with self._column():
            html = answer(self._seed, self._label, first, style=self._style)
            grid = gradio.HTML(html)
        with self._column():
            seed = self._seed_field("Seed", self._seed)
            label = self._class_field(self._label, [("random", None)])
            count = gradio.Dropdown(counts, value=first, label="Images")
            draw = gradio.Button("Draw", variant="primary")
            style = self._style_fields()
        triggers = [draw.click, seed.submit, label.input, count.input]
        self._react(triggers, answer, [seed, label, count], grid, style)

    def add_interpolation(self) -> None:
        """Adds two seeds, an image between them, and the way as a strip."""
        gradio, answers = self._gradio, self._answers
        values = self._seed, (self._seed + 1) % 2**32, self._one_class
        with self._column():
            image = gradio.HTML(answers.between(*values, 0.5, style=self._style))
            strip = gradio.HTML(answers.strip(*values, style=self._style))
        with self._column():
            fields = [
                self._seed_field("Seed A", values[0]),
                self._seed_field("Seed B", values[1]),
                self._class_field(values[2]),
            ]
            weight = self._slider("Way from A (0) to B (1)", 0, 1, 0.5, 0.01)
            draw = gradio.Button("Draw", variant="primary")
            style = self._style_fields()
        triggers = [draw.click, fields[0].submit, fields[1].submit, fields[2].input]
        self._react(triggers, answers.strip, fields, strip, style)
        triggers = [*triggers, weight.change]
        self._react(triggers, answers.between, [*fields, weight], image, style)

    def add_edits(self) -> None:
        """Adds a seed, its image, and a slider for each principal direction."""
        gradio, answer = self._gradio, self._answers.edit
        shares = list(enumerate(self._answers.explorer.directions.shares, 1))
        zeros = [0.0] * len(shares)
        with self._column("kept"):
            values = self._seed, self._one_class, *zeros
            image = gradio.HTML(answer(*values, style=self._style))
        with self._column():
            seed = self._seed_field("Seed", self._seed)
            label = self._class_field(self._one_class)
            draw = gradio.Button("Draw", variant="primary")
            style, of = self._style_fields(), self._answers.explorer.share_of
            names = (f"Direction {n} ({s:.1%} of {of})" for n, s in shares)
            sliders = [self._slider(name, -_REACH, _REACH, 0, 0.1) for name in names]
            reset = gradio.Button("Reset")
        triggers = [draw.click, seed.submit, label.input]
        triggers += [slider.change for slider in sliders]
        self._react(triggers, answer, [seed, label, *sliders], image, style)
        reset.click(lambda: zeros, None, sliders, **self._event)

    def add_mixing(self) -> None:
        """Adds two seeds, and the layers that the first takes from the second."""
        gradio, answer = self._gradio, self._answers.mix
        a, b, one = self._seed, (self._seed + 1) % 2**32, self._one_class
        ranges = layer_ranges(self._generator.num_layers)
        first = list(ranges["coarse"])
        choices = [
            (f"{n} ({side}x{side})", n)
            for n, side in enumerate(self._generator.network.layer_sides)
        ]
        with self._column("kept"):
            image = gradio.HTML(answer(a, b, one, first, style=self._style))
        with self._column():
            seeds = [self._seed_field("Seed A", a), self._seed_field("Seed B", b)]
            label = self._class_field(one)
            draw = gradio.Button("Draw", variant="primary")
            layers = gradio.CheckboxGroup(choices, value=first, label="Layers of B")
            with gradio.Row():
                presets = {name: gradio.Button(name.capitalize()) for name in ranges}
            style = self._style_fields()
        triggers = [draw.click, *(s.submit for s in seeds), label.input, layers.change]
        self._react(triggers, answer, [*seeds, label, layers], image, style)
        for name, button in presets.items():
            chosen = list(ranges[name])
            button.click(partial(list, chosen), None, layers, **self._event)

    def _column(self, *classes: str) -> Any:
        return self._gradio.Column(min_width=280, elem_classes=list(classes))

    def _slider(
        self, name: str, low: float, high: float, value: float, step: float
    ) -> Any:
        return self._gradio.Slider(
            low, high, value=value, step=step, label=name, buttons=[]
        )

    def _seed_field(self, name: str, value: int) -> Any:
        return self._gradio.Number(value, label=name, precision=0)

    def _class_field(
        self, value: int | None, first: Sequence[tuple[str, None]] = ()
    ) -> Any:
        """Returns the field of the class, hidden where there are none."""
        names, count = self._generator.class_names, self._generator.num_classes
        choices = [(name_class(label, names), label) for label in range(count)]
        return self._gradio.Dropdown(
            [*first, *choices], value=value, label="Class", visible=count > 0
        )

    def _style_fields(self) -> list[Any]:
        """Returns the fields of a style-based generator's `Style`, or none.

        That of noise is hidden where the generator has none.
        """
        psi, cutoff, noise = self._style
        if psi is None or cutoff is None:
            return []
        layers = self._generator.num_layers
        has_noise = self._generator.still_noise == "fixed"
        return [
            self._slider("Truncation psi", -MOST_PSI, MOST_PSI, psi, 0.05),
            self._slider("Truncated layers", 0, layers, cutoff, 1),
            self._gradio.Radio(NOISES, value=noise, label="Noise", visible=has_noise),
        ]

    def _react(
        self,
        triggers: Sequence[Any],
        answer: Callable[..., str],
        inputs: Sequence[Any],
        output: Any,
        style: Sequence[Any],
    ) -> None:
        """Makes triggers update a picture; after a mistake it stays, with a notice.

        The fields of a style, if there are any, are triggers, too.
        """

        def guarded(*values: Any) -> Any:
            given, rest = values[: len(style)], values[len(style) :]
            try:
                return answer(*rest, style=self._generator.read_style(*given))
            except UserError as error:
                self._gradio.Warning(html.escape(str(error)))
                return self._gradio.skip()

        triggers = [*triggers, *(field.change for field in style)]
        self._gradio.on(triggers, guarded, [*style, *inputs], output, **self._event)


# Of several events in a row the last one counts, and no other program calls one.
_EVENT = {"trigger_mode": "always_last", "api_visibility": "private"}

HOST = "127.0.0.1"

_STYLE = Path(__file__).with_name("explorer.css")


def start(gradio: Any, blocks: Any, port: int) -> str:
    """Starts to serve and returns the page's address.

    Raises:
      UserError: if the server does not start.
    """
    # Gradio sends a request to its own server, which must not go through a proxy.
    os.environ["NO_PROXY"] = os.environ["no_proxy"] = HOST
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
            app_kwargs={"middleware": [Middleware(gate)]},
            theme=gradio.themes.Base(font=["system-ui"], font_mono=["monospace"]),
            css_paths=_STYLE,
        )
    except Exception as error:  # Of several types, some of them Exception itself.
        raise UserError(
            f"--port={port}: gradio does not start ({reason(error)}); choose another "
            "port if another program uses this one"
        ) from error
    return f"http://{HOST}:{port}"


def wait() -> None:
    """Returns when the user presses Ctrl-C."""
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        print()
