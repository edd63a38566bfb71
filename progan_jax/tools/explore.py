"""Opens a local page of a trained generator: samples, edits, mixes of styles.

    python -m progan_jax.tools.explore MODEL [--port=7860] [--snapshot=best]

MODEL is what progan_jax.load takes: a run, a snapshot, hf://USER/NAME, or a pickle of
the authors' program. The page needs the extra `explore`; only this machine can open it,
and it loads nothing from elsewhere. Ctrl-C ends it.
"""

from absl import flags

from progan_jax.display.answers import Answers
from progan_jax.display.explorer import build_page, import_gradio, start, wait
from progan_jax.display.style_explorer import make_explorer
from progan_jax.inference.load import open_generator
from progan_jax.runtime.command_line import run
from progan_jax.runtime.compiler import keep_compiled
from progan_jax.tools.drawing import find_label

PORT = flags.DEFINE_integer(
    "port", 7860, "Port of the page.", lower_bound=1, upper_bound=65535
)

SNAPSHOT = flags.DEFINE_string(
    "snapshot", None, 'Name of a snapshot of a run, or "best"; the newest if unset.'
)

SEED = flags.DEFINE_integer(
    "seed", 0, "First seed of the page.", lower_bound=0, upper_bound=2**32 - 1
)

CLASS = flags.DEFINE_string(
    "class", None, "Initial class of the page, by number or name."
)


def main(model: str) -> None:
    """Opens the generator, compiles it, and serves the page until Ctrl-C."""
    gradio = import_gradio()
    generator = open_generator(model, SNAPSHOT.value, ("MODEL", "--snapshot"))
    label = find_label(generator, CLASS.value)
    keep_compiled()
    print(f"{generator.name}: compiling, and computing its directions", flush=True)
    answers = Answers(make_explorer(generator))
    title = f"{model}: {generator.family.PAPER.model}"
    page = build_page(gradio, answers, title, SEED.value, label)
    print(f"{start(gradio, page, PORT.value)} shows it; Ctrl-C ends", flush=True)
    wait()


if __name__ == "__main__":
    run(main, "MODEL")
