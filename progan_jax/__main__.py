"""The command progan_jax: trains, and runs every tool by its name.

    progan_jax --config=digits        trains; short for progan_jax run --config=digits
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


def commands() -> dict[str, Path]:
    """Returns the files of the commands by their names; nothing is imported."""
    tools = sorted(_PACKAGE.glob("tools/*.py"))
    runnable = [p for p in tools if '__name__ == "__main__"' in p.read_text("utf-8")]
    return {"run": _PACKAGE / "main.py"} | {path.stem: path for path in runnable}


def list_commands() -> str:
    """Returns a line for each command, from its docstring."""
    lines = []
    for name, path in commands().items():
        about = ast.get_docstring(ast.parse(path.read_text("utf-8"))) or name
        lines.append(f"  {name:<18}{about.splitlines()[0]}")
    return "\n".join(lines)


def main() -> None:
    """Runs the command that the arguments name, as python -m runs its module."""
    first = sys.argv[1] if len(sys.argv) > 1 else "--help"
    if first in ("--help", "-h", "help"):
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # As `head` expects.
        print(f"{__doc__}\nCommands:\n\n{list_commands()}")
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
