"""The command progan_jax: trains, and runs every tool by its name.

    progan_jax train PHOTOS           trains on a folder of images, for a time
    progan_jax --config=digits        trains a recipe; short for progan_jax run
    progan_jax COMMAND [ARGUMENTS]    runs one of the commands below
    progan_jax COMMAND --help         explains it

progan_jax run is python -m progan_jax.main; any other COMMAND is python -m
progan_jax.tools.COMMAND.
"""

import ast
import difflib
import runpy
import signal
import sys
from pathlib import Path

_PACKAGE = Path(__file__).parent

# Headings of the list of commands; what none of them has comes last.
_GROUPS = {
    "Prepare and train": ("train", "run", "prepare_data", "inspect_data", "report"),
    "Use a trained model": (
        *("sample", "video", "explore", "edit", "project"),
        *("style_mix", "truncation", "noise"),
        *("publish", "export", "import_official"),
    ),
    "Measure and reproduce": ("reproduce", "figures", "neighbours"),
}


def commands() -> dict[str, Path]:
    """Returns the files of the commands by their names; nothing is imported."""
    tools = sorted(_PACKAGE.glob("tools/*.py"))
    runnable = [p for p in tools if '__name__ == "__main__"' in p.read_text("utf-8")]
    return {"run": _PACKAGE / "main.py"} | {path.stem: path for path in runnable}


def list_commands() -> str:
    """Returns a line for each command, from its docstring, under headings."""
    known = commands()
    grouped = {name for names in _GROUPS.values() for name in names}
    others = tuple(name for name in known if name not in grouped)
    lines = []
    for heading, names in (_GROUPS | {"Check and convert": others}).items():
        lines += ["", f"{heading}:"]
        lines += [f"  {name:<18}{_about(known[name])}" for name in names]
    return "\n".join(lines)


def _about(path: Path) -> str:
    """Returns the first line of a file's docstring."""
    text = ast.get_docstring(ast.parse(path.read_text("utf-8")))
    return (text or path.stem).splitlines()[0]


def main() -> None:
    """Runs the command that the arguments name, as python -m runs its module."""
    first = sys.argv[1] if len(sys.argv) > 1 else "--help"
    if first in ("--help", "-h", "help"):
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # As `head` expects.
        print(f"{__doc__}{list_commands()}")
        return
    name = "run" if first.startswith("-") else first
    known = commands()
    if name not in known:
        near = difflib.get_close_matches(name, known)
        fix = f"did you mean {' or '.join(near)}?" if near else "see progan_jax --help"
        print(f"error: {name!r} is not a command; {fix}", file=sys.stderr)
        sys.exit(2)
    if first == name:
        del sys.argv[1]
    module = known[name].relative_to(_PACKAGE.parent).with_suffix("")
    runpy.run_module(".".join(module.parts), run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
